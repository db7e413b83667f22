"""`headwater-agent enroll`: an invitation in, an identity on disk, or a sentence and nothing changed."""

import asyncio
import io
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from headwater_agent.__main__ import main
from headwater_agent.config import load
from headwater_agent.edges import enrolment
from headwater_agent.edges.alone import alone
from headwater_agent.edges.identity import Vault
from headwater_agent.enrol import enrol
from headwater_control.service.enrolment import list_invites
from headwater_wire.invitation import Invitation, decode, encode

from tests.fakes.secure_gates import HOST, Gates, secure_gates

CONFIG = '[agent]\nid = "box-1"\nstate_dir = "state"\n'


@pytest.fixture
async def gates(tmp_path: Path) -> AsyncIterator[Gates]:
    """Serve a control plane."""
    async with secure_gates(tmp_path / "control") as served:
        yield served


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write a configuration."""
    (tmp_path / "agent.toml").write_text(CONFIG)
    return tmp_path / "agent.toml"


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    """Open the identity's folder."""
    return Vault(tmp_path / "state" / "identity")


async def run(file: Path, *arguments: str) -> int:
    """Run the command in a thread, as it has a loop of its own; give its exit code."""

    def call() -> int:
        try:
            main(["enroll", "--config", str(file), *arguments])
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return await asyncio.to_thread(call)


async def used(gates: Gates) -> list[int]:
    """Say how often each invitation was used, the newest first."""
    return [one.used for one in await list_invites(gates.world)]


async def test_a_box_is_enrolled_by_one_line(
    gates: Gates, file: Path, vault: Vault, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says as whom, until when, and what comes next; the identity is on disk."""
    assert await run(file, await gates.token()) == 0
    told = capsys.readouterr().out
    found = vault.load()
    assert f"enrolled as box-1, until {found.ends:%Y-%m-%d}" in told
    assert f"gateway {found.control_plane.gateway}, broker {found.control_plane.broker}" in told
    assert found.control_plane.enrolment == f"{HOST}:{gates.port}"
    assert found.control_plane.gateway.startswith(f"{HOST}:")
    assert found.control_plane.root.encode() == gates.authority.root_pem
    signer = gates.world.keyring.signer(gates.world.clock.now())
    assert found.keys == {signer.id: signer.public}


async def test_an_invitation_may_come_by_standard_input(
    gates: Gates, file: Path, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token alone, or the whole line that was printed to be pasted: neither is then in a list of processes."""
    for line, more in (("{}\n", ()), ("headwater-agent enroll {}\r\n", ("--again",))):
        token = await gates.token("box-1")
        monkeypatch.setattr(sys, "stdin", io.StringIO(line.format(token) + "what follows is not read\n"))
        assert await run(file, *more, "-") == 0
    assert vault.load().device == "box-1"
    assert await used(gates) == [1, 1]


async def test_standard_input_without_an_invitation_says_where_to_get_one(
    file: Path, vault: Vault, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty line, or none; what is no invitation is refused as on the command line."""
    for line, why in (("", "headwater device invite -q"), (" \n", "headwater device invite -q"), ("rust\n", "invit")):
        monkeypatch.setattr(sys, "stdin", io.StringIO(line))
        assert await run(file, "-") == 1
        assert why in capsys.readouterr().err
    assert not vault.pem.exists()


async def test_an_identity_that_is_there_stays(
    gates: Gates, file: Path, vault: Vault, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless told otherwise; the invitation is not used up by the attempt."""
    await run(file, await gates.token())
    before = vault.load()
    again = await gates.token("box-1")
    assert await run(file, again) == 1
    assert "enrolled already, as box-1; to do it anew, say --again" in capsys.readouterr().err
    assert vault.load().chain == before.chain
    assert (await used(gates))[0] == 0
    assert await run(file, "--again", again) == 0
    assert vault.load().key_pem != before.key_pem


async def test_an_enrolment_that_was_cut_short_is_repeated_by_the_same_line(
    gates: Gates, file: Path, vault: Vault
) -> None:
    """The certificate was issued and never kept: the same key gets one again, and no second use is counted."""
    token = await gates.token()
    lost = await enrolment.enroll(decode(token), "box-1", vault.new_key())
    assert await run(file, token) == 0
    assert vault.load().key_pem == lost.key_pem
    assert await used(gates) == [1]


async def test_a_damaged_identity_is_made_anew(gates: Gates, file: Path, vault: Vault, tmp_path: Path) -> None:
    """Without --again: there is nothing to lose."""
    await run(file, await gates.token())
    (tmp_path / "state" / "identity" / "control-plane.json").unlink()
    assert await run(file, await gates.token("box-1")) == 0
    assert vault.load().device == "box-1"


async def test_the_invitation_decides_the_id(gates: Gates, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is printed. A box whose configuration says another one is told so, and the invitation stays unused."""
    token = await gates.token("gate-7")
    assert await run(file, token) == 1
    assert "the invitation is for 'gate-7', but agent.id" in capsys.readouterr().err
    await asyncio.to_thread(file.write_text, CONFIG.replace('id = "box-1"\n', ""))
    assert await run(file, token) == 0
    assert "enrolled as gate-7" in capsys.readouterr().out


async def test_beside_a_running_agent_nothing_is_enrolled(
    gates: Gates, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The agent would write what it knows over the new identity."""
    token = await gates.token()
    with alone(tmp_path / "state"):
        assert await run(file, token) == 1
    assert "another agent uses" in capsys.readouterr().err
    assert await used(gates) == [0]


Spoil = Callable[[Gates, str], str]
SPOILT: dict[str, tuple[Spoil, str]] = {
    "cut": (lambda gates, token: token[:-7], "damaged, or cut short"),
    "no invitation": (lambda gates, token: "hello", "an invitation begins with"),
    "another authority": (
        lambda gates, token: encode(Invitation(decode(token).address, bytes(32), decode(token).secret)),
        "Somebody may stand between; nothing was sent to it",
    ),
    "nobody there": (
        lambda gates, token: encode(Invitation(f"{HOST}:1", decode(token).fingerprint, decode(token).secret)),
        "nobody answers at 127.0.0.1:1",
    ),
    "no address": (
        lambda gates, token: encode(Invitation("nowhere", decode(token).fingerprint, decode(token).secret)),
        "nobody answers at nowhere",
    ),
    "no host": (
        lambda gates, token: encode(Invitation("a..b:99", decode(token).fingerprint, decode(token).secret)),
        "nobody answers at a..b:99",
    ),
    "another secret": (
        lambda gates, token: encode(Invitation(decode(token).address, decode(token).fingerprint, bytes(32))),
        "there is no such invitation",
    ),
}


@pytest.mark.parametrize(("spoil", "sentence"), SPOILT.values(), ids=SPOILT.keys())
async def test_what_does_not_work_is_a_sentence(
    gates: Gates, file: Path, capsys: pytest.CaptureFixture[str], spoil: Spoil, sentence: str
) -> None:
    """No trace, no identity, and the invitation is still good."""
    token = await gates.token()
    assert await run(file, spoil(gates, token)) == 1
    said = capsys.readouterr().err
    assert sentence in said
    assert said.startswith("headwater-agent: ")
    assert "Traceback" not in said
    assert await used(gates) == [0]
    assert await run(file, token) == 0


async def test_two_boxes_with_one_line_are_one_box_and_a_refusal(gates: Gates, tmp_path: Path) -> None:
    """Whichever comes first."""
    token = await gates.token()
    files = []
    for number in (1, 2):
        folder = tmp_path / f"box-{number}"
        folder.mkdir()
        (folder / "agent.toml").write_text(CONFIG.replace("box-1", f"box-{number}"))
        files.append(folder / "agent.toml")
    found = await asyncio.gather(*(enrol(load(file, {}), token, again=False) for file in files), return_exceptions=True)
    assert sorted(type(one).__name__ for one in found) == ["Identity", "NoCertificate"]
