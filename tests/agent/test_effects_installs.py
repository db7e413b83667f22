"""Installs: a version is fetched, checked and only then current."""

from pathlib import Path

import pytest
from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.ports import Died
from headwater_agent.training import protocol
from headwater_agent.training.protocol import Broke, Checked, Refused

from tests.fakes.agent_bench import DONE, Bench
from tests.fakes.agent_world import deployment


async def test_a_version_is_checked_then_activated(bench: Bench) -> None:
    """Fetched, compared with its reference outputs, and only then current."""
    wanted = bench.deployment()
    bench.worker.replies = [Checked("")]
    assert await bench.effects.perform(do.Install(wanted)) == on.Installed(wanted.model, 3)
    assert bench.shelf.current == {wanted.model: wanted.version}
    job = bench.worker.jobs[0]
    assert isinstance(job, protocol.Check) and job.tolerance == wanted.tolerance


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        ([Checked("output y differs by 0.3")], "differs by 0.3"),
        ([Refused("unknown operator")], "unknown operator"),
        ([Broke("no memory")], "no memory"),
        ([Died("SIGSEGV"), Died("SIGSEGV"), Died("SIGSEGV")], "3 times, the last time so: SIGSEGV"),
        ([DONE], "answered the check with Trained"),
    ],
)
async def test_a_version_that_fails_its_check_is_not_activated(
    bench: Bench, replies: list[protocol.Reply | Exception | None], words: str
) -> None:
    """The one before stays, and the reason is reported."""
    bench.worker.replies = replies
    event = await bench.effects.perform(do.Install(bench.deployment()))
    assert isinstance(event, on.InstallFailed) and words in event.problem
    assert bench.shelf.current == {}


async def test_a_check_that_never_ends_is_given_up(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker is killed, and the reason is reported."""
    monkeypatch.setattr("headwater_agent.installs.CHECK_S", 0.05)
    bench.worker.replies = [None]
    event = await bench.effects.perform(do.Install(bench.deployment()))
    assert isinstance(event, on.InstallFailed) and "longer than 0.05 s" in event.problem
    assert bench.worker.killed == 1


async def test_a_check_survives_a_worker_that_dies_once(bench: Bench) -> None:
    """It may have been the memory of another."""
    bench.worker.replies = [Died("SIGKILL"), Checked("")]
    assert isinstance(await bench.effects.perform(do.Install(bench.deployment())), on.Installed)


async def test_a_version_that_is_here_is_not_fetched_again(bench: Bench, tmp_path: Path) -> None:
    """A crash after it was shelved, or a way back."""
    wanted = bench.deployment()
    bench.shelf.versions[wanted.model, wanted.version] = tmp_path / "shelved.onnx"
    del bench.cache.blobs[wanted.onnx.digest]
    bench.worker.replies = [Checked("")]
    assert isinstance(await bench.effects.perform(do.Install(wanted)), on.Installed)


async def test_a_version_is_fetched_before_its_check_is_counted(bench: Bench) -> None:
    """What has come stays for the check, which fetches nothing again; a version that can't be had has failed."""
    wanted = bench.deployment()
    assert await bench.effects.perform(do.FetchVersion(wanted)) == on.VersionFetched(wanted.model, 3)
    assert (bench.worker.jobs, bench.cache.pruned) == ([], [])
    bench.cache.blobs.clear()
    bench.worker.replies = [Checked("")]
    assert await bench.effects.perform(do.Install(wanted)) == on.Installed(wanted.model, 3)
    event = await bench.effects.perform(do.FetchVersion(deployment(1)))
    assert isinstance(event, on.InstallFailed) and "does not have it" in event.problem


@pytest.mark.parametrize("reply", [Checked(""), Checked("output y differs by 0.3")])
async def test_what_an_install_leaves_is_dropped(bench: Bench, reply: protocol.Reply) -> None:
    """A box that is never trained on has nobody else to do it; a task's files stay, its graphs among them."""
    await bench.effects.perform(do.Fetch(bench.task))
    of_task = bench.cache.pruned.pop()
    wanted = bench.deployment()
    bench.of_install = frozenset({wanted.onnx.digest, wanted.reference.digest})
    bench.needed = bench.of_install | {bench.task.bundle.digest, bench.task.base.digest}
    bench.worker.replies = [reply]
    assert await bench.effects.perform(do.Install(wanted)) is not None
    assert bench.cache.pruned == [of_task]


async def test_a_cache_that_cannot_be_pruned_fails_no_install(bench: Bench) -> None:
    """The version is there all the same."""
    bench.cache.pruning = OSError(5, "Input/output error")
    bench.worker.replies = [Checked("")]
    assert isinstance(await bench.effects.perform(do.Install(bench.deployment())), on.Installed)


async def test_a_version_the_server_lacks_is_reported(bench: Bench) -> None:
    """Not waited for."""
    event = await bench.effects.perform(do.Install(deployment(1)))
    assert isinstance(event, on.InstallFailed) and "does not have it" in event.problem
