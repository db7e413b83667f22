"""What is said to mosquitto's dynamic security plugin, and what it answers (its version 1, in JSON)."""

import json
from collections.abc import Sequence

from headwater_wire.errors import Malformed
from headwater_wire.ids import DeviceId

# The plugin knows only clients that it was told of; to disable one ends its sessions, at once. It is deleted again,
# since a client with a certificate comes back however it stands here: that is for the CRL to prevent.
_KICK = ("createClient", "disableClient", "deleteClient")


def kick(devices: Sequence[DeviceId], token: str) -> bytes:
    """Ask for the end of these devices' sessions; the answer will hold `token`."""
    commands = [
        {"command": command, "username": device, "correlationData": token} for device in devices for command in _KICK
    ]
    return json.dumps({"commands": commands}).encode()


def answered(payload: bytes, token: str) -> tuple[str, ...] | None:
    """Read an answer: what went wrong, if anything; None if it is another request's. Raises `Malformed`."""
    try:
        responses = json.loads(payload)["responses"]
        mine = [response for response in responses if response.get("correlationData") == token]
        # That a client is there already does not matter: an attempt before this one was cut short.
        errors = [one for one in mine if "error" in one and one["command"] != "createClient"]
        return tuple(f"{one['command']}: {one['error']}" for one in errors) if mine else None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Malformed(f"that is no answer of the dynamic security plugin: {payload[:100]!r}") from error
