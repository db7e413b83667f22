"""Reading settings from TOML and environment, each with its origin, so that a mistake is named by file and line."""

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from headwater_wire.errors import Malformed

ENV_PREFIX = "HEADWATER_"
_T = TypeVar("_T")
_TABLE = re.compile(r"\s*\[\[?(?P<name>[^\]]+)\]")
_KEY = re.compile(r"""\s*(?P<name>(?:[A-Za-z0-9_.-]|"[^"]*"|'[^']*'|\s*\.\s*)+?)\s*=""")


class BadSetting(Exception):
    """A setting the agent can't start with: the message names the key, the place, and what to do."""


@dataclass
class Settings:
    """A file's tree with the environment's values laid over it. `used` collects what was read, for its origin."""

    file: Path
    tree: dict[str, Any]
    lines: Mapping[tuple[str, ...], int]
    variables: Mapping[tuple[str, ...], str]
    used: dict[tuple[str, ...], tuple[object, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path, environment: Mapping[str, str]) -> "Settings":
        """Parse; raise `BadSetting` if the file can't be read or is no TOML."""
        try:
            text = file.read_text(encoding="utf-8")
            tree = tomllib.loads(text)
        except OSError as error:
            raise BadSetting(f"the configuration {file} can't be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadSetting(f"{file} is no TOML: {error}") from error
        variables = {}
        for variable, value in sorted(environment.items()):
            if variable.startswith(ENV_PREFIX) and "__" in variable:
                path = _spelled_as(tree, variable.removeprefix(ENV_PREFIX).lower().split("__"))
                _lay(tree, path, value, variable)
                variables[path] = variable
        return cls(file, tree, _lines(text), variables)

    def top(self) -> "Section":
        """Begin at the root."""
        return Section(self, (), self.tree)

    def origins(self) -> tuple[tuple[str, str, str], ...]:
        """List (name, value, origin) of all that was read."""
        return tuple((dotted(path), _shown(value), origin) for path, (value, origin) in self.used.items())

    def place(self, path: tuple[str, ...]) -> str:
        """Say where a key stands, or the table it belongs to."""
        for known, variable in self.variables.items():
            if known == path or (known[: len(path)] == path and path not in self.lines):
                return f"the environment variable {variable}"
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return f"{self.file}:{self.lines[path[:end]]}"
        return str(self.file)


class Section:
    """One table. Each reader takes a key's value, checks its type and notes where it came from."""

    def __init__(
        self, settings: Settings, path: tuple[str, ...], tree: dict[str, Any], otherwise: str = "default"
    ) -> None:
        self._settings = settings
        self._otherwise = otherwise
        self._path = path
        self._tree = tree
        self._known: set[str] = set()
        self._inner: list[Section] = []

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self._path[-1]

    @property
    def path(self) -> str:
        """Its dotted name."""
        return dotted(self._path)

    def section(self, key: str, *, otherwise: str = "default") -> "Section":
        """Enter a table, empty if it isn't there; `otherwise` says where values come from that are not in it."""
        self._known.add(key)
        tree = self._tree.get(key, {})
        if not isinstance(tree, dict):
            raise self._bad(key, "must be a table")
        inner = Section(self._settings, (*self._path, key), tree, otherwise)
        self._inner.append(inner)
        return inner

    def sections(self, *, otherwise: str = "default") -> "list[Section]":
        """Enter each table in it."""
        return [self.section(key, otherwise=otherwise) for key in self._tree]

    def names(self) -> tuple[str, ...]:
        """List its keys."""
        return tuple(self._tree)

    def text(self, key: str, *, default: str | None = None) -> str:
        """Read a string."""
        value = self._take(key, default)
        if not isinstance(value, str):
            raise self._bad(key, f"must be a string, not {value!r}")
        return value

    def one_of(self, key: str, choices: tuple[str, ...], *, default: str | None = None) -> str:
        """Read a string that is one of `choices`."""
        value = self.text(key, default=default)
        if value not in choices:
            raise self._bad(key, f"is {value!r}; choose one of {', '.join(choices)}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Read a string, or a list of at least one."""
        value = self._parsed(key, None)
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not values or not all(isinstance(item, str) for item in values):
            raise self._bad(key, f"must be a string or a list of strings, not {value!r}")
        return tuple(values)

    def selection(self, key: str, *, default: tuple[str, ...] | None = None) -> tuple[str, ...] | None:
        """Read a list of strings, of none too; None if it is "all"."""
        value = self._parsed(key, "all" if default is None else list(default))
        if value == "all":
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._bad(key, f'must be a list of strings, or "all", not {value!r}')
        return tuple(value)

    def flag(self, key: str, *, default: bool) -> bool:
        """Read true or false."""
        value = self._parsed(key, default)
        if not isinstance(value, bool):
            raise self._bad(key, f"must be true or false, not {value!r}")
        return value

    def sizes(self, key: str) -> tuple[int, ...] | None:
        """Read a list of sizes; None if it isn't there."""
        self._known.add(key)
        if key not in self._tree:
            return None
        value = self._parsed(key, None)
        if not isinstance(value, list) or not all(type(item) is int and item > 0 for item in value):
            raise self._bad(key, f"must be a list of positive integers, not {value!r}")
        return tuple(value)

    def integer(self, key: str, *, default: int, least: int, most: int) -> int:
        """Read a whole number."""
        value = self._parsed(key, default)
        if type(value) is not int or not least <= value <= most:
            raise self._bad(key, f"must be a whole number from {least} to {most}, not {value!r}")
        return value

    def number(
        self, key: str, *, default: float, least: float | None = None, most: float | None = None, above: float = -1e308
    ) -> float:
        """Read a number."""
        value = self._parsed(key, default)
        fits = type(value) in {int, float} and abs(value) < float("inf") and value > above
        if not fits or (least is not None and value < least) or (most is not None and value > most):
            limits = f" from {least:g} to {most:g}" if least is not None and most is not None else ""
            limits = limits or (f" above {above:g}" if above > -1e308 else "")
            raise self._bad(key, f"must be a number{limits}, not {value!r}")
        return float(value)

    def check(self, key: str | None, checked: Callable[[], _T]) -> _T:
        """Run a check of a value; what it objects to is told with the key's place."""
        try:
            return checked()
        except (Malformed, ValueError, BadSetting) as error:
            raise self._bad(key, f": {error}") from error

    def missing(self, key: str, hint: str) -> BadSetting:
        """Make the error for a key that must be there."""
        path = (*self._path, key)
        return BadSetting(f"{self._settings.place(self._path)}: {dotted(path)} is missing; {hint}")

    def refuse_unknown(self) -> None:
        """Raise `BadSetting` for the first key, here or below, that nobody asked for."""
        for key in self._tree:
            if key not in self._known:
                known = ", ".join(sorted(self._known)) or "none"
                raise self._bad(key, f"is not known; known here: {known}")
        for inner in self._inner:
            inner.refuse_unknown()

    def _take(self, key: str, default: object) -> Any:
        self._known.add(key)
        path = (*self._path, key)
        if key in self._tree:
            self._settings.used[path] = (self._tree[key], self._settings.place(path))
            return self._tree[key]
        if default is None:
            raise self.missing(key, "it has no default")
        self._settings.used[path] = (default, self._otherwise)
        return default

    def _parsed(self, key: str, default: object) -> Any:
        """Take a value; a variable's text is read as JSON, where it is JSON."""
        value = self._take(key, default)
        if (*self._path, key) in self._settings.variables:
            try:
                return json.loads(value)
            except ValueError:
                return value
        return value

    def _bad(self, key: str | None, why: str) -> BadSetting:
        path = (*self._path, key) if key else self._path
        joint = "" if why.startswith(":") else " "
        return BadSetting(f"{self._settings.place(path)}: {dotted(path)}{joint}{why}")


def dotted(path: tuple[str, ...]) -> str:
    """Spell a path as TOML does."""
    return ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part) for part in path)


def _shown(value: object) -> str:
    return json.dumps(value) if isinstance(value, str | list | bool) else repr(value)


def _spelled_as(tree: dict[str, Any], parts: list[str]) -> tuple[str, ...]:
    """Find the file's own spelling of a path: variables are upper case, datasets and columns may be anything."""
    path = []
    level: Any = tree
    for part in parts:
        keys = level if isinstance(level, dict) else {}
        key = next((key for key in keys if key.lower() == part), part)
        path.append(key)
        level = keys.get(key)
    return tuple(path)


def _lay(tree: dict[str, Any], path: tuple[str, ...], value: str, variable: str) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise BadSetting(f"the environment variable {variable}: {dotted(path)} is no setting: {key} has no parts")
    tree[path[-1]] = value


def _lines(text: str) -> dict[tuple[str, ...], int]:
    """Find the line of each table and key. Inline tables are found by their own key; tomllib has no positions."""
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    quote = ""  # of the multi-line string we are in
    for number, line in enumerate(text.splitlines(), 1):
        if quote:
            quote = "" if quote in line else quote
            continue
        if match := _TABLE.match(line):
            table = _parts(match["name"])
            path = table
        elif match := _KEY.match(line):
            path = (*table, *_parts(match["name"]))
            quote = next((mark for mark in ('"""', "'''") if line.count(mark) % 2), "")
        else:
            continue
        for end in range(1, len(path) + 1):
            found.setdefault(path[:end], number)
    return found


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in re.findall(r"""\s*("[^"]*"|'[^']*'|[^.]+)\s*\.?""", name))
