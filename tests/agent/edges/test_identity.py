"""The identity on disk: whole, its owner's alone, and a sentence where it is not."""

import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from headwater_agent.edges.certificates import request
from headwater_agent.edges.identity import ControlPlane, Identity, NotEnrolled, Vault, identify, place, tls
from headwater_agent.ports import AgentError
from headwater_control.edges.ca import Authority, embedded
from headwater_wire.ids import DeviceId
from hypothesis import given
from hypothesis import strategies as st

from tests.support.signing import SIGNER, STRANGER

NOW = datetime.now(UTC)
BOX = DeviceId("box-1")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make one."""
    return embedded(tmp_path_factory.mktemp("made") / "ca", NOW)


def identity(authority: Authority, key: ec.EllipticCurvePrivateKey, days_ago: float = 0) -> Identity:
    """Make what an enrolment gives."""
    issued = authority.device(BOX, request(key), NOW - timedelta(days=days_ago))
    known = ControlPlane(
        authority.root_pem.decode(),
        (SIGNER.public.hex(),),
        "control.example:8447",
        "control.example:8445",
        "[::1]:8883",
    )
    return identify(key, x509.load_pem_x509_certificates(issued.chain), known)


def kept(authority: Authority, folder: Path) -> tuple[Vault, Identity]:
    """Enrol a box into a folder."""
    vault = Vault(folder)
    made = identity(authority, vault.new_key())
    vault.keep(made)
    return vault, made


def test_an_identity_comes_back(authority: Authority, tmp_path: Path) -> None:
    """Device, key, chain, what is known of the control plane; the waiting key is gone."""
    vault, made = kept(authority, tmp_path / "identity")
    found = vault.load()
    assert (found.device, found.chain, found.control_plane) == (BOX, made.chain, made.control_plane)
    assert found.key_pem == made.key_pem
    assert found.keys == {SIGNER.id: SIGNER.public}
    assert {file.name for file in (tmp_path / "identity").iterdir()} == {
        "device.pem",
        "control-plane.json",
        "certificate.json",
    }
    assert tls(found.control_plane.root, vault.pem).cert_store_stats()["x509_ca"] == 1


def test_its_files_are_its_owners_alone(authority: Authority, tmp_path: Path) -> None:
    """0600 in a folder of 0700, whatever the umask, the waiting key too."""
    former = os.umask(0)
    try:
        vault, _ = kept(authority, tmp_path / "identity")
        vault.new_key()
    finally:
        os.umask(former)
    assert stat.S_IMODE((tmp_path / "identity").stat().st_mode) == 0o700
    files = {"device.pem", "control-plane.json", "certificate.json", "device.key"}
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "identity").iterdir()}
    assert modes == dict.fromkeys(files, 0o600)


def test_a_key_whose_enrolment_was_cut_short_is_used_again(authority: Authority, tmp_path: Path) -> None:
    """So that asking again is the same enrolment; after it, the next key is another one."""
    vault = Vault(tmp_path / "identity")
    first = vault.new_key()
    assert isinstance(first.curve, ec.SECP256R1)
    assert Vault(tmp_path / "identity").new_key().public_key() == first.public_key()
    vault.keep(identity(authority, first))
    assert vault.new_key().public_key() != first.public_key()


def test_neither_key_nor_secret_is_printed(authority: Authority, tmp_path: Path) -> None:
    """A log line that shows an identity does not show its key."""
    _, made = kept(authority, tmp_path)
    assert "key=" not in repr(made).replace("keys=", "")


def test_a_box_that_was_never_enrolled_is_told_how(tmp_path: Path) -> None:
    """An empty folder, and none."""
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NotEnrolled, match="not enrolled: let an operator run `headwater device invite`"):
            Vault(folder).load()
    assert issubclass(NotEnrolled, AgentError)


@pytest.mark.parametrize("left", [(), ("control-plane.json",)], ids=["nothing", "control-plane.json"])
def test_a_crash_in_the_first_enrolment_leaves_a_box_that_is_not_enrolled(
    authority: Authority, tmp_path: Path, left: tuple[str, ...]
) -> None:
    """After each write but the last; the key waits, so the same invitation serves again."""
    vault = Vault(tmp_path)
    key = vault.new_key()
    if left:
        vault.remember(identity(authority, key).control_plane)
    with pytest.raises(NotEnrolled):
        vault.load()
    vault.keep(identity(authority, vault.new_key()))
    assert vault.load().key_pem == identity(authority, key).key_pem


def test_a_crash_before_the_waiting_key_was_removed_harms_nothing(authority: Authority, tmp_path: Path) -> None:
    """The identity is whole."""
    vault, made = kept(authority, tmp_path)
    (tmp_path / "device.key").write_bytes(made.key_pem)
    assert vault.load().key_pem == made.key_pem


def test_a_crash_in_the_midst_of_a_renewal_leaves_the_old_certificate(authority: Authority, tmp_path: Path) -> None:
    """With the new keys known already, which do no harm."""
    vault, made = kept(authority, tmp_path)
    known = identity(authority, made.key).control_plane
    vault.remember(known)
    assert vault.load().chain == made.chain


DAMAGE = {
    "device.pem is empty": ("device.pem", b""),
    "device.pem is rust": ("device.pem", b"\x00\xff"),
    "no control-plane.json": ("control-plane.json", None),
    "control-plane.json is cut": ("control-plane.json", b'{"root": "'),
    "control-plane.json is a list": ("control-plane.json", b"[]"),
    "control-plane.json is a word": ("control-plane.json", b'"x"'),
    "control-plane.json is no text": ("control-plane.json", b"\xff"),
    "control-plane.json says nothing": ("control-plane.json", b"{}"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_identity_says_what_to_do(
    authority: Authority, tmp_path: Path, damage: tuple[str, bytes | None]
) -> None:
    """Each file missing, cut or overwritten: one sentence, with the folder."""
    vault, _ = kept(authority, tmp_path)
    name, content = damage
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(NotEnrolled, match=f"the identity in {tmp_path} is damaged.*: enrol this box again"):
        vault.load()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("BEGIN CERTIFICATE", "BEGIN CERTIFICAT"),
        ("control.example:8447", "control.example"),
        ("control.example:8445", "control.example:0"),
        ("[::1]:8883", "[::1]:99999"),
        (SIGNER.public.hex(), SIGNER.public.hex()[:-2]),
        (SIGNER.public.hex(), "no hex"),
        (f'["{SIGNER.public.hex()}"]', "[]"),
        (f'["{SIGNER.public.hex()}"]', '"none"'),
        ('"broker"', '"breaker"'),
    ],
)
def test_each_thing_known_of_the_control_plane_must_make_sense(
    authority: Authority, tmp_path: Path, old: str, new: str
) -> None:
    """Else the agent would try for ever to reach it, with an error that says nothing."""
    vault, _ = kept(authority, tmp_path)
    file = tmp_path / "control-plane.json"
    text = " ".join(file.read_text().split()).replace("[ ", "[").replace(" ]", "]")
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(NotEnrolled, match="damaged"):
        vault.load()


def test_a_certificate_of_another_key_is_damage(authority: Authority, tmp_path: Path) -> None:
    """No handshake could succeed with it."""
    vault, made = kept(authority, tmp_path)
    other = identity(authority, ec.generate_private_key(ec.SECP256R1()))
    vault.pem.write_bytes(made.key_pem + other.chain_pem)
    with pytest.raises(NotEnrolled, match="another key"):
        vault.load()


def test_a_waiting_key_that_is_damaged_is_named(tmp_path: Path) -> None:
    """With what to do."""
    (tmp_path / "device.key").write_bytes(b"rust")
    with pytest.raises(NotEnrolled, match=r"device\.key is damaged .*: remove it"):
        Vault(tmp_path).new_key()


def test_keys_are_pinned_on_disk(authority: Authority, tmp_path: Path) -> None:
    """In place of the former ones; all else that is known stays."""
    vault, made = kept(authority, tmp_path)
    vault.pin({STRANGER.id: STRANGER.public, SIGNER.id: SIGNER.public})
    found = vault.load()
    assert found.keys == {STRANGER.id: STRANGER.public, SIGNER.id: SIGNER.public}
    assert found.control_plane.root == made.control_plane.root
    assert found.chain == made.chain


@given(st.one_of(st.text(max_size=30), st.from_regex(r"[a-z.:\[\]]{0,9}:[0-9]{0,6}", fullmatch=True)))
def test_an_address_is_read_or_refused(text: str) -> None:
    """Nothing but ValueError, and never a port that is none."""
    try:
        found = place(text)
    except ValueError:
        return
    assert 0 < found.port < 65_536
    assert found.host


def test_an_address_of_the_newer_protocol_is_in_brackets() -> None:
    """As in a URL."""
    assert (place("[::1]:8447").host, place("[::1]:8447").port) == ("::1", 8447)
