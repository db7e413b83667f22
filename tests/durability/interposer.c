/* Stands between a process and its durable calls, counts them in all threads together, and at one of them kills the
   process or lets the call fail. strace's injection counts in each thread apart, so that many a call is nobody's N-th.

   DURABLE_TRACE  a file: a line for each call, "number name path"
   DURABLE_AT     the calls to fail at, a line for each: "PATTERN#N" is the N-th whose "name path" fits the pattern
   DURABLE_HOW    "KILL", or the number of an errno
   DURABLE_GUARD  a file's path: with ".LINE" behind it, from 0, it is made when that has happened; who finds it lives on
   DURABLE_PID    filled in by the first process: its children are left alone */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST 16

static atomic_long calls;
static struct { char pattern[256]; long number; atomic_long fitted; } wanted[MOST];
static int wanteds;
static int how;
static const char *guard;
static int trace = -1;

__attribute__((constructor)) static void begin(void) {
    char pid[24];
    snprintf(pid, sizeof pid, "%d", getpid());
    if (getenv("DURABLE_PID") && strcmp(getenv("DURABLE_PID"), pid) != 0) return;
    setenv("DURABLE_PID", pid, 1);
    if (getenv("DURABLE_TRACE")) trace = open(getenv("DURABLE_TRACE"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    guard = getenv("DURABLE_GUARD");
    const char *failure = getenv("DURABLE_HOW");
    how = failure && strcmp(failure, "KILL") != 0 ? atoi(failure) : 0;
    for (const char *next = getenv("DURABLE_AT"); next && *next; next = strchr(next, '\n') ? strchr(next, '\n') + 1 : NULL)
        if (wanteds == MOST || sscanf(next, "%255[^#]#%ld", wanted[wanteds].pattern, &wanted[wanteds].number) != 2) _exit(99);
        else wanteds++;
}

static int is_first(int line) {
    char path[600];
    if (!guard) return 1;
    snprintf(path, sizeof path, "%s.%d", guard, line);
    int made = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (made >= 0) close(made);
    return made >= 0;
}

static int is_wanted(const char *call) {
    int found = 0;
    for (int line = 0; line < wanteds; line++)
        if (fnmatch(wanted[line].pattern, call, 0) == 0 && atomic_fetch_add(&wanted[line].fitted, 1) + 1 == wanted[line].number)
            found |= is_first(line);
    return found;
}

static int fails(const char *name, int descriptor, const char *path) {
    if (trace < 0 && !wanteds) return 0;
    long number = atomic_fetch_add(&calls, 1) + 1;
    char place[512] = "", call[560], line[600];
    if (path) snprintf(place, sizeof place, "%s", path);
    else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
        ssize_t length = readlink(link, place, sizeof place - 1);
        place[length > 0 ? length : 0] = 0;
    }
    snprintf(call, sizeof call, "%s %s", name, place);
    int size = snprintf(line, sizeof line, "%ld %s\n", number, call);
    if (trace >= 0 && write(trace, line, size) < 0) _exit(99);
    if (!is_wanted(call)) return 0;
    if (how == 0) kill(getpid(), SIGKILL);
    errno = how;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd) { return fails("fsync", fd, NULL) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return fails("fdatasync", fd, NULL) ? -1 : REAL(fdatasync)(fd); }
int rename(const char *from, const char *to) { return fails("rename", 0, to) ? -1 : REAL(rename)(from, to); }
int renameat(int a, const char *from, int b, const char *to) {
    return fails("rename", 0, to) ? -1 : REAL(renameat)(a, from, b, to);
}
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) {
    return fails("rename", 0, to) ? -1 : REAL(renameat2)(a, from, b, to, flags);
}
