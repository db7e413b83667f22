"""The system calls that a training worker has no use for, by their numbers on x86-64 and aarch64.

From Linux: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

from collections.abc import Mapping
from dataclasses import dataclass

NEWEST = 462  # mseal, of Linux 6.10: what came later is answered as an older kernel would

# name, number on x86-64, on aarch64 ("-": it has none)
_DENIED = """\
# sockets
socket 41 198
socketpair 53 199
connect 42 203
accept 43 202
accept4 288 242
bind 49 200
listen 50 201
sendto 44 206
sendmsg 46 211
sendmmsg 307 269
recvfrom 45 207
recvmsg 47 212
recvmmsg 299 243
shutdown 48 210
getsockname 51 204
getpeername 52 205
setsockopt 54 208
getsockopt 55 209
# rings, which make sockets too
io_uring_setup 425 425
io_uring_enter 426 426
io_uring_register 427 427
# programs
fork 57 -
vfork 58 -
execve 59 221
execveat 322 281
# other processes
ptrace 101 117
process_vm_readv 310 270
process_vm_writev 311 271
kcmp 312 272
pidfd_send_signal 424 424
pidfd_open 434 434
pidfd_getfd 438 438
process_madvise 440 440
process_mrelease 448 448
tkill 200 130
rt_sigqueueinfo 129 138
rt_tgsigqueueinfo 297 240
migrate_pages 256 238
move_pages 279 239
setpriority 141 140
ioprio_set 251 30
sched_setparam 142 118
sched_setscheduler 144 119
sched_setattr 314 274
# memory and queues shared by number or name
shmget 29 194
shmat 30 196
shmctl 31 195
semget 64 190
semop 65 193
semctl 66 191
semtimedop 220 192
msgget 68 186
msgsnd 69 189
msgrcv 70 188
msgctl 71 187
mq_open 240 180
mq_unlink 241 181
# what Landlock says nothing about: modes, owners, times, attributes
chmod 90 -
fchmod 91 52
fchmodat 268 53
fchmodat2 452 452
chown 92 -
fchown 93 55
lchown 94 -
fchownat 260 54
setxattr 188 5
lsetxattr 189 6
fsetxattr 190 7
removexattr 197 14
lremovexattr 198 15
fremovexattr 199 16
utime 132 -
utimes 235 -
futimesat 261 -
utimensat 280 88
mknod 133 -
mknodat 259 33
# mounts, namespaces, files by handle
mount 165 40
umount2 166 39
pivot_root 155 41
chroot 161 51
unshare 272 97
setns 308 268
open_tree 428 428
move_mount 429 429
fsopen 430 430
fsconfig 431 431
fsmount 432 432
fspick 433 433
mount_setattr 442 442
name_to_handle_at 303 264
open_by_handle_at 304 265
fanotify_init 300 262
quotactl 179 60
quotactl_fd 443 443
# the kernel itself
keyctl 250 219
add_key 248 217
request_key 249 218
bpf 321 280
userfaultfd 323 282
perf_event_open 298 241
kexec_load 246 104
kexec_file_load 320 294
init_module 175 105
finit_module 313 273
delete_module 176 106
swapon 167 224
swapoff 168 225
reboot 169 142
sethostname 170 161
setdomainname 171 162
iopl 172 -
ioperm 173 -
acct 163 89
settimeofday 164 170
clock_settime 227 112
adjtimex 159 171
clock_adjtime 305 266
syslog 103 116
personality 135 92
vhangup 153 58
uselib 134 -
modify_ldt 154 -
memfd_secret 447 447
lsm_set_self_attr 460 460
"""


@dataclass(frozen=True, slots=True)
class Processor:
    """What a filter must know of one."""

    audit: int  # AUDIT_ARCH_*
    seccomp: int
    clone: int
    clone3: int
    signals: tuple[int, ...]  # kill, tgkill
    own: tuple[int, ...]  # prlimit64, sched_setaffinity: of this process, called 0 too, and no other
    foreign_from: int | None  # numbers from here on belong to another calling convention
    denied: Mapping[str, int]


def _denied(column: int) -> Mapping[str, int]:
    rows = [line.split() for line in _DENIED.splitlines() if not line.startswith("#")]
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


PROCESSORS = {
    "x86_64": Processor(
        0xC000003E, 317, 56, 435, (62, 234), (302, 203), foreign_from=0x40000000, denied=_denied(1)
    ),  # x32
    "aarch64": Processor(0xC00000B7, 277, 220, 435, (129, 131), (261, 122), foreign_from=None, denied=_denied(2)),
}
