"""What waits to be written: of each device the newest word of a kind, so that none takes up others' room."""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import aiomqtt

Key = TypeVar("Key", bound=Hashable)
Said = TypeVar("Said")


@dataclass(slots=True)
class Word(Generic[Said]):
    """The newest, how many messages it stands for, and those of them that are to be acknowledged once it is written.

    Sooner, a device that sends without end would be heard without end: so the broker has no more for us than its share.
    """

    said: Said
    count: int = 0
    messages: list[aiomqtt.Message] = field(default_factory=list)  # of QoS 1: the broker bounds them all

    def add(self, message: aiomqtt.Message) -> None:
        """Stand for one more."""
        self.count += 1
        if message.qos:
            self.messages.append(message)


class Intake(Generic[Key, Said]):
    """A queue with one place a key. `order` ranks what is said of a key: the highest counts, of equals the last."""

    def __init__(self, most: int, order: Callable[[Said], tuple[int, ...]]) -> None:
        self._most = most
        self._order = order
        self._words: dict[Key, Word[Said]] = {}  # the one that has waited longest comes first
        self._some = asyncio.Event()

    def __len__(self) -> int:
        return len(self._words)

    def put(self, key: Key, said: Said, message: aiomqtt.Message) -> None:
        """Take the place of what is older, at the end of the queue; raise `asyncio.QueueFull` if there is no place."""
        word = self._words.get(key)
        if word is None:
            if len(self._words) >= self._most:
                raise asyncio.QueueFull
            word = self._words[key] = Word(said)
            self._some.set()
        elif self._order(said) >= self._order(word.said):
            word.said = said
            self._words[key] = self._words.pop(key)  # a device's words of several kinds keep their order
        word.add(message)

    async def some(self) -> None:
        """Wait until there is something."""
        await self._some.wait()

    def take(self, most: int) -> list[Word[Said]]:
        """Hand out up to so many words."""
        taken = [self._words.pop(key) for key in list(self._words)[:most]]
        if not self._words:
            self._some.clear()
        return taken
