"""/v1/audit: who changed what."""

import json
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BeforeValidator

from headwater_control.gates.http import schemas
from headwater_control.gates.http.needs import ADMIN
from headwater_control.gates.http.within import InWorld
from headwater_control.service import audit

_MOST = 1000  # entries in an answer

router = APIRouter(prefix="/v1/audit", tags=["audit"])


def _object(text: str) -> dict[str, Any]:
    try:
        read = json.loads(text)
    except (ValueError, TypeError):
        read = text
    return read if isinstance(read, dict) else {"unreadable": str(read)}  # somebody changed it: verify says so


Changed = Annotated[dict[str, Any], BeforeValidator(_object)]


class AuditEntry(schemas.Record):
    """One change: `before` and `after` have the fields that changed; `digest` covers all others, and `previous`."""

    number: int
    at: datetime
    who: str
    source: str
    request: str
    action: str
    subject: str
    before: Changed
    after: Changed
    previous: str
    digest: str


class AuditVerdict(schemas.Record):
    """How many entries hold together, the digest the log ends with, and the first problem (none: empty)."""

    entries: int
    head: str
    problem: str


@router.get("", dependencies=ADMIN)
async def list_all(
    world: InWorld,
    after: Annotated[int | None, Query(ge=0, le=2**62, description="a number; without it, the newest ones")] = None,
    limit: Annotated[int, Query(ge=1, le=_MOST)] = 100,
) -> list[AuditEntry]:
    """List the changes numbered above `after`, oldest first."""
    return [AuditEntry.model_validate(entry) for entry in await audit.list_entries(world, after, limit)]


@router.get("/verify", dependencies=ADMIN)
async def verify(world: InWorld) -> AuditVerdict:
    """Follow the chain from the first entry to the last, and say where it is broken."""
    return AuditVerdict.model_validate(await audit.verify(world))
