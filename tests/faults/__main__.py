"""The fault proxy by hand: `python -m tests.faults --listen 127.0.0.1:0 --to HOST:PORT`, and commands on its input."""

import argparse
import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Thread

from tests.faults.commands import HELP, obey
from tests.faults.faults import Faults, changed
from tests.faults.proxy import Proxy, proxy

_VALUES = ("slow", "latency", "jitter", "cut-after", "corrupt", "duplicate", "reorder")
_EXAMPLE = """\
example: a bad link between a box and the gateway
  python -m tests.faults --listen 127.0.0.1:9090 --to control.example:8090 --slow 64kB/s --cut-after 1MB
  HEADWATER_CONTROL_PLANE__GATEWAY=127.0.0.1:9090 headwater-agent run --config agent.toml

commands, a line each on standard input:
"""


def main() -> None:
    """Carry connections until the input says `quit`, or Ctrl-C; the end of the input ends nothing."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description="Carry TCP connections to another address, and do wrong to them.",
        epilog=_EXAMPLE + HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="0: any free port (it is printed)")
    parser.add_argument("--to", required=True, metavar="HOST:PORT")
    for name in _VALUES:
        parser.add_argument(f"--{name}", metavar="HOW_MUCH", help="as the command below")
    parser.add_argument("--fin", action="store_true", help="cuts are in good order (FIN) instead of RST")
    parser.add_argument("--freeze", action="store_true", help="begin frozen")
    parser.add_argument("--mqtt", action="store_true", help="this is MQTT without TLS: packets may be touched")
    parser.add_argument("--seed", type=int, default=0, help="of whatever is drawn")
    given = parser.parse_args()
    try:
        faults = Faults(fin=given.fin, frozen=given.freeze)
        for name in _VALUES:
            if value := getattr(given, name.replace("-", "_")):
                faults = changed(faults, name, value)
        listen, to = _place(given.listen), _place(given.to)
    except ValueError as error:
        parser.error(str(error))
    try:
        asyncio.run(_run(listen, to, faults, mqtt=given.mqtt or faults.of_packets, seed=given.seed))
    except KeyboardInterrupt:
        return
    except OSError as error:
        parser.error(f"can't listen on {given.listen}: {error.strerror}")


async def _run(listen: tuple[str, int], to: tuple[str, int], faults: Faults, *, mqtt: bool, seed: int) -> None:
    loop = asyncio.get_running_loop()
    quit_ = asyncio.Event()
    async with proxy(*to, listen=listen, faults=faults, mqtt=mqtt, seed=seed) as running:
        print(f"{listen[0]}:{running.port} -> {to[0]}:{to[1]}", flush=True)
        # In a thread: a file can't be waited for. Without a buffer, whose lock a thread would hold while Python ends.
        if sys.stdin is not None:
            hear = partial(_hear, running, quit_)
            read = partial(_read, sys.stdin.fileno(), lambda line: loop.call_soon_threadsafe(hear, line))
            Thread(target=read, name="faults.input", daemon=True).start()
        await quit_.wait()


def _read(descriptor: int, hear: Callable[[str], object]) -> None:
    with suppress(RuntimeError), open(descriptor, "rb", buffering=0, closefd=False) as lines:  # the loop has ended
        for line in lines:
            hear(line.decode(errors="replace"))


def _hear(running: Proxy, quit_: asyncio.Event, line: str) -> None:
    try:
        if answer := obey(running, line):
            print(answer, flush=True)
    except EOFError:
        quit_.set()
    except ValueError as error:
        print(error, flush=True)


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!r} is no address such as 127.0.0.1:8090")
    return host.strip("[]"), int(port)


if __name__ == "__main__":
    main()
