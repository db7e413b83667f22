"""The audit log over HTTP, and who is written into it."""

from dataclasses import replace

import httpx
import pytest
from headwater_control.gates.http.app import create
from headwater_control.service.world import World

from tests.fakes.world import Box


async def started(http: httpx.AsyncClient, world: World, **headers: str) -> httpx.Response:
    """Start a run."""
    await Box(world, "box-1").register()
    return await http.post("/v1/runs", json={"model": "digits", "dataset": "digits"}, headers=headers)


async def test_changes_are_listed_in_pages_and_verified(http: httpx.AsyncClient, world: World) -> None:
    """Before and after are objects; without a number to begin after the newest are meant."""
    run = (await started(http, world)).json()["id"]
    await http.post(f"/v1/runs/{run}/pause")
    listed = (await http.get("/v1/audit")).json()
    assert [entry["number"] for entry in listed] == [1, 2, 3]
    assert [entry["action"] for entry in listed] == ["model.import", "run.start", "run.pause"]
    assert (listed[2]["before"], listed[2]["after"]) == ({"state": "running"}, {"state": "paused"})
    assert (listed[2]["who"], listed[2]["source"]) == ("loopback", "127.0.0.1")
    assert (await http.get("/v1/audit", params={"after": 0, "limit": 2})).json() == listed[:2]
    assert (await http.get("/v1/audit", params={"limit": 2})).json() == listed[1:]
    verdict = (await http.get("/v1/audit/verify")).json()
    assert verdict == {"entries": 3, "head": listed[2]["digest"], "problem": ""}
    assert (await http.get("/v1/audit", params={"limit": 0})).status_code == 422


async def test_a_request_s_id_is_the_client_s_if_it_is_a_short_token(http: httpx.AsyncClient, world: World) -> None:
    """It is sent back, and stands in the log."""
    answer = await started(http, world, **{"X-Request-ID": "ticket-4711"})
    assert answer.headers["x-request-id"] == "ticket-4711"
    assert (await http.get("/v1/audit")).json()[-1]["request"] == "ticket-4711"


async def test_a_bug_s_answer_has_the_id_that_the_log_has(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """So that an operator finds the trace."""
    app = create(replace(world, store=None))  # type: ignore[arg-type]  # a world without a store is broken enough
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get("/v1/models", headers={"X-Request-ID": "ticket-4711"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "ticket-4711")
    assert "GET /v1/models failed (ticket-4711)" in caplog.text


@pytest.mark.parametrize("odd", ["", "a b", "x" * 65, "-"])
async def test_any_other_id_is_replaced(http: httpx.AsyncClient, world: World, odd: str) -> None:
    """By one of ours; a refusal has one too."""
    answer = await started(http, world, **{"X-Request-ID": odd})
    given = answer.headers["x-request-id"]
    assert given.startswith("request-")
    assert (await http.get("/v1/audit")).json()[-1]["request"] == given
    refused = await http.get("/v1/runs", headers={"host": "evil.example"})
    assert (refused.status_code, refused.headers["x-request-id"][:8]) == (421, "request-")
