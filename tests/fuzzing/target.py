"""What is fuzzed: a reader of a stranger's bytes, and its promises."""

import random
from typing import Protocol


class Target(Protocol):
    """Inputs are bytes that say everything, so that one can be written down and tried again."""

    def make(self, source: random.Random) -> bytes:
        """Make an input: valid, damaged, or invented."""

    def check(self, data: bytes) -> str:
        """Hold the reader to its promises, and say in a word what became of the input; a broken promise raises."""
