"""Attacks on the admin API: each test is one, and shows that it fails."""

import asyncio
import base64
import json
import logging
import ssl
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from headwater_control.core.attempts import Attempts, Pace
from headwater_control.core.authority import Role, TokenText, parsed, spelled
from headwater_control.edges.oidc import OidcProvider
from headwater_control.gates.http.app import create
from headwater_control.gates.http.auth import OPEN, Door
from headwater_control.gates.http.events import follow
from headwater_control.gates.http.health import Part
from headwater_control.service import runs, tokens
from headwater_control.service.world import World
from headwater_wire.ids import RunId

from tests.control_plane.gates.http.test_problems import problem
from tests.fakes.clock import FakeClock
from tests.support.front_door import HOST, bearing, behind_the_door, refused, state, token
from tests.support.provider import Provider
from tests.support.secured import secured

FORWARD = [  # beyond a viewer's rights
    ("POST", "/v1/runs", Role.OPERATOR),
    ("POST", "/v1/runs/run-000001/cancel", Role.OPERATOR),
    ("POST", "/v1/runs/run-000001/pause", Role.OPERATOR),
    ("POST", "/v1/runs/run-000001/resume", Role.OPERATOR),
    ("POST", "/v1/models?name=m&loss=mse", Role.OPERATOR),
    ("POST", "/v1/models/check?loss=mse", Role.OPERATOR),
    ("POST", "/v1/versions?model=digits&format=npz", Role.OPERATOR),
    ("POST", "/v1/rollouts", Role.APPROVER),
    ("POST", "/v1/rollouts/rollout-000001/cancel", Role.APPROVER),
    ("GET", "/v1/audit", Role.ADMIN),
    ("GET", "/v1/audit/verify", Role.ADMIN),
    ("GET", "/v1/tokens", Role.ADMIN),
    ("POST", "/v1/tokens", Role.ADMIN),
    ("POST", "/v1/tokens/token-000001/revoke", Role.ADMIN),
    ("GET", "/v1/invites", Role.OPERATOR),
    ("POST", "/v1/invites", Role.OPERATOR),
    ("POST", "/v1/invites/invite-000001/withdraw", Role.OPERATOR),
    ("POST", "/v1/devices/box-north/disable", Role.ADMIN),
    ("POST", "/v1/devices/box-north/enable", Role.ADMIN),
    ("POST", "/v1/keys/rotate", Role.ADMIN),
]


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """List every method and path of the app, with something in each place of a path."""
    found = []
    for route in iter_route_contexts(app.routes):
        assert route.path is not None
        assert route.methods, f"{route.path} is no route that can be called"
        found += [(method, route.path.replace("{", "").replace("}", "")) for method in sorted(route.methods)]
    return found


ROUTES = routes(create(None))  # type: ignore[arg-type]  # only its routes are looked at


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_call_without_a_token_is_refused_on_every_route(
    http: httpx.AsyncClient, method: str, path: str
) -> None:
    """But those that are open, which say no more than whether the control plane is ready."""
    answer = await http.request(method, path)
    if path not in OPEN:
        refused(answer)
    else:
        assert answer.status_code in {200, 204}
        assert version("headwater") not in answer.text
    if path in {"/v1/health", "/v1/health/ready"}:
        assert answer.json() == {"ready": True, "version": "", "problems": []}


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_every_route_needs_a_role(world: World, idp: Provider, method: str, path: str) -> None:
    """Somebody known, but without any role, gets 403 on each that is not open: a new one must say what it needs."""
    async with behind_the_door(world, Door(OidcProvider(idp.settings(), world.clock))) as http:
        answer = await http.request(method, path, headers=bearing(idp.token(groups=None)))
    if path in OPEN:
        assert answer.status_code in {200, 204}
    else:
        assert "oidc:ann has no role here" in problem(answer, 403)["detail"]


@pytest.mark.parametrize(
    "path", ["/", "/v1/nothing", "/docs", "/openapi.json", "/v1/health/", "/v1/ca/", "//v1/health"]
)
async def test_strangers_learn_nothing_from_other_paths(http: httpx.AsyncClient, path: str) -> None:
    """Neither which there are, nor which release this is."""
    refused(await http.get(path))


@pytest.mark.parametrize(("method", "path", "needed"), FORWARD)
async def test_a_role_too_small_is_refused(
    world: World, http: httpx.AsyncClient, method: str, path: str, needed: Role
) -> None:
    """Each role below the one needed gets 403 naming it, and nothing is changed; the one needed gets through."""
    for role in Role:
        headers = await token(world, role)
        before = await state(world)
        answer = await http.request(method, path, headers=headers)
        if role.rank < needed.rank:
            assert f"needs the role {needed}" in problem(answer, 403)["detail"]
            assert await state(world) == before
        else:
            assert answer.status_code != 403


async def test_a_foreign_token_is_refused(world: World, http: httpx.AsyncClient) -> None:
    """An invented one, another's id with an own secret, one of another control plane, and half of one."""
    own, text = await tokens.create(world, "ci", Role.ADMIN)
    assert (await http.get("/v1/whoami", headers=bearing(text))).json()["name"] == "token:ci"
    guesses = [
        spelled(TokenText("token-99", parsed(text).secret)),
        spelled(TokenText(own.id, bytes(32))),
        spelled(TokenText(own.id, parsed(text).secret[::-1])),
    ]
    for guess in guesses:
        assert "knows no such token" in refused(await http.get("/v1/runs", headers=bearing(guess)))
    for part in (text[:-1], text[:40], f"{text}0", own.hash):
        refused(await http.get("/v1/runs", headers=bearing(part)))


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", "Bearer")],
        [("authorization", "Bearer ")],
        [("authorization", "{text}")],
        [("authorization", "Basic {basic}")],
        [("authorization", "Token {text}")],
        [("authorization", "Bearer {text}, Bearer {text}")],
        [("authorization", "Bearer {text}"), ("authorization", "Bearer {text}")],
        [("authorization", "Bearer {text}" + " " * 9000 + "x")],
        [("authorization", "Bearer {text}\xff")],
        [("cookie", "token={text}")],
        [("x-forwarded-user", "admin"), ("x-api-key", "{text}")],
    ],
)
async def test_a_token_is_taken_from_one_header_only(
    world: World, http: httpx.AsyncClient, headers: list[tuple[str, str]]
) -> None:
    """Neither from cookies, which browsers send by themselves, nor twice, nor in another scheme."""
    _, text = await tokens.create(world, "ci", Role.ADMIN)
    basic = base64.b64encode(f"ci:{text}".encode()).decode()
    sent = [(k.encode(), v.format(text=text, basic=basic).encode("latin-1")) for k, v in headers]
    refused(await http.get("/v1/runs", headers=sent))
    refused(await http.get("/v1/runs", params={"access_token": text, "token": text}))


async def test_an_expired_and_a_revoked_token_are_refused(world: World, http: httpx.AsyncClient) -> None:
    """From that very moment, though they were good just before."""
    clock = world.clock
    assert isinstance(clock, FakeClock)
    _, expiring = await tokens.create(world, "expiring", Role.ADMIN, ttl_s=60)
    made, revoked = await tokens.create(world, "revoked", Role.ADMIN)
    await clock.advance(59)
    for text in (expiring, revoked):
        assert (await http.get("/v1/runs", headers=bearing(text))).status_code == 200
    assert (await http.post(f"/v1/tokens/{made.id}/revoke", headers=bearing(revoked))).status_code == 200
    assert "the token revoked was revoked" in refused(await http.get("/v1/runs", headers=bearing(revoked)))
    assert (await http.get("/v1/runs", headers=bearing(expiring))).status_code == 200
    await clock.advance(1)
    assert "expired at" in refused(await http.get("/v1/runs", headers=bearing(expiring)))


async def test_a_stream_does_not_outlive_a_revoked_token_for_long(world: World) -> None:
    """It ends after some minutes though its run goes on: the client comes again, and shows its token again."""
    first = await runs.show_run(world, RunId("run-000001"))
    told: list[bytes] = []

    async def watch() -> None:
        async for event in follow(world, first, asyncio.Event(), for_s=0.0):
            told.append(event)
            world.bells.ring_watchers()

    async with asyncio.timeout(30):
        await watch()
    assert [event.startswith(b"event: run") for event in told] == [True]


async def test_too_many_failures_from_an_address_are_slowed_down(world: World) -> None:
    """429 with the time to wait; others, and who was let in lately from the same address, go on."""
    clock = world.clock
    assert isinstance(clock, FakeClock)
    door = Door(attempts=Attempts(Pace(3, 10.0)))
    good, late = await token(world, Role.VIEWER), await token(world, Role.VIEWER)
    bad = bearing(spelled(TokenText("token-1", bytes(32))))
    async with behind_the_door(world, door) as http:
        assert (await http.get("/v1/runs", headers=good)).status_code == 200
        for _ in range(3):
            refused(await http.get("/v1/runs", headers=bad))
        for headers in (bad, {}, late):
            answer = await http.get("/v1/runs", headers=headers)
            assert "wait 10 s" in problem(answer, 429)["detail"]
            assert answer.headers["retry-after"] == "10"
        assert (await http.get("/v1/runs", headers=good)).status_code == 200
        assert (await http.get("/v1/health")).status_code == 200
        other = httpx.ASGITransport(create(world, door=door), client=("192.0.2.8", 1))
        async with httpx.AsyncClient(transport=other, base_url="https://localhost") as elsewhere:
            assert (await elsewhere.get("/v1/runs", headers=late)).status_code == 200
        await clock.advance(10)
        assert (await http.get("/v1/runs", headers=late)).status_code == 200
        refused(await http.get("/v1/runs", headers=bad))
        problem(await http.get("/v1/runs", headers=bad), 429)


async def test_a_token_revoked_lately_does_not_pass_as_a_recent_one(world: World) -> None:
    """What spares a good token the wait does not spare it the check."""
    door = Door(attempts=Attempts(Pace(1, 10.0)))
    made, text = await tokens.create(world, "ci", Role.VIEWER)
    async with behind_the_door(world, door) as http:
        assert (await http.get("/v1/runs", headers=bearing(text))).status_code == 200
        refused(await http.get("/v1/runs"))
        await tokens.revoke(world, made.id)
        assert "revoked" in refused(await http.get("/v1/runs", headers=bearing(text)))


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", f"https://{HOST}.evil.example", f"https://{HOST}:444"]
)
async def test_a_page_elsewhere_changes_nothing_even_with_a_token(
    world: World, http: httpx.AsyncClient, origin: str
) -> None:
    """The Origin of a change must be ours."""
    headers = await token(world, Role.ADMIN)
    answer = await http.post("/v1/runs/run-000001/cancel", headers={**headers, "origin": origin})
    assert "may not change anything" in problem(answer, 403)["detail"]
    own = await http.post("/v1/runs/run-000001/cancel", headers={**headers, "origin": f"https://{HOST}"})
    assert own.status_code == 200


@pytest.mark.parametrize("host", ["evil.example", f"{HOST}.evil.example", f"a@{HOST}", "", "[::1", "192.0.2.1"])
async def test_a_name_that_was_rebound_to_us_gets_nothing(world: World, http: httpx.AsyncClient, host: str) -> None:
    """Only the names that we are known by, in either case and with any port, and loopback."""
    headers = await token(world, Role.ADMIN)
    assert HOST in problem(await http.get("/v1/runs", headers={**headers, "host": host}), 421)["detail"]
    for ours in (f"{HOST}:8443", HOST.upper(), "localhost", "127.0.0.1:1"):
        assert (await http.get("/v1/runs", headers={**headers, "host": ours})).status_code == 200


async def test_the_log_says_who_did_it_and_no_secret(
    world: World, idp: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither a good nor a refused token, nor its hash, is in the audit log, a log line or an answer afterwards."""
    caplog.set_level(logging.DEBUG)
    made, text = await tokens.create(world, "boss", Role.ADMIN)
    foreign, jwt = spelled(TokenText(made.id, bytes(range(32)))), idp.token()
    async with behind_the_door(world, Door(OidcProvider(idp.settings(), world.clock))) as http:
        boss = bearing(text)
        new = (await http.post("/v1/tokens", json={"name": "ci", "role": "operator"}, headers=boss)).json()
        await http.post("/v1/runs/run-000001/pause", headers=bearing(new["text"]))
        await http.post("/v1/runs/run-000001/resume", headers=bearing(jwt))
        for bad in (foreign, f"{text}x", f"{jwt}x", idp.token(aud="another")):
            answer = await http.get("/v1/runs", headers=bearing(bad))
            assert bad not in answer.text
        audited = (await http.get("/v1/audit", headers=boss)).json()
        listed = (await http.get("/v1/tokens", headers=boss)).text
    assert [(e["action"], e["who"], e["source"]) for e in audited[-3:]] == [
        ("token.create", "token:boss", "192.0.2.7"),
        ("run.pause", "token:ci", "192.0.2.7"),
        ("run.resume", "oidc:ann", "192.0.2.7"),
    ]
    assert "a call from 192.0.2.7 was refused" in caplog.text
    secrets = [parsed(text).secret.hex(), parsed(foreign).secret.hex(), parsed(new["text"]).secret.hex(), made.hash]
    secrets += [jwt.rpartition(".")[2]]
    for told in (caplog.text, json.dumps(audited), listed):
        assert not [secret for secret in secrets if secret in told]


async def test_every_answer_tells_browsers_to_be_careful(world: World, http: httpx.AsyncClient) -> None:
    """Good ones, refusals at each layer, and failures; strict transport over TLS only."""
    viewer = await token(world, Role.VIEWER)
    broken = create(None, door=None)  # type: ignore[arg-type]  # a world that is none is broken enough
    transport = httpx.ASGITransport(broken, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as plain:
        answers = [
            await http.get("/v1/runs", headers=viewer),
            await http.get("/docs", headers=viewer),
            await http.get("/v1/versions/digits-1/model.onnx", headers=viewer),
            await http.get("/v1/runs"),
            await http.get("/v1/runs", headers={"host": "evil.example"}),
            await http.get("/v1/nothing", headers=viewer),
            failed := await plain.get("/v1/runs"),
        ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 401, 421, 404, 500]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy
        assert "script-src" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert ("strict-transport-security" in answer.headers) == (answer is not failed)
        assert "access-control-allow-origin" not in answer.headers


def test_over_real_tls_it_is_the_same(tmp_path: Path) -> None:
    """What is served on a socket knows that it is TLS, and lets nobody in either."""
    with secured(tmp_path) as served:
        context = ssl.create_default_context(cafile=str(served.ca))
        with httpx.Client(base_url=served.url, verify=context, trust_env=False) as http:
            answer = http.get("/v1/runs")
            assert "strict-transport-security" in answer.headers
            refused(answer)
            assert http.get("/v1/runs", headers=bearing(served.tokens["viewer"])).json() == []
            assert http.get("/v1/ca").text == served.ca.read_text()


async def test_the_description_names_the_role_of_each_operation(world: World, http: httpx.AsyncClient) -> None:
    """As OpenAPI 3.1 has it for bearer tokens; the page for people shows it."""
    viewer = await token(world, Role.VIEWER)
    schema = (await http.get("/openapi.json", headers=viewer)).json()
    assert schema["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            assert (operation.get("security", []) == []) == (path in OPEN), path
    assert schema["paths"]["/v1/rollouts"]["post"]["security"] == [{"token": ["approver"]}]
    page = (await http.get("/docs", headers=viewer)).text
    assert "<code>/v1/rollouts</code> <small>approver</small>" in page


async def test_without_a_door_all_is_as_it_was(world: World) -> None:
    """On loopback, with --insecure: whoever reaches it is the machine's own user, and may do everything."""
    app = create(world, parts=(Part(lambda: False, "no broker"),))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        who: dict[str, object] = {"name": "loopback", "role": "admin", "labels": {}, "until": None}
        assert (await http.get("/v1/whoami")).json() == who
        assert (await http.get("/v1/health")).json()["problems"] == ["no broker"]
        made = await http.post("/v1/tokens", json={"name": "ci"})
        assert (made.status_code, made.json()["token"]["created_by"]) == (201, "loopback")
