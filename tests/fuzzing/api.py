"""The HTTP API against its own OpenAPI description, by schemathesis: no 5xx, and every answer is as it is described.

Requests come as valid and as invalid ones, for things that are there and for things that are not, with tokens of
every kind. The store is SQLite; models are not really compiled.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import requests
import schemathesis
from headwater_control.core.authority import Role
from headwater_control.core.runs import RunSpec
from headwater_control.edges.store import open_store
from headwater_control.gates.http.app import create
from headwater_control.gates.http.auth import Door
from headwater_control.gates.http.enrolment import Enrolment
from headwater_control.service import rollouts, runs, tokens
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.fakes.world import MODEL, Box, fake_world, import_digits

_URL = "http://127.0.0.1:8080"
_LONGEST_URL = 60_000  # httpx sends no longer ones
_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


class Api:
    """A control plane with something in it, and what was asked of it so far. For one thread."""

    def __init__(self, folder: Path) -> None:
        self.answers: Counter[str] = Counter()
        self._folder = folder
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()

    def __enter__(self) -> Self:
        self._runner.run(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()

    def fuzz(self, examples: int, number: int, tell: Callable[[int], None] = lambda _: None) -> None:
        """Send so many requests of each kind to every operation."""
        explore = settings(
            max_examples=examples, database=None, deadline=None, phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        for name, cases in self._strategies():

            @seed(random.Random(f"{name} {number}").getrandbits(64))
            @explore
            @given(cases, st.sampled_from(self._headers))
            def hold(case: Case[Any], headers: dict[str, str]) -> None:
                case.validate_response(self._runner.run(self._send(case, headers)), checks=_CHECKS)

            with suppress(Unsatisfiable):  # where there is nothing to send, nothing can be invalid
                hold()
            tell(examples)

    def _strategies(self) -> Iterator[tuple[str, st.SearchStrategy[Any]]]:
        for found in self._schema.get_all_operations():
            assert isinstance(found, Ok), found
            operation = found.ok()
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                yield f"{operation.label} {mode}", operation.as_strategy(generation_mode=mode)
            known = {name: self._known[name] for name in self._known if f"{{{name}}}" in operation.path}
            if known:
                yield f"{operation.label} known", operation.as_strategy(path_parameters=known)

    async def _open(self) -> None:
        store = await self._stack.enter_async_context(open_store(f"sqlite:///{self._folder / 'headwater.db'}"))
        world = fake_world(self._folder, store=store)
        version = (await import_digits(world, self._folder))[1]
        for number in range(3):
            await Box(world, f"box-{number}", {"site": "north"}).register()
        run = await runs.start(world, RunSpec(model=MODEL, dataset="digits", rounds=2))
        rollout = await rollouts.start(world, version.id, ())
        spare = (await tokens.create(world, "spare", Role.VIEWER))[0]
        given_tokens = [(await tokens.create(world, f"the-{role}", role))[1] for role in Role]
        stopping = asyncio.Event()
        stopping.set()  # so that a stream of events ends
        app = create(world, door=Door(), stopping=stopping, enrolment=Enrolment(8443, ("headwater.example",)))
        self._schema = schemathesis.openapi.from_dict(app.openapi())
        self._known = {
            "run": run.id, "rollout": rollout.id, "model": MODEL, "version": version.id, "device": "box-1",
            "token": spare.id,
        }  # fmt: skip
        good = [{"Authorization": f"Bearer {token}"} for token in given_tokens]
        bad = [{}, {"Authorization": "Bearer hw_x"}, {"Authorization": "Basic eDp5"}]
        self._headers: list[dict[str, str]] = [*[good[-1]] * 8, *good, *bad, *[good[-1]] * 8]  # ends are drawn more
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._client = await self._stack.enter_async_context(httpx.AsyncClient(transport=transport))
        for headers in good:  # who was let in once is not shut out by others' failures
            (await self._client.get(f"{_URL}/v1/whoami", headers=headers)).raise_for_status()

    async def _send(self, case: Case[Any], headers: dict[str, str]) -> httpx.Response:
        asked = case.as_transport_kwargs(base_url=_URL, headers=headers)
        prepared = requests.Request(**asked).prepare()
        assume(len(str(prepared.url)) < _LONGEST_URL)
        body = prepared.body or b""
        assert isinstance(body, bytes | str), f"{case.operation.label} has a body in pieces"
        sent = [(str(name), str(value)) for name, value in prepared.headers.items()]
        answer = await self._client.request(str(prepared.method), str(prepared.url), headers=sent, content=body)
        self.answers[f"{answer.status_code}"] += 1
        return answer
