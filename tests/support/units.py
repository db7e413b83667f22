"""systemd's unit files, as far as tests read them: directives, and the system calls that a filter lets through."""

import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
_NOTHING = ("", "no")


@dataclass(frozen=True, slots=True)
class Unit:
    """The [Service] section: every value that a directive was given, in order."""

    name: str
    given: dict[str, tuple[str, ...]]

    def words(self, directive: str) -> tuple[str, ...]:
        """Give all words of a directive."""
        return tuple(word for value in self.given.get(directive, ()) for word in value.split())

    def on(self, directive: str) -> bool:
        """Say whether a switch is on."""
        return self.given.get(directive, ("no",))[-1] not in _NOTHING

    def system_calls(self) -> frozenset[str]:
        """Name what SystemCallFilter lets through: systemd.exec(5)."""
        allowed = set(_group("@default"))
        for value in self.given["SystemCallFilter"]:
            names = {name for word in value.removeprefix("~").split() for name in _named(word)}
            allowed = allowed - names if value.startswith("~") else allowed | names
        return frozenset(allowed)


def read(name: str) -> Unit:
    """Read a unit of ours."""
    given: dict[str, tuple[str, ...]] = {}
    section = ""
    for line in (FOLDER / name).read_text().splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and line and not line.startswith("#"):
            key, _, value = line.partition("=")
            given[key] = (*given.get(key, ()), value)
    return Unit(name, given)


def _named(word: str) -> frozenset[str]:
    return _group(word) if word.startswith("@") else frozenset({word})


@cache
def _group(name: str) -> frozenset[str]:
    """Spell a group of system calls out, with the groups in it."""
    told = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
    words = [line.strip() for line in told.stdout.splitlines()[1:] if line.startswith(" ")]
    return frozenset(call for word in words if not word.startswith("#") for call in _named(word))
