"""The keys that sign what devices are told to do, by the SDK."""

from headwater.rights import NewKey
from headwater.transport import Transport


class Keys:
    """`client.keys`"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def rotate(self) -> NewKey:
        """Make the next key: it takes over after a week, when every device has heard of it."""
        return self._transport.post(NewKey, "/v1/keys/rotate")
