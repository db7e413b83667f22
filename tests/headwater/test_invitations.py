"""headwater device invite | invites | uninvite | disable | enable, against a real control plane over TLS."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from headwater.demo.processes import ControlPlane, Endpoints
from headwater_agent.edges import enrolment
from headwater_agent.edges.enrolment import NoCertificate
from headwater_agent.edges.identity import Vault
from headwater_wire.invitation import Invitation, decode

from tests.headwater.shell import Shell
from tests.support.warm import launch


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    """Start one."""
    names = ("--names", "control.example,2001:db8::1")
    with ControlPlane(tmp_path_factory.mktemp("control") / "data", arguments=names, launch=launch) as control:
        yield control.ready()


@pytest.fixture
def shell(endpoints: Endpoints, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Run commands as the first admin."""
    return Shell(endpoints.http, capsys, endpoints.env)


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    """Open an identity's folder."""
    return Vault(tmp_path / "identity")


def read(printed: str) -> Invitation:
    """Read the invitation out of the line to paste."""
    match = re.search(r"^headwater-agent enroll (hw1\.\S+)$", printed, re.MULTILINE)
    assert match, printed
    return decode(match[1])


async def test_an_invitation_is_one_line_that_lets_a_box_in(shell: Shell, endpoints: Endpoints, vault: Vault) -> None:
    """Under the address the operator uses, with the fingerprint of this authority; it is listed, without its secret."""
    printed = shell.ok("device", "invite", "--label", "site=north", "--ttl", "30m")
    assert re.search(r"^for one box, until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC; on the box:$", printed, re.MULTILINE)
    invitation = read(printed)
    assert invitation.address == endpoints.enrol
    identity = await enrolment.enroll(invitation, "box-north", vault.new_key())
    assert identity.device == "box-north"
    listed = shell.json("device", "invites")[0]
    assert (listed["used"], listed["uses"], listed["labels"], listed["device"]) == (1, 1, {"site": "north"}, "")
    assert listed["created_by"] == "token:first"
    table = shell.ok("device", "invites")
    assert "1/1" in table
    for told in (table, str(listed)):
        assert invitation.secret.hex() not in told
        assert "hw1." not in told
    with pytest.raises(NoCertificate, match="once only"):
        await enrolment.enroll(invitation, "box-south", Vault(vault.pem.parent.parent / "other").new_key())


def test_an_invitation_says_for_whom_and_for_how_long(shell: Shell) -> None:
    """For one device, for several boxes, under another name of the control plane, and for a program."""
    assert shell.ok("device", "invite", "--device", "gate-7").startswith("for gate-7, until ")
    assert shell.ok("device", "invite", "--uses", "12").startswith("for 12 boxes, until ")
    assert read(shell.ok("device", "invite", "--host", "control.example")).address.startswith("control.example:")
    assert read(shell.ok("device", "invite", "--host", "2001:db8::1")).address.startswith("[2001:db8::1]:")
    assert "add it to `names`" in shell("device", "invite", "--host", "other.example").err
    made = shell.json("device", "invite", "--ttl", "7d")
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=7) - timedelta(minutes=5) < left <= timedelta(days=7)
    assert decode(made["token"]).secret


@pytest.mark.parametrize(
    "wrong",
    [
        ("--ttl", "soon"),
        ("--ttl", "31d"),
        ("--label", "site"),
        ("--label", "a b=c"),
        ("--uses", "0"),
        ("--uses", "2", "--device", "gate-7"),
        ("--device", "a/b"),
    ],
)
def test_what_makes_no_sense_is_no_invitation(shell: Shell, wrong: tuple[str, ...]) -> None:
    """It is refused with a sentence, and none is made."""
    before = len(shell.json("device", "invites"))
    said = shell("device", "invite", *wrong)
    assert said.code in (1, 2)
    assert said.err
    assert "Traceback" not in said.err
    assert "hw1." not in said.out
    assert len(shell.json("device", "invites")) == before


def test_a_time_that_is_too_long_says_what_is_allowed(shell: Shell) -> None:
    """In days, by the name of the flag."""
    said = " ".join(shell("device", "invite", "--ttl", "90d").err.replace("│", " ").split())
    assert "--ttl: an invitation is good for at most 30 days" in said


async def test_an_invitation_is_withdrawn(shell: Shell, vault: Vault) -> None:
    """It is listed as such, and admits nobody; the box hears why. What is not there is not withdrawn."""
    invitation = read(shell.ok("device", "invite", "--uses", "2"))
    invite = shell.json("device", "invites")[0]
    assert invite["state"] == "open"
    assert f"{invite['id']} is withdrawn" in shell.ok("device", "uninvite", invite["id"])
    assert "withdrawn" in shell.ok("device", "invites").splitlines()[1]
    again = shell.json("device", "uninvite", invite["id"])
    assert (again["state"], again["used"]) == ("withdrawn", 0)
    with pytest.raises(NoCertificate, match=r"withdrawn at .* UTC: ask for another one"):
        await enrolment.enroll(invitation, "box-late", vault.new_key())
    nobody = shell("device", "uninvite", "invite-9")
    assert (nobody.code, "headwater device invites" in nobody.err) == (1, True)


async def test_the_list_tells_who_is_shut_out_and_who_never_came(shell: Shell, vault: Vault) -> None:
    """Both are there before their agents are; `show` says what is missing; disable and enable answer as JSON too."""
    invitation = read(shell.ok("device", "invite", "--label", "site=listed"))
    await enrolment.enroll(invitation, "box-new", vault.new_key())
    (listed,) = shell.json("device", "list", "--label", "site=listed")
    assert (listed["id"], listed["state"], listed["registered_at"]) == ("box-new", "enrolled", None)
    assert "enrolled" in shell.ok("device", "list", "--label", "site=listed")
    shown = shell.ok("device", "show", "box-new")
    assert "box-new enrolled, seen never" in shown
    assert "its agent never came" in shown
    assert "CPUs" not in shown
    assert shell.json("device", "disable", "box-new", "--reason", "lost")["reason"] == "lost"
    assert "disabled" in shell.ok("device", "list", "--label", "site=listed")
    assert shell.json("device", "enable", "box-new")["disabled_at"] is None


async def test_a_box_is_shut_out_and_let_in_again(shell: Shell, vault: Vault) -> None:
    """It can't renew meanwhile and hears the reason; what is so already is told."""
    invitation = read(shell.ok("device", "invite", "--device", "box-out"))
    identity = await enrolment.enroll(invitation, "box-out", vault.new_key())
    assert "box-out is shut out" in shell.ok("device", "disable", "box-out", "--reason", "stolen from the [red]shed")
    with pytest.raises(NoCertificate, match=r"box-out is disabled: stolen from the \[red\]shed") as error:
        await enrolment.renew(identity)
    assert error.value.refused
    again = shell("device", "disable", "box-out")
    assert (again.code, "disabled already" in again.err) == (1, True)
    assert "box-out may come in again" in shell.ok("device", "enable", "box-out")
    assert (await enrolment.renew(identity)).key_pem == identity.key_pem
    assert shell("device", "enable", "box-out").code == 1
    nobody = shell("device", "disable", "nobody")
    assert (nobody.code, "headwater device list" in nobody.err) == (1, True)
    told = [entry["action"] for entry in shell.json("audit", "list") if entry["subject"] == "box-out"]
    assert told == ["device.enroll", "device.disable", "device.enable"]
