"""Which role a route needs, as a dependency of it."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import Request, Security
from fastapi.params import Security as Requirement
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from headwater_control.core.authority import Role
from headwater_control.service.authority import principal

_BEARER = HTTPBearer(
    scheme_name="token",
    auto_error=False,  # the door has looked at it already: here it is only described
    description="An API token (hw_…), or a token of the configured identity provider. With --insecure none is needed.",
)


@dataclass(frozen=True, slots=True)
class Needs:
    """Refuses whoever has a smaller role."""

    role: Role

    async def __call__(
        self, request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)] = None
    ) -> None:
        """Raise 403 saying which role is needed, and how to come by it."""
        who = principal()
        if who.may(self.role):
            return
        has = f"is {who.role} only" if who.role else "has no role here"
        raise HTTPException(
            HTTPStatus.FORBIDDEN,
            f"{request.method} {request.url.path} needs the role {self.role} or a higher one, and {who.name} {has}: "
            f"ask an admin for a token (`headwater token create NAME --role {self.role}`), or for that role at your "
            "identity provider",
        )


def _requirement(role: Role) -> list[Requirement]:
    return [Security(Needs(role), scopes=[role])]  # OpenAPI 3.1, 4.8.30: of a bearer token these are roles


VIEWER = _requirement(Role.VIEWER)
OPERATOR = _requirement(Role.OPERATOR)
APPROVER = _requirement(Role.APPROVER)
ADMIN = _requirement(Role.ADMIN)
