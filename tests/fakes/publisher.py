"""A publisher that remembers what was sent, or loses it."""

from collections.abc import Sequence

from headwater_control.ports import Downward
from headwater_wire.ids import DeviceId


class FakePublisher:
    """The port `Publisher`. With `deaf` every message is lost, as with no broker at all."""

    def __init__(self, *, deaf: bool = False) -> None:
        self.deaf = deaf
        self.sent: list[Downward] = []

    async def publish(self, messages: Sequence[Downward]) -> None:
        """Keep, or lose."""
        if not self.deaf:
            self.sent.extend(messages)

    def to(self, device: DeviceId) -> list[Downward]:
        """List what one device was sent."""
        return [message for message in self.sent if message.device == device]
