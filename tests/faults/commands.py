"""What a person may say to a running proxy, a line each."""

from dataclasses import asdict, replace

from tests.faults.faults import Faults, changed
from tests.faults.proxy import Proxy

HELP = """\
freeze | thaw             keep the connections and forward nothing | forward again
cut [fin]                 end all connections now, by RST or FIN
slow 64kB/s               each connection and direction; 0: as fast as it goes
latency 100ms, jitter 50ms
cut-after 1MB             each connection, after so many bytes
corrupt 1MB               flip a bit in about so many bytes
duplicate 50%, reorder 50%   of the MQTT PUBLISH packets (with --mqtt, without TLS)
heal                      do no harm any more
status                    what is being done, and what was
quit"""


def obey(proxy: Proxy, line: str) -> str:
    """Do what a line says, and give the answer; raise ValueError if it makes no sense, EOFError to quit."""
    match line.split():
        case []:
            return ""
        case ["help"]:
            return HELP
        case ["quit"]:
            raise EOFError
        case ["status"]:
            return f"{_told(proxy.faults)}; {', '.join(f'{k} {v}' for k, v in asdict(proxy.tally).items())}"
        case ["cut"]:
            return f"cut {proxy.cut()} connections by RST"
        case ["cut", "fin"]:
            return f"cut {proxy.cut(fin=True)} connections by FIN"
        case ["freeze"]:
            proxy.set(replace(proxy.faults, frozen=True))
        case ["thaw"]:
            proxy.set(replace(proxy.faults, frozen=False))
        case ["heal"]:
            proxy.set(Faults())
        case [name, value]:
            proxy.set(changed(proxy.faults, name, value))
        case _:
            raise ValueError(f"{line.strip()!r} is no command: `help` lists them")
    return _told(proxy.faults)


def _told(faults: Faults) -> str:
    done = [f"{name} {value}" for name, value in asdict(faults).items() if value]
    return ", ".join(done) or "no faults"
