"""/docs: the API on one page, made here, since FastAPI's own page loads its scripts from the internet."""

from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse

from headwater_control.gates.http.needs import VIEWER

router = APIRouter(include_in_schema=False, dependencies=VIEWER)

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_STYLE = (
    "body{font:15px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}code{font-size:.95em}"
    "h3{margin:1.2rem 0 0}h3 b{display:inline-block;min-width:3.5rem}ul,p{margin:.2rem 0 0}small{color:#666}"
)


@router.get("/openapi.json")
async def openapi(request: Request) -> JSONResponse:
    """Give the description for programs."""
    return JSONResponse(request.app.openapi())


@router.get("/docs", response_class=HTMLResponse)
async def docs(request: Request) -> HTMLResponse:
    """List every endpoint with its parameters."""
    schema: dict[str, Any] = request.app.openapi()
    parts = [
        f"<!doctype html><meta charset=utf-8><title>{escape(schema['info']['title'])}</title><style>{_STYLE}</style>",
        f"<h1>{escape(schema['info']['title'])} <small>{escape(schema['info']['version'])}</small></h1>",
        "<p>The machine-readable description is at <a href=/openapi.json>/openapi.json</a> (OpenAPI 3.1).</p>",
        "<p>Where a role is named, a header is needed: <code>Authorization: Bearer TOKEN</code>. "
        "Each role includes those before: viewer, operator, approver, admin.</p>",
    ]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            roles = ", ".join(role for need in operation.get("security", []) for role in need.get("token", []))
            parts.append(f"<h3><b>{method.upper()}</b> <code>{escape(path)}</code> <small>{escape(roles)}</small></h3>")
            parts.append(f"<p>{escape(operation.get('description', ''))}</p><ul>")
            parts += [_parameter(parameter) for parameter in operation.get("parameters", [])]
            parts += [f"<li>body: <code>{escape(body)}</code>" for body in _bodies(operation)]
            parts.append("</ul>")
    return HTMLResponse("".join(parts), headers={"content-security-policy": _POLICY})


def _parameter(parameter: dict[str, Any]) -> str:
    needed = "" if parameter.get("required") else " <small>(optional)</small>"
    about = escape(parameter.get("description", ""))
    return f"<li><code>{escape(parameter['name'])}</code> <small>{parameter['in']}</small>{needed} {about}"


def _bodies(operation: dict[str, Any]) -> list[str]:
    content = operation.get("requestBody", {}).get("content", {})
    return [f"{kind} {media.get('schema', {}).get('$ref', '').rpartition('/')[2]}" for kind, media in content.items()]
