"""The embedded broker with the control plane's rules, and devices connected to it, for tests of the MQTT gates."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiomqtt
from headwater_control.edges import broker
from headwater_control.edges.broker.limits import Limits
from headwater_control.gates.access import OpenAccess, is_bounded, may_use
from headwater_control.link import Link


@asynccontextmanager
async def ruled_broker(port: int = 0, limits: Limits | None = None) -> AsyncIterator[Link]:
    """Run a broker; give the control plane's way to it."""
    access = OpenAccess()
    async with broker.serve(
        "127.0.0.1",
        port,
        authorize=may_use,
        authenticate=lambda who: access.may_connect(who.client_id, who.username, who.password),
        bounded=is_bounded,
        limits=limits,
    ) as running:
        yield Link("127.0.0.1", running.port, access.username, access.password)


def device(link: Link, name: str) -> aiomqtt.Client:
    """Make a client as an agent would."""
    return aiomqtt.Client(link.host, link.port, identifier=name, protocol=aiomqtt.ProtocolVersion.V5)
