"""The signing keys on disk."""

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from headwater_control.core.keys import OVERLAP
from headwater_control.edges.keyring import Keyring
from headwater_wire.ids import DeviceId
from headwater_wire.signing import read_keys, read_order
from headwater_wire.v1 import fleet_pb2 as fleet

NOW = datetime(2026, 1, 5, 8, 0, 0, 123_456, tzinfo=UTC)
ORDER = fleet.Order(device=DeviceId("box-1"))


def test_its_files_are_its_owners_alone(tmp_path: Path) -> None:
    """A file a key, 0600 in a folder of 0700, whatever the umask."""
    former = os.umask(0)
    try:
        Keyring(tmp_path / "keys", NOW).rotate(NOW)
    finally:
        os.umask(former)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert [stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "keys").iterdir()] == [0o600, 0o600]


def test_opened_again_it_signs_alike(tmp_path: Path) -> None:
    """At each time: before a rotation, during its overlap and after it, as without a restart."""
    keyring = Keyring(tmp_path, NOW)
    keyring.rotate(NOW + timedelta(days=1))
    keyring.rotate(NOW + timedelta(days=2))
    for days in (0, 2, 8, 9, 15, 16, 400):
        now = NOW + timedelta(days=days)
        one, other = keyring.signer(now), Keyring(tmp_path, now).signer(now)
        assert (one.id, one.accepted) == (other.id, other.accepted)


def test_a_new_key_signs_after_its_overlap_and_the_old_one_vouches_for_it(tmp_path: Path) -> None:
    """A box that pinned the first key learns the second from it, and obeys both in turn."""
    keyring = Keyring(tmp_path, NOW)
    first = keyring.signer(NOW)
    pinned = {first.id: first.public}
    second = keyring.rotate(NOW)
    assert keyring.signer(NOW).id == first.id
    pinned = read_keys(keyring.signer(NOW).keys(), pinned)
    later = keyring.signer(NOW + OVERLAP + timedelta(seconds=1))
    assert later.id == second
    assert read_order(later.order(ORDER), pinned) == ORDER
    assert read_order(first.order(ORDER), pinned) == ORDER


def test_two_keys_of_one_moment_are_two(tmp_path: Path) -> None:
    """Neither takes the other's file, and a restart knows both."""
    keyring = Keyring(tmp_path, NOW)
    made = {keyring.rotate(NOW), keyring.rotate(NOW)}
    assert len(made) == 2
    assert len(Keyring(tmp_path, NOW).signer(NOW).accepted) == 3


def test_a_key_is_settled_by_its_name_alone(tmp_path: Path) -> None:
    """Whoever comes late, after another one has settled the same key, does not settle the next."""
    keyring = Keyring(tmp_path, NOW)
    first = keyring.prepare()
    assert keyring.prepare() == first
    keyring.settle(first, NOW)
    second = keyring.prepare()
    keyring.settle(first, NOW)
    assert (keyring.prepared, Keyring(tmp_path, NOW).prepared) == (second, second)
    assert len(keyring.signer(NOW).accepted) == 3


def test_a_crash_before_the_first_key_was_whole_leaves_none(tmp_path: Path) -> None:
    """What a cut write left behind is no key; the next start makes one."""
    (tmp_path / ".hw-tmp-0123456789abcdef").write_bytes(b"-----BEGIN")
    keyring = Keyring(tmp_path, NOW)
    assert keyring.signer(NOW).id == Keyring(tmp_path, NOW).signer(NOW).id


@pytest.mark.parametrize("content", [b"", b"rust", "elliptic"])
def test_a_file_that_is_no_key_is_named(tmp_path: Path, content: bytes | str) -> None:
    """With what to do about it, be it damaged or of another kind."""
    if isinstance(content, str):
        private = ec.generate_private_key(ec.SECP256R1())
        content = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    (tmp_path / "000000000000007.key").write_bytes(content)
    with pytest.raises(ValueError, match=r"000000000000007\.key is no Ed25519 key: restore it"):
        Keyring(tmp_path, NOW)
