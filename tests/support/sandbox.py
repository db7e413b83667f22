"""Runs a command under a unit's restrictions where PID 1 is not systemd: `python -m tests.support.sandbox UNIT STATE …`

STATE is the StateDirectory. What of a unit this can't do is named in NOT_HERE; a directive of neither list is an error,
so that a unit can't gain one that no test knows.
"""

import ctypes
import os
import sys
from pathlib import Path

from tests.support import kernel_filter, units

DONE = {
    "ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "PrivateUsers", "PrivateMounts",
    "ProtectKernelTunables", "NoNewPrivileges", "CapabilityBoundingSet", "AmbientCapabilities", "DynamicUser", "UMask",
    "RestrictNamespaces", "RestrictAddressFamilies", "MemoryDenyWriteExecute", "SystemCallArchitectures",
    "SystemCallErrorNumber", "SystemCallFilter", "Nice", "StateDirectory",
}  # fmt: skip
NOT_HERE = {
    # control groups and the kernel's bookkeeping
    "CPUWeight", "IOWeight", "IOSchedulingClass", "IOSchedulingPriority", "MemoryHigh", "MemoryMax", "TasksMax",
    "OOMPolicy", "OOMScoreAdjust", "LimitCORE", "LimitNOFILE", "DevicePolicy", "RemoveIPC", "PrivateIPC", "KeyringMode",
    # what the system-call filter or the read-only tree forbid in great part too
    "ProtectProc", "ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups", "ProtectClock",
    "ProtectHostname", "RestrictSUIDSGID", "RestrictRealtime", "LockPersonality",
    # the manager's own work
    "Type", "NotifyAccess", "ExecStart", "ExecReload", "Restart", "RestartSec", "RestartSteps", "RestartMaxDelaySec",
    "RestartPreventExitStatus", "WatchdogSec", "TimeoutStartSec", "TimeoutStopSec", "KillMode", "StateDirectoryMode",
    "LoadCredential", "SetCredential", "Environment",
}  # fmt: skip

_USER = 61_999  # of systemd's range for dynamic users
_HIDDEN = ("/home", "/root", "/tmp", "/var/tmp")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_NEW_MOUNTS, _NEW_USERS = 0x00020000, 0x10000000  # CLONE_NEWNS, CLONE_NEWUSER
_BIND, _REC, _PRIVATE = 4096, 16384, 1 << 18
_MOUNT_SETATTR, _READ_ONLY, _RECURSIVE, _HERE = 442, 1, 0x8000, -100
_DUMPABLE, _DROP_BOUND, _CLEAR_AMBIENT, _NO_NEW_PRIVILEGES = 4, 24, 47, 38
_CAPABILITIES = 64
_CAP_VERSION = 0x20080522
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Become the command."""
    name, state, *command = sys.argv[1:]
    unit = units.read(name)
    if unknown := unit.given.keys() - DONE - NOT_HERE:
        sys.exit(f"the sandbox does not know {', '.join(sorted(unknown))}: teach it, or say that it can't")
    unit.system_calls()  # systemd-analyze is asked before the world gets small, and not again
    root = os.geteuid() == 0
    if root:
        _check(_libc.unshare(_NEW_MOUNTS))
    else:
        _own_users(_NEW_MOUNTS)
    _own_files(Path(state))
    if root:
        _another_user(Path(state))
        _own_users(0)
    _give_up_rights()
    os.umask(int(unit.words("UMask")[0], 8))
    os.nice(int(unit.words("Nice")[0]) if "Nice" in unit.given else 0)
    kernel_filter.restrict(unit)
    os.execvp(command[0], command)


def _own_users(more: int) -> None:
    """Enter a user namespace in which only this user is somebody."""
    user, group = os.geteuid(), os.getegid()
    _check(_libc.unshare(_NEW_USERS | more))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _own_files(state: Path) -> None:
    """Leave a read-only tree without homes, temporary files and devices; only `state` and a new /tmp are writable."""
    _mount("none", "/", flags=_REC | _PRIVATE)
    code = {Path(place) for place in (sys.prefix, sys.base_prefix, units.FOLDER.parents[1])}
    kept = {place: os.open(place, os.O_PATH) for place in (*code, state)}
    devices = {name: os.open(f"/dev/{name}", os.O_PATH) for name in _DEVICES}
    for hidden in _HIDDEN:
        if Path(hidden).is_dir():
            _mount("tmpfs", hidden, kind="tmpfs", data="mode=0755")
    for place, descriptor in kept.items():
        place.mkdir(parents=True, exist_ok=True)
        _mount(f"/proc/self/fd/{descriptor}", str(place), flags=_BIND | _REC)
    _mount("tmpfs", "/dev", kind="tmpfs", data="mode=0755")
    for name, descriptor in devices.items():
        Path(f"/dev/{name}").touch()
        _mount(f"/proc/self/fd/{descriptor}", f"/dev/{name}", flags=_BIND)
    _mount("/proc/sys", "/proc/sys", flags=_BIND | _REC)
    for descriptor in (*kept.values(), *devices.values()):
        os.close(descriptor)
    Path("/tmp").chmod(0o1777)
    _set_read_only(Path("/"), yes=True)
    for place in (state, Path("/tmp"), Path("/proc")):
        _set_read_only(place, yes=False)


def _another_user(state: Path) -> None:
    """Become somebody who owns `state`, and nothing else."""
    for place in (state, *state.rglob("*")):
        os.chown(place, _USER, _USER)
    os.setgroups([])
    os.setresgid(_USER, _USER, _USER)
    os.setresuid(_USER, _USER, _USER)
    _check(_libc.prctl(_DUMPABLE, 1, 0, 0, 0))  # else /proc/self belongs to root


def _give_up_rights() -> None:
    """Have no capability, here or by any program."""
    for capability in range(_CAPABILITIES):
        _libc.prctl(_DROP_BOUND, capability, 0, 0, 0)  # those beyond the last are none
    _check(_libc.prctl(_CLEAR_AMBIENT, 4, 0, 0, 0))
    header, none = (ctypes.c_uint32 * 2)(_CAP_VERSION, 0), (ctypes.c_uint32 * 6)()
    _check(_libc.capset(header, none))
    _check(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))


def _mount(source: str, target: str, *, kind: str = "", flags: int = 0, data: str = "") -> None:
    _check(_libc.mount(source.encode(), target.encode(), kind.encode() or None, flags, data.encode() or None), target)


def _set_read_only(place: Path, *, yes: bool) -> None:
    attributes = (ctypes.c_uint64 * 4)(_READ_ONLY if yes else 0, 0 if yes else _READ_ONLY, 0, 0)
    flags = _RECURSIVE if yes else 0
    _check(
        _libc.syscall(
            ctypes.c_long(_MOUNT_SETATTR),
            _HERE,
            str(place).encode(),
            flags,
            ctypes.byref(attributes),
            ctypes.c_size_t(32),
        ),
        str(place),
    )


def _check(result: int, what: object = "") -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


if __name__ == "__main__":
    main()
