"""What routes share: the world, and labels in a query."""

from typing import Annotated

from fastapi import Depends, Query, Request
from fastapi.exceptions import RequestValidationError
from headwater_wire.errors import Malformed
from headwater_wire.ids import check_name

from headwater_control.ports import Labels
from headwater_control.service.world import World


def _world(request: Request) -> World:
    world = request.app.state.world
    assert isinstance(world, World)
    return world


def _labels(label: Annotated[list[str] | None, Query(description="key=value; all of them")] = None) -> Labels:
    pairs = [text.partition("=") for text in label or ()]
    try:
        return tuple(sorted((check_name(key, "label"), check_name(value, "label value")) for key, _, value in pairs))
    except Malformed as error:
        raise RequestValidationError([{"loc": ("query", "label"), "msg": f"{error}; write key=value"}]) from error


InWorld = Annotated[World, Depends(_world)]
WithLabels = Annotated[Labels, Depends(_labels)]
