"""Errors as RFC 9457 problems: one sentence for a person in `detail`, whatever went wrong."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from headwater_wire.errors import WireError
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from headwater_control.gates.http import secure
from headwater_control.ports import AlreadyExists, Busy, OffloadFailed, Unusable
from headwater_control.service.errors import Conflict, Forbidden, Invalid, NotFound

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class FieldProblem(BaseModel):
    """What is wrong with one field of a request."""

    field: str
    problem: str


class Problem(BaseModel):
    """RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldProblem] = []


_STATUS: tuple[tuple[type[Exception], HTTPStatus], ...] = (
    (NotFound, HTTPStatus.NOT_FOUND),
    (Forbidden, HTTPStatus.FORBIDDEN),
    (Conflict, HTTPStatus.CONFLICT),
    (AlreadyExists, HTTPStatus.CONFLICT),
    (Invalid, HTTPStatus.UNPROCESSABLE_ENTITY),
    (Unusable, HTTPStatus.UNPROCESSABLE_ENTITY),
    (WireError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (OffloadFailed, HTTPStatus.INTERNAL_SERVER_ERROR),
    (Busy, HTTPStatus.SERVICE_UNAVAILABLE),
)


def install(app: FastAPI) -> None:
    """Let every error of `app` leave as a problem."""
    for kind, status in _STATUS:
        app.add_exception_handler(kind, _handler(status))
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _failed)
    _describe(app)


def answer(path: str, status: HTTPStatus, detail: str, errors: list[FieldProblem] | None = None) -> Response:
    """Make the response."""
    problem = Problem(title=status.phrase, status=status, detail=detail, instance=path, errors=errors or [])
    return Response(problem.model_dump_json(), status, media_type=MEDIA_TYPE)


def _describe(app: FastAPI) -> None:
    """Let the description say how problems come: FastAPI would announce each model as plain JSON."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        schema = plain()
        for operations in schema["paths"].values():
            for operation in operations.values():
                problem = operation["responses"]["4XX"]
                problem["content"] = {MEDIA_TYPE: next(iter(problem["content"].values()))}
        return schema

    app.openapi = described  # type: ignore[method-assign]


def _handler(status: HTTPStatus):  # type: ignore[no-untyped-def]  # Starlette's handler type, which it does not export
    async def handle(request: Request, error: Exception) -> Response:
        return answer(request.url.path, status, str(error))

    return handle


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    detail = str(error.detail)
    if detail == status.phrase:  # the router's own: say which
        detail = f"{request.method} {request.url.path}: {status.description or status.phrase}".rstrip(".")
    response = answer(request.url.path, status, detail)
    response.headers.update(error.headers or {})
    return response


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        FieldProblem(
            field=".".join(str(step) for step in item["loc"][1:]) or str(item["loc"][0]),
            problem=str(item["msg"]).removeprefix("Value error, "),
        )
        for item in error.errors()
    ]
    detail = "; ".join(f"{item.field}: {item.problem}" for item in errors)
    return answer(request.url.path, HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors)


async def _failed(request: Request, error: Exception) -> Response:
    request_id = request.scope.get("request_id", "")  # this answer goes past `Callers`, which sends it with all others
    log.error("%s %s failed (%s)", request.method, request.url.path, request_id, exc_info=error)
    response = answer(
        request.url.path,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "the control plane failed; its log says why: please report it",
    )
    response.headers["X-Request-ID"] = request_id
    secure.put(response.headers, request.url.scheme)  # and past `Secure`
    return response
