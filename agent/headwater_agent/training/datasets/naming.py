"""Names in a sentence: few enough to be read, and the ones that may be meant among them."""

from collections.abc import Sequence
from difflib import get_close_matches

_SHOWN = 8
_NAME_CHARACTERS = 40


def few(names: Sequence[str], wanted: str) -> str:
    """List some names, those most like `wanted` first, and count the others."""
    ordered = list(dict.fromkeys([*get_close_matches(wanted, names), *names]))
    shown = ", ".join(_short(name) for name in ordered[:_SHOWN])
    return f"{shown} … and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else shown


def _short(name: str) -> str:
    return name if len(name) <= _NAME_CHARACTERS else f"{name[:_NAME_CHARACTERS]}…"
