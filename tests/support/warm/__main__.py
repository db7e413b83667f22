"""The process that has loaded everything: a line asks for a child, a line tells of its birth, another of its end."""

import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
import traceback
from ctypes import CDLL
from importlib import import_module
from typing import Any

from headwater_wire import crashpoint

_LOADED = ("headwater.cli.app", "headwater.cli.serve", "headwater_control.server", "uvloop", "headwater_agent.daemon")
_PR_SET_PDEATHSIG = 1


def main(descriptor: int) -> None:
    """Serve until the other end is closed; then whoever is left is ended."""
    for module in _LOADED:
        import_module(module)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the suite's Ctrl-C ends the suite, and with it this
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    gc.freeze()  # a child's collector would copy every page it looks at
    with socket.socket(fileno=descriptor) as wishes:
        lines = b""
        while True:
            ready = _ready(wishes.fileno(), woken)
            if woken in ready:
                os.read(woken, 512)
                _tell_of_the_dead(wishes)
            if wishes.fileno() in ready:
                if not (read := wishes.recv(65536)):
                    return
                *whole, lines = (lines + read).split(b"\n")
                for line in whole:
                    pid = _fork(json.loads(line), wishes)
                    _tell(wishes, {"pid": pid})


def _ready(*descriptors: int) -> list[int]:
    return select.select(descriptors, [], [])[0]


def _tell_of_the_dead(wishes: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _tell(wishes, {"pid": pid, "code": os.waitstatus_to_exitcode(status)})


def _tell(wishes: socket.socket, told: dict[str, int]) -> None:
    wishes.sendall(json.dumps(told).encode() + b"\n")


def _fork(wish: dict[str, Any], wishes: socket.socket) -> int:
    if pid := os.fork():
        return pid
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        wishes.close()
        os.setsid()
        CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        _stand(wish)
        runpy.run_module(wish["words"][0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
    except BaseException:  # as the interpreter does, it tells of what nobody caught
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _stand(wish: dict[str, Any]) -> None:
    """Take the environment, the folder, the arguments and the log that were asked for."""
    os.environ.clear()
    os.environ.update(wish["env"])
    crashpoint.arm()
    os.chdir(wish["folder"])
    sys.argv[1:] = wish["words"][1:]
    log = os.open(wish["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, made in enumerate((nothing, log, log)):
        os.dup2(made, descriptor)


if __name__ == "__main__":
    main(int(sys.argv[1]))
