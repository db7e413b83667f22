"""What the HTTP API answers when all is well."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from headwater_control.core.limits import RANGES
from headwater_control.core.runs import RunSpec
from headwater_control.gates.http import listen
from headwater_control.gates.http.app import create
from headwater_control.gates.http.health import Part
from headwater_control.service.world import World
from headwater_wire import digests
from headwater_wire.messages import Phase, Progress

from tests.control_plane.gates.conftest import Training
from tests.control_plane.service.driver import step
from tests.fakes.world import METRICS, MODEL, Box


async def test_devices_are_listed_and_filtered_by_labels(http: httpx.AsyncClient, world: World) -> None:
    """All of the labels must match."""
    for name, labels in (("box-1", {"site": "north", "kind": "cam"}), ("box-2", {"site": "south", "kind": "cam"})):
        await Box(world, name, labels).register()
    listed = (await http.get("/v1/devices")).json()
    assert [(device["id"], device["labels"]["site"]) for device in listed] == [("box-1", "north"), ("box-2", "south")]
    found = (await http.get("/v1/devices", params={"label": ["site=south", "kind=cam"]})).json()
    assert [device["id"] for device in found] == ["box-2"]
    shown = (await http.get("/v1/devices/box-1")).json()
    assert shown["device"]["datasets"][0]["columns"][0] == {"name": "x", "dtype": "float32", "shape": [4]}
    assert shown["not_training"]


async def test_a_model_comes_in_as_a_file_and_a_version_goes_out_as_one(http: httpx.AsyncClient, world: World) -> None:
    """Import, look, export: the bytes exported have the digest announced."""
    made = await http.post("/v1/models", params={"name": "new", "loss": "mse", "trainable": "w"}, content=b"my graph")
    assert made.status_code == 201
    assert (made.json()["version"]["id"], made.json()["notes"]) == ("new-1", ["everything trains"])
    assert [model["name"] for model in (await http.get("/v1/models")).json()] == ["digits", "new"]
    retrained = await http.post("/v1/versions", params={"model": "new", "format": "npz"}, content=b"retrained")
    assert (retrained.status_code, retrained.json()["number"]) == (201, 2)
    assert [version["id"] for version in (await http.get("/v1/versions?model=new")).json()] == ["new-1", "new-2"]
    exported = await http.get("/v1/versions/new-2/model.onnx")
    assert exported.content == b"my graphretrained"
    assert exported.headers["etag"] == f'"{digests.of_bytes(exported.content).digest}"'
    assert not any(world.settings.work_dir.iterdir())


async def test_a_run_is_started_steered_and_shown(http: httpx.AsyncClient, world: World) -> None:
    """What was asked is what is shown; pause, resume and cancel answer with the new state."""
    await Box(world, "box-1", {"site": "north"}).register()
    asked = {"model": "digits", "dataset": "digits", "rounds": 3, "cohort": {"site": "north"}, "seed": 5}
    run = (await http.post("/v1/runs", json=asked)).json()
    assert (run["state"], run["spec"]["cohort"], run["spec"]["seed"]) == ("running", {"site": "north"}, 5)
    for verb, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        assert (await http.post(f"/v1/runs/{run['id']}/{verb}")).json()["state"] == state
    assert (await http.post(f"/v1/runs/{run['id']}/resume")).status_code == 409
    listed = (await http.get("/v1/runs", params={"state": ["cancelled", "running"]})).json()
    assert [found["id"] for found in listed] == [run["id"]]
    assert (await http.get("/v1/runs?state=failed")).json() == []


async def test_a_run_shows_who_was_asked_and_what_came_of_it(http: httpx.AsyncClient, training: Training) -> None:
    """A round has its tasks with phases and metrics, and scores weighted over them."""
    await training.box.upload(training.task)
    shown = (await http.get(f"/v1/runs/{training.run}")).json()
    (round_,) = shown["rounds"]
    (task,) = round_["tasks"]
    assert (task["device"], task["state"], task["metrics"]["examples"]) == ("box-1", "succeeded", 10)
    assert (round_["scores"]["reported"], round_["scores"]["holdout_accuracy"]) == (1, 0.75)
    assert (task["metrics"]["holdout_absolute_error"], round_["scores"]["holdout_mean_absolute_error"]) == (None, None)


async def test_a_regression_shows_its_mean_absolute_error(http: httpx.AsyncClient, training: Training) -> None:
    """And no accuracy: an accuracy of 0 would be said of a model that has none."""
    metrics = replace(METRICS, holdout_correct=None, holdout_absolute_error=1.0)
    await training.box.upload(training.task, metrics=metrics)
    (round_,) = (await http.get(f"/v1/runs/{training.run}")).json()["rounds"]
    told = round_["tasks"][0]["metrics"]
    assert (told["holdout_correct"], told["holdout_absolute_error"]) == (None, 1.0)
    scores = round_["scores"]
    assert (scores["holdout_accuracy"], scores["holdout_mean_absolute_error"]) == (None, 0.25)


async def test_a_loss_that_is_no_number_is_null(http: httpx.AsyncClient, training: Training) -> None:
    """JSON has no NaN: a diverged loss must not break the answer for everybody."""
    async with training.world.store.write() as tx:
        progress = Progress(training.task.id, Phase.TRAINING, 1, 2, float("nan"))
        await tx.tasks.note([(training.box.id, progress)], training.world.clock.now())
    answer = await http.get(f"/v1/runs/{training.run}")
    assert answer.json()["rounds"][0]["tasks"][0]["loss"] is None


async def test_a_rollout_is_started_and_shown_device_by_device(http: httpx.AsyncClient, world: World) -> None:
    """Each matching device gets a pending deployment; a cancelled rollout says so."""
    await Box(world, "box-1").register()
    rollout = (await http.post("/v1/rollouts", json={"version": "digits-1"})).json()
    assert (rollout["state"], rollout["generation"]) == ("running", 1)
    shown = (await http.get(f"/v1/rollouts/{rollout['id']}")).json()
    assert [(item["device"], item["state"]) for item in shown["deployments"]] == [("box-1", "pending")]
    assert len((await http.get("/v1/rollouts?model=digits")).json()) == 1
    assert (await http.get("/v1/rollouts?model=other")).json() == []
    assert (await http.post(f"/v1/rollouts/{rollout['id']}/cancel")).json()["state"] == "cancelled"


async def events(answer: httpx.Response) -> list[dict[str, Any]]:
    """Read a stream of events to its end."""
    return [json.loads(line[5:]) async for line in answer.aiter_lines() if line.startswith("data:")]


@asynccontextmanager
async def watching(training: Training, stopping: asyncio.Event) -> AsyncIterator[httpx.Response]:
    """Serve on a socket, and open the run's stream."""
    with listen.bound("127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1/runs/{training.run}/events"
        async with (
            asyncio.timeout(30),
            listen.served(create(training.world, stopping=stopping), listening),
            httpx.AsyncClient(trust_env=False) as client,
            client.stream("GET", url) as answer,
        ):
            yield answer


async def test_a_watched_run_is_told_until_it_has_ended(training: Training) -> None:
    """The first event is the run as it is; each change follows; after the final state the stream ends."""
    async with watching(training, asyncio.Event()) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        reading = asyncio.create_task(events(answer))
        for _ in range(2):
            await training.box.work()
            await step(training.world, training.run)
        told = await reading
    assert told[0]["run"]["state"] == "running"
    assert told[-1]["run"]["state"] == "completed"
    assert told[-1]["rounds"][-1]["state"] == "committed"


async def test_a_stop_ends_the_streams(training: Training) -> None:
    """An operator who watches does not keep the server from stopping."""
    stopping = asyncio.Event()
    async with watching(training, stopping) as answer:
        stopping.set()
        training.world.bells.ring_watchers()
        assert len(await events(answer)) <= 1


async def test_health_tells_which_part_does_not_work(world: World) -> None:
    """Live answers whatever happens; ready is 503 as long as a part is broken, and says which."""
    working = {"mqtt": False}
    app = create(world, parts=(Part(lambda: working["mqtt"], "no broker"), Part(lambda: True, "never said")))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        assert (await client.get("/v1/health/live")).status_code == 204
        ready = await client.get("/v1/health/ready")
        assert (ready.status_code, ready.json()["problems"]) == (503, ["no broker"])
        assert (await client.get("/v1/health")).status_code == 200
        working["mqtt"] = True
        ready = await client.get("/v1/health/ready")
        assert (ready.status_code, ready.json()["ready"]) == (200, True)


async def test_health_asks_the_database_for_one_row(world: World) -> None:
    """Whoever asks often, and strangers may, costs little: of all repositories the end of the audit log is enough."""

    class Store:
        @asynccontextmanager
        async def read(self) -> AsyncIterator[Any]:
            async with world.store.read() as tx:
                yield SimpleNamespace(audit=SimpleNamespace(head=tx.audit.head))

    app = create(replace(world, store=Store()))  # type: ignore[arg-type]  # so that nothing else can be asked
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        assert (await client.get("/v1/health/ready")).status_code == 200


async def test_the_api_describes_itself(http: httpx.AsyncClient) -> None:
    """Every route with a body or an answer has a schema, and the page at /docs names every path without a script."""
    schema = (await http.get("/openapi.json")).json()
    assert schema["openapi"].startswith("3.1")
    assert {"/v1/runs", "/v1/runs/{run}/events", "/v1/versions/{version}/model.onnx"} <= set(schema["paths"])
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            answers = [answer for code, answer in operation["responses"].items() if code.startswith("20")]
            assert any("content" in answer for answer in answers) or path == "/v1/health/live", (method, path)
            assert "4XX" in operation["responses"], (method, path)
    page = await http.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "<script" not in page.text
    assert all(path in page.text for path in schema["paths"])


async def test_the_api_s_defaults_and_limits_of_a_run_are_core_s(http: httpx.AsyncClient) -> None:
    """What a client is told, what an empty request gets and what the service checks are one."""
    described = (await http.get("/openapi.json")).json()["components"]["schemas"]["RunStart"]["properties"]
    told = {name: said["default"] for name, said in described.items() if "default" in said}
    core = asdict(RunSpec(MODEL, "digits"))
    assert told == {name: core[name] for name in told}
    assert set(core) - set(told) == {"model", "dataset", "base", "cohort"}
    for name, allowed in RANGES.items():
        assert described[name]["exclusiveMinimum" if allowed.above else "minimum"] == float(allowed.low)
        assert described[name]["exclusiveMaximum" if allowed.below else "maximum"] == float(allowed.high)


@pytest.mark.parametrize("accepted", ["/v1/models", "/v1/versions"])
async def test_uploads_are_described_as_files(http: httpx.AsyncClient, accepted: str) -> None:
    """The raw body of an upload is in the description, though FastAPI does not read it."""
    schema = (await http.get("/openapi.json")).json()
    assert "application/octet-stream" in schema["paths"][accepted]["post"]["requestBody"]["content"]
