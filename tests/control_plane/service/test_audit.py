"""Every change that an administrator makes is in the audit log, once; nothing else is."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from headwater_control.core.audit import Caller, Entry
from headwater_control.core.runs import RunSpec
from headwater_control.edges.store import open_store
from headwater_control.edges.store.engines import parsed
from headwater_control.ports import Store
from headwater_control.service import audit, models, rollouts, runs
from headwater_control.service.caller import calling
from headwater_control.service.deployments import settle
from headwater_control.service.errors import Conflict, Invalid
from headwater_control.service.world import World
from headwater_wire.ids import VersionId
from sqlalchemy.ext.asyncio import create_async_engine

from tests.fakes.offload import BAD
from tests.fakes.world import MODEL, Box, fake_world, import_digits
from tests.support.postgres import fresh_database

SPEC = RunSpec(MODEL, "digits", rounds=1)
ANN = Caller("ann", "192.0.2.1", "request-7")


async def added(world: World, after: int) -> list[Entry]:
    """List the entries since."""
    return list(await audit.list_entries(world, after, 100))


def told(entry: Entry) -> tuple[str, str, Any, Any]:
    """Give what was done."""
    return entry.action, entry.subject, json.loads(entry.before), json.loads(entry.after)


async def test_imports_are_recorded(world: World, tmp_path: Path) -> None:
    """A model with what it is, a version with its origin; by whom, from where, in which request."""
    (tmp_path / "m.onnx").write_bytes(b"graph")
    with calling(ANN):
        made = await models.import_model(world, "faults", tmp_path / "m.onnx", loss="mse")
        version = await models.import_version(world, "faults", tmp_path / "m.onnx")
    one, two = await added(world, 1)  # the first is of the fixture
    action, subject, before, after = told(one)
    assert (action, subject, before, after["loss"]) == ("model.import", "faults", {}, "mse")
    assert after["graph"]["digest"] == made.model.graph.digest
    action, subject, before, after = told(two)
    assert (action, subject, before, after["parameters"]["digest"]) == (
        "version.import", "faults-2", {}, version.parameters.digest,
    )  # fmt: skip
    assert {(entry.who, entry.source, entry.request) for entry in (one, two)} == {("ann", "192.0.2.1", "request-7")}


async def test_each_verb_of_a_run_is_one_entry(world: World) -> None:
    """Before and after have the fields that changed; what is asked for twice is recorded once."""
    await Box(world, "box-1").register()
    run = await runs.start(world, SPEC)
    for verb in (runs.pause, runs.pause, runs.resume, runs.resume, runs.cancel, runs.cancel):
        await verb(world, run.id)
    started, *steered, cancelled = [told(entry) for entry in await added(world, 1)]
    assert started[:3] == ("run.start", run.id, {})
    assert (started[3]["spec"]["rounds"], started[3]["spec"]["base"], started[3]["state"]) == (1, "digits-1", "running")
    assert steered == [
        ("run.pause", run.id, {"state": "running"}, {"state": "paused"}),
        ("run.resume", run.id, {"state": "paused"}, {"state": "running"}),
    ]
    assert cancelled[:2] == ("run.cancel", run.id)
    assert (cancelled[2]["state"], cancelled[3]["state"]) == ("running", "cancelled")
    assert cancelled[3]["reason"] == "cancelled by an operator"


async def test_each_verb_of_a_rollout_is_one_entry(world: World) -> None:
    """Of the one it overtakes there is none: nobody asked for that by name."""
    await Box(world, "box-1").register()
    first = await rollouts.start(world, VersionId("digits-1"))
    second = await rollouts.start(world, VersionId("digits-1"))
    await settle(world)
    for _ in range(2):
        await rollouts.cancel(world, second.id)
    one, two, three = [told(entry) for entry in await added(world, 1)]
    assert [one[:2], two[:2]] == [("rollout.start", first.id), ("rollout.start", second.id)]
    assert (one[2], one[3]["version"], one[3]["generation"], two[3]["generation"]) == ({}, "digits-1", 1, 2)
    assert three == ("rollout.cancel", second.id, {"state": "running"}, {"state": "cancelled"})


async def test_what_is_refused_and_what_devices_do_is_not_recorded(world: World, tmp_path: Path) -> None:
    """The log is of changes that administrators made."""
    with pytest.raises(Invalid):
        await runs.start(world, SPEC)
    (tmp_path / "m.onnx").write_bytes(BAD)
    with pytest.raises(Invalid):
        await models.import_model(world, "faults", tmp_path / "m.onnx", loss="mse")
    with pytest.raises(Conflict):
        await models.import_model(world, "digits", tmp_path / "m.onnx", loss="mse")
    box = await Box(world, "box-1").register()
    await box.sync()
    assert await added(world, 1) == []
    (first,) = await added(world, 0)
    assert (first.action, first.who, first.source, first.request) == ("model.import", "control plane", "", "")


async def test_the_newest_are_listed_and_the_whole_is_verified(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a number to begin after the last ones are meant; a log of several pages is followed to its end."""
    monkeypatch.setattr(audit, "_PAGE", 2)
    await Box(world, "box-1").register()
    run = await runs.start(world, SPEC)
    for verb in (runs.pause, runs.resume, runs.cancel):
        await verb(world, run.id)
    newest = await audit.list_entries(world, None, 2)
    assert [entry.action for entry in newest] == ["run.resume", "run.cancel"]
    assert len(await audit.list_entries(world, None, 100)) == 5
    assert await audit.verify(world) == audit.Verdict(5, newest[-1].digest, "")


@pytest.fixture(params=["sqlite", "postgres"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Name an empty database that somebody else can open too."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'open.db'}"
        return
    async with fresh_database() as database:
        yield database


async def meddle(url: str, statement: str) -> None:
    """Change a database behind the control plane's back."""
    engine = create_async_engine(parsed(url))
    async with engine.begin() as connection:
        await connection.execute(sa.text(statement))
    await engine.dispose()


async def filled(store: Store, scratch: Path) -> World:
    """Make a control plane whose log has four entries."""
    world = fake_world(scratch, store=store)
    await import_digits(world, scratch)
    await Box(world, "box-1").register()
    run = await runs.start(world, SPEC)
    await runs.pause(world, run.id)
    await runs.resume(world, run.id)
    return world


async def known(world: World) -> World:
    """Have the data directory know the log's first entry, as a start does."""
    (first, *_) = await audit.list_entries(world, 0, 1)
    return replace(world, settings=replace(world.settings, first_entry=first.digest))


@pytest.mark.parametrize(
    ("statement", "found", "entries"),
    [
        ("UPDATE audit SET who = 'nobody' WHERE number = 2", "entry 2 was changed after it was written", 1),
        ("UPDATE audit SET at = '2020-01-01 00:00:00' WHERE number = 3", "entry 3 was changed", 2),
        ("UPDATE audit SET number = 9 WHERE number = 4", "entry 4 is missing: the next one is 9", 3),
        ("DELETE FROM audit WHERE number = 2", "entry 2 is missing: the next one is 3", 1),
        ("DELETE FROM audit WHERE number = 4", "entry 4 is missing: the last of all was 4", 3),
        ("DELETE FROM audit", "entry 1 is missing: the last of all was 4", 0),
        ("DELETE FROM audit_head", "entry 1 was put in: the last of all was 0", 4),
        ("UPDATE audit_head SET digest = ''", "entry 4 was replaced", 4),
    ],
)
async def test_what_is_changed_behind_its_back_is_found(
    url: str, tmp_path: Path, statement: str, found: str, entries: int
) -> None:
    """By the first entry that does not fit."""
    async with open_store(url) as store:
        world = await filled(store, tmp_path)
        assert (await audit.verify(world)).problem == ""
        await meddle(url, statement)
        verdict = await audit.verify(world)
        assert found in verdict.problem
        assert verdict.entries == entries


@pytest.mark.parametrize(
    ("statements", "found"),
    [
        (
            ["DELETE FROM audit", "UPDATE audit_head SET number = 0, digest = ''"],
            "entry 1 is missing, and all after it",
        ),
        (["DELETE FROM audit", "DELETE FROM audit_head"], "entry 1 is missing, and all after it"),
        (["DELETE FROM audit"], "entry 1 is missing"),
    ],
)
async def test_a_log_that_was_emptied_is_found(url: str, tmp_path: Path, statements: list[str], found: str) -> None:
    """Where the data directory knows what it began with, though its end be set back as well."""
    async with open_store(url) as store:
        world = await known(await filled(store, tmp_path))
        assert (await audit.verify(world)).problem == ""
        for statement in statements:
            await meddle(url, statement)
        verdict = await audit.verify(world)
        assert found in verdict.problem
        assert verdict.entries == 0


async def test_a_log_that_was_made_anew_is_found(url: str, tmp_path: Path) -> None:
    """Each of its entries may fit the one before: the first is not the one that the data directory knows."""
    async with open_store(url) as store:
        world = await known(await filled(store, tmp_path))
        await meddle(url, "DELETE FROM audit")
        await meddle(url, "UPDATE audit_head SET number = 0, digest = ''")
        for run in await runs.list_runs(world):
            await runs.pause(world, run.id)
        verdict = await audit.verify(world)
        assert "entry 1 was replaced: the data directory knows another one" in verdict.problem
        assert verdict.entries == 0


async def test_a_time_that_is_none_is_found(tmp_path: Path) -> None:
    """SQLite takes anything into a column of times."""
    url = f"sqlite:///{tmp_path / 'open.db'}"
    async with open_store(url) as store:
        world = await filled(store, tmp_path)
        await meddle(url, "UPDATE audit SET at = 'noon' WHERE number = 2")
        assert "an entry after number 0 was changed" in (await audit.verify(world)).problem


@pytest.mark.parametrize("statement", ["DELETE FROM audit_head", "UPDATE audit_head SET number = 3"])
async def test_nothing_can_be_changed_once_the_log_can_not_go_on(url: str, tmp_path: Path, statement: str) -> None:
    """A change that could not be recorded is not made."""
    async with open_store(url) as store:
        world = await filled(store, tmp_path)
        (run,) = await runs.list_runs(world)
        await meddle(url, statement)
        with pytest.raises(RuntimeError, match="changed the audit log behind"):
            await runs.pause(world, run.id)
        assert await runs.list_runs(world) == (run,)
