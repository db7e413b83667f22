"""The keys that sign orders (Ed25519), on disk: one is made at the first start, a next one when asked for."""

import threading
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from headwater_wire import durable
from headwater_wire.signing import Signer

from headwater_control.core.keys import plan


class Keyring:
    """Implements ports.Keyring over a folder: a file a key, named by when it was settled; `next` is the prepared."""

    def __init__(self, folder: Path, now: datetime) -> None:
        durable.make_dirs(folder, private=True)
        self._folder = folder
        self._turn = threading.Lock()
        self._keys = [_read(file) for file in sorted(folder.glob("*.key"))]
        next_ = folder / "next"
        self._next = _key(next_) if next_.exists() else None
        if not self._keys:
            self.rotate(now)

    def signer(self, now: datetime) -> Signer:
        """Give the key that signs now, with those that agents are to accept."""
        keys = self._keys
        chosen = plan([at for at, _ in keys], now)
        accepted = [keys[place][1] for place in chosen.accepted]
        if (prepared := self._next) is not None:
            accepted.append(prepared)
        return Signer(keys[chosen.signs][1], [key.public_key().public_bytes_raw() for key in accepted])

    @property
    def prepared(self) -> str:
        """Name the key that is prepared and not settled; "": there is none."""
        return Signer(key).id if (key := self._next) is not None else ""

    def prepare(self) -> str:
        """Make the next key, unless one is prepared; give its id. It is accepted from now on, and never signs."""
        with self._turn:
            if self._next is None:
                key = Ed25519PrivateKey.generate()
                durable.write(self._folder / "next", _pem(key), private=True)
                self._next = key
            return Signer(self._next).id

    def settle(self, key: str, now: datetime) -> None:
        """Let a prepared key sign in its turn, as one that was made now; one that is not prepared stays as it is."""
        with self._turn:
            if self._next is None or Signer(self._next).id != key:
                return
            made_ms = int(now.timestamp() * 1000)
            while (file := self._folder / f"{made_ms:015d}.key").exists():  # two at once: neither replaces the other
                made_ms += 1
            durable.adopt(self._folder / "next", file)
            self._keys = sorted([*self._keys, (_at(file), self._next)], key=lambda pair: pair[0])  # as after a restart
            self._next = None

    def rotate(self, now: datetime) -> str:
        """Make the next key; give its id. It signs once agents have had time to hear of it."""
        key = self.prepare()
        self.settle(key, now)
        return key


def _pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read(file: Path) -> tuple[datetime, Ed25519PrivateKey]:
    return _at(file), _key(file)


def _key(file: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise TypeError("it is of another kind")
        return key
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(f"{file} is no Ed25519 key: restore it from a backup, or remove it ({error})") from error


def _at(file: Path) -> datetime:
    return datetime.fromtimestamp(int(file.stem) / 1000, UTC)
