"""mosquitto's files on disk: whose they are, and what a second run leaves alone."""

import grp
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from headwater_control.edges.ca import Authority, embedded
from headwater_control.edges.mosquitto import Folder, Plan

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
FILES = ("acl", "broker.pem", "ca.pem", "crl.pem", "mosquitto.conf", "state/dynamic-security.json")


def write(folder: Folder, authority: Authority, now: datetime = NOW) -> None:
    """Write as `headwater broker-config` does."""
    leaf = authority.server(["broker.example"], now)
    folder.write(
        Plan(folder.path, "127.0.0.1", 8883, Path("/plugin.so")),
        identity=leaf.key + leaf.chain,
        issuer=authority.client_anchors,
        root=authority.root_pem,
        crl=authority.revoked((), now),
    )


def modes(folder: Path) -> dict[str, int]:
    """Tell the permissions of each file, and of the folders."""
    return {name: stat.S_IMODE((folder / name).stat().st_mode) for name in (*FILES, ".", "state")}


def test_without_a_group_all_is_for_its_owner(tmp_path: Path) -> None:
    """The folder keeps others out; the key and the state are private besides."""
    write(Folder(tmp_path / "mosquitto"), embedded(tmp_path / "ca", NOW))
    found = modes(tmp_path / "mosquitto")
    assert found["."] == found["state"] == 0o700
    assert found["broker.pem"] == found["state/dynamic-security.json"] == 0o600


def test_with_a_group_the_broker_reads_its_key_and_writes_its_state_and_others_do_neither(tmp_path: Path) -> None:
    """The group owns the folders, so that what is written later is the group's as well."""
    group = grp.getgrgid(os.getgid()).gr_name
    write(Folder(tmp_path / "mosquitto", group), embedded(tmp_path / "ca", NOW))
    found = modes(tmp_path / "mosquitto")
    assert (found["."], found["state"]) == (0o2750, 0o2770)
    assert (found["broker.pem"], found["state/dynamic-security.json"]) == (0o640, 0o660)
    assert found["crl.pem"] == found["mosquitto.conf"] == found["acl"] == found["ca.pem"] == 0o644


def test_an_unknown_group_is_told(tmp_path: Path) -> None:
    """It is no reason to leave a key that anybody can read."""
    with pytest.raises(LookupError):
        write(Folder(tmp_path / "mosquitto", "no-such-group"), embedded(tmp_path / "ca", NOW))
    assert not (tmp_path / "mosquitto" / "broker.pem").exists()


def test_a_second_run_renews_the_certificate_and_keeps_list_and_state(tmp_path: Path) -> None:
    """Who is shut out stays so, and what the plugin has noted is its own."""
    authority, folder = embedded(tmp_path / "ca", NOW), Folder(tmp_path / "mosquitto")
    write(folder, authority)
    (folder.path / "crl.pem").write_bytes(authority.revoked(["abc"], NOW))
    (folder.path / "state" / "dynamic-security.json").write_text("{}")
    before = {name: (folder.path / name).read_bytes() for name in FILES}
    write(folder, authority, NOW + timedelta(days=60))
    after = {name: (folder.path / name).read_bytes() for name in FILES}
    assert {name for name in FILES if before[name] != after[name]} == {"broker.pem"}


def test_the_list_of_another_authority_is_replaced(tmp_path: Path) -> None:
    """With it mosquitto would refuse everybody."""
    folder = Folder(tmp_path / "mosquitto")
    write(folder, embedded(tmp_path / "old", NOW))
    old = (folder.path / "crl.pem").read_bytes()
    write(folder, embedded(tmp_path / "new", NOW))
    assert (folder.path / "crl.pem").read_bytes() != old
