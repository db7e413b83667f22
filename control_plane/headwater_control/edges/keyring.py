"""The keys that sign orders (Ed25519), on disk: one is made at the first start, a next one when asked for."""

from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from headwater_wire import durable
from headwater_wire.signing import Signer

from headwater_control.core.keys import plan


class Keyring:
    """Implements ports.Keyring over a folder: a file a key, named by when it was made."""

    def __init__(self, folder: Path, now: datetime) -> None:
        durable.make_dirs(folder, private=True)
        self._folder = folder
        self._keys = [_read(file) for file in sorted(folder.glob("*.key"))]
        if not self._keys:
            self.rotate(now)

    def signer(self, now: datetime) -> Signer:
        """Give the key that signs now, with those that agents are to accept."""
        chosen = plan([at for at, _ in self._keys], now)
        accepted = [self._keys[place][1].public_key().public_bytes_raw() for place in chosen.accepted]
        return Signer(self._keys[chosen.signs][1], accepted)

    def rotate(self, now: datetime) -> str:
        """Make the next key; give its id. It signs once agents have had time to hear of it."""
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        made_ms = int(now.timestamp() * 1000)
        while (file := self._folder / f"{made_ms:015d}.key").exists():  # two at once: neither replaces the other
            made_ms += 1
        durable.write(file, pem, private=True)
        self._keys = sorted([*self._keys, (_at(file), key)], key=lambda pair: pair[0])  # as after a restart
        return Signer(key).id


def _read(file: Path) -> tuple[datetime, Ed25519PrivateKey]:
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise TypeError("it is of another kind")
        return _at(file), key
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(f"{file} is no Ed25519 key: restore it from a backup, or remove it ({error})") from error


def _at(file: Path) -> datetime:
    return datetime.fromtimestamp(int(file.stem) / 1000, UTC)
