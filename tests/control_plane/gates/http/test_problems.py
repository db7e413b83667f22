"""Every error of the HTTP API is a problem with a sentence, and nothing gets in that should not."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from headwater_control.gates.http.app import create
from headwater_control.service.world import World

from tests.control_plane.gates.http.conftest import LIMIT_BYTES
from tests.fakes.offload import BAD

RUN = {"model": "digits", "dataset": "digits"}


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Check the shape of RFC 9457; give the content."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    told: dict[str, Any] = answer.json()
    assert told["status"] == status
    assert told["type"] == "about:blank"
    assert told["title"]
    assert told["instance"] == answer.request.url.path
    assert len(told["detail"]) > 10
    return told


@pytest.mark.parametrize(
    ("method", "path", "status", "word"),
    [
        ("GET", "/v1/nothing", 404, "/v1/nothing"),
        ("DELETE", "/v1/runs", 405, "DELETE"),
        ("GET", "/v1/devices/box-9", 404, "box-9"),
        ("GET", "/v1/models/none", 404, "none"),
        ("GET", "/v1/versions?model=none", 404, "none"),
        ("GET", "/v1/versions", 422, "model"),
        ("GET", "/v1/versions/none-1/model.onnx", 404, "none-1"),
        ("GET", "/v1/runs/run-9", 404, "run-9"),
        ("GET", "/v1/runs/run-9/events", 404, "run-9"),
        ("POST", "/v1/runs/run-9/cancel", 404, "run-9"),
        ("GET", "/v1/rollouts/none", 404, "none"),
        ("GET", "/v1/runs?state=asleep", 422, "state"),
        ("GET", "/v1/runs/%00", 422, "not a name"),
        ("GET", "/v1/devices?label=site", 422, "key=value"),
    ],
)
async def test_what_is_not_there_is_a_problem(
    http: httpx.AsyncClient, method: str, path: str, status: int, word: str
) -> None:
    """Unknown names, paths and methods say which one."""
    assert word in problem(await http.request(method, path), status)["detail"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"rounds": 0}, "rounds"),
        ({"rounds": "many"}, "rounds"),
        ({"learning_rate": -1}, "learning_rate"),
        ({"holdout": 1}, "holdout"),
        ({"seed": 2**63}, "seed"),
        ({"quorum": 0}, "quorum"),
        ({"over_select": 11}, "over_select"),
        ({"progress_deadline_s": 0.5}, "progress_deadline_s"),
        ({"model": "../etc"}, "model"),
        ({"cohort": {"site": "a b"}}, "cohort.site"),
        ({"nonsense": 1}, "nonsense"),
        ({"dataset": None}, "dataset"),
    ],
)
async def test_a_bad_field_is_named(http: httpx.AsyncClient, change: dict[str, Any], field: str) -> None:
    """A request with a wrong value says which field and what is wrong with it."""
    told = problem(await http.post("/v1/runs", json={**RUN, **change}), 422)
    assert [entry["field"] for entry in told["errors"]] == [field]
    assert field in told["detail"]


async def test_what_is_no_json_is_a_problem(http: httpx.AsyncClient) -> None:
    """A body that can't be parsed is 422, not 500."""
    problem(await http.post("/v1/runs", content=b"{", headers={"content-type": "application/json"}), 422)


async def test_a_run_on_a_dataset_that_no_device_has_is_refused(http: httpx.AsyncClient) -> None:
    """The reason is a sentence from the service."""
    assert "no device is registered" in problem(await http.post("/v1/runs", json=RUN), 422)["detail"]


async def test_a_graph_that_cannot_be_trained_says_which_node(http: httpx.AsyncClient) -> None:
    """The compiler's sentence reaches the operator."""
    answer = await http.post("/v1/models?name=bad&loss=cross_entropy", content=BAD)
    assert "node 3 (LRN)" in problem(answer, 422)["detail"]


async def test_a_name_that_is_taken_is_a_conflict(http: httpx.AsyncClient) -> None:
    """409, and what to do."""
    problem(await http.post("/v1/models?name=digits&loss=cross_entropy", content=b"a graph"), 409)


async def test_an_empty_upload_is_refused(http: httpx.AsyncClient) -> None:
    """422 instead of a model of nothing."""
    assert "empty" in problem(await http.post("/v1/models?name=new&loss=mse"), 422)["detail"]


async def chunks(count: int) -> AsyncIterator[bytes]:
    """Stream a body of unknown length."""
    for _ in range(count):
        yield bytes(LIMIT_BYTES // 4)


@pytest.mark.parametrize("announced", [True, False])
async def test_a_file_beyond_the_limit_is_refused(http: httpx.AsyncClient, world: World, announced: bool) -> None:
    """413, whether the length was announced or not, and nothing is left on the disk."""
    content = bytes(LIMIT_BYTES + 1) if announced else chunks(5)
    answer = await http.post("/v1/models?name=big&loss=mse", content=content)
    assert f"{LIMIT_BYTES:,}" in problem(answer, 413)["detail"]
    assert not world.settings.work_dir.exists() or not any(world.settings.work_dir.iterdir())


async def test_a_request_body_beyond_the_limit_is_refused(http: httpx.AsyncClient) -> None:
    """What is no upload has a small limit."""
    problem(await http.post("/v1/runs", content=b" " * 2_000_000), 413)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8080", "", "a@127.0.0.1"]
)
async def test_a_foreign_host_header_is_refused(http: httpx.AsyncClient, host: str) -> None:
    """A page whose name was rebound to 127.0.0.1 gets nothing."""
    problem(await http.get("/v1/models", headers={"host": host}), 421)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "[::1]:8080", "127.1.2.3:80"])
async def test_this_machine_may_be_called_by_any_of_its_names(http: httpx.AsyncClient, host: str) -> None:
    """Loopback addresses and localhost are let in, with any port: it may be a tunnel's."""
    assert (await http.get("/v1/models", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [("https://evil.example", 403), ("null", 403), ("http://127.0.0.1:9", 403), ("http://[", 403), (None, 404)],
)
async def test_another_page_can_change_nothing(http: httpx.AsyncClient, origin: str | None, status: int) -> None:
    """A POST that a browser sends for a page of another origin is refused."""
    headers = {"origin": origin} if origin else {}
    problem(await http.post("/v1/runs/run-9/cancel", headers=headers), status)
    own = await http.post("/v1/runs/run-9/cancel", headers={"origin": "http://127.0.0.1:8080"})
    assert own.status_code == 404


async def test_a_bug_is_a_problem_without_particulars(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """500 with a sentence for the operator; the trace stands in the log."""
    app = create(replace(world, store=None))  # type: ignore[arg-type]  # a world without a store is broken enough
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        told = problem(await client.get("/v1/models"), 500)
    assert "NoneType" not in told["detail"]
    assert "GET /v1/models failed" in caplog.text
