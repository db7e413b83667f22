"""Attacks on who is let in, by certificate: each test is one, and shows that it fails at the gateway and the broker."""

import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc.aio
import pytest
from headwater_control.edges.ca import embedded
from headwater_control.edges.ca.authority import Leaf
from headwater_wire.ids import DeviceId
from headwater_wire.names import CONTROL, device_uri
from headwater_wire.v1 import gateway_pb2 as pb
from headwater_wire.v1.gateway_pb2_grpc import GatewayStub, add_GatewayServicer_to_server

from tests.control_plane.broker.raw_client import Closed, connected
from tests.fakes.agent_gateway import ScriptedGateway
from tests.support.forging import Shown, foreign
from tests.support.stronghold import BY_TLS, OK, PATIENCE_S, WELCOME, Stronghold, shown, stronghold

ONE, TWO = device_uri(DeviceId("box-1")), device_uri(DeviceId("box-2"))
NOT_AUTHORIZED = 0x87  # MQTT 5.0, 3.2.2.2
AT_THE_DOOR = ("UNAVAILABLE", BY_TLS)
KNOWN_AND_REFUSED = ("UNAUTHENTICATED", NOT_AUTHORIZED)
ANOTHER_S = ("PERMISSION_DENIED", NOT_AUTHORIZED)


@pytest.fixture
async def held(tmp_path: Path) -> AsyncIterator[Stronghold]:
    """Serve enrolment, gateway and broker by TLS."""
    async with stronghold(tmp_path) as made:
        yield made


def ago(**span: float) -> datetime:
    """Tell a time in the past, or, negative, in the future."""
    return datetime.now(UTC) - timedelta(**span)


def of(leaf: Leaf, root: bytes) -> Shown:
    """Show one of the control plane's own certificates."""
    return Shown(root, leaf.key, leaf.chain)


ATTACKS: dict[str, tuple[Callable[[Stronghold, Path], Shown], tuple[str, int | None]]] = {
    "no certificate": (lambda held, _: held.nobody, AT_THE_DOOR),
    "of a foreign authority": (lambda held, folder: foreign(folder / "foreign", held.authority, "box-1"), AT_THE_DOOR),
    "of our root's other intermediate": (lambda held, _: held.forger.beside("box-1"), AT_THE_DOOR),
    "signed with a device's key": (
        lambda held, _: held.forger.beneath(held.forger.leaf("box-2", [TWO]), "box-1"),
        AT_THE_DOOR,
    ),
    "expired": (lambda held, _: held.forger.leaf("box-1", [ONE], at=ago(days=91)), AT_THE_DOOR),
    "not yet valid": (lambda held, _: held.forger.leaf("box-1", [ONE], at=ago(days=-3)), AT_THE_DOOR),
    "a server's": (
        lambda held, _: of(held.authority.server(["127.0.0.1"], datetime.now(UTC)), held.authority.root_pem),
        AT_THE_DOOR,
    ),
    "a server's that names a device": (lambda held, _: held.forger.leaf("box-1", [ONE], server=True), AT_THE_DOOR),
    "without a URI": (lambda held, _: held.forger.leaf("box-1", [], hosts="box-1"), KNOWN_AND_REFUSED),
    "with two URIs": (lambda held, _: held.forger.leaf("box-1", [ONE, TWO]), KNOWN_AND_REFUSED),
    "with one URI twice": (lambda held, _: held.forger.leaf("box-1", [ONE, ONE]), KNOWN_AND_REFUSED),
    "with a URI of somebody else's": (
        lambda held, _: held.forger.leaf("box-1", ["spiffe://x/box-1"]),
        KNOWN_AND_REFUSED,
    ),
    "with a URI that is no name": (lambda held, _: held.forger.leaf("box-1", [ONE + "/../x"]), KNOWN_AND_REFUSED),
    "of another device, whose CN is ours": (lambda held, _: held.forger.leaf("box-1", [TWO]), ANOTHER_S),
    "of the control plane": (lambda held, _: held.forger.leaf("box-1", [CONTROL]), ANOTHER_S),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_certificate_that_is_not_box_1_s_does_not_speak_for_it(
    held: Stronghold, tmp_path: Path, attack: str
) -> None:
    """Neither a call nor a connection gets in; box-1 itself does, whatever its CN: else the refusals show nothing."""
    forge, refusals = ATTACKS[attack]
    certificate = forge(held, tmp_path)
    assert (await held.knocks(certificate, "box-1"), await held.connects(certificate, "box-1")) == refusals
    own = held.forger.leaf("somebody", [ONE])
    assert (await held.knocks(own, "box-1"), await held.connects(own, "box-1")) == (OK, WELCOME)


@pytest.mark.parametrize("client", ["control:gate", "control:", "control:box-1"])
async def test_no_device_comes_as_the_control_plane(held: Stronghold, client: str) -> None:
    """A device's certificate under a client id of the control plane's is refused, and its own certificate is not."""
    assert await held.connects(held.forger.leaf(client, [ONE]), client) == NOT_AUTHORIZED
    own = of(held.authority.control("control:gate", datetime.now(UTC)), held.authority.root_pem)
    assert await held.connects(own, "control:gate") == WELCOME
    assert await held.connects(own, "box-1") == NOT_AUTHORIZED, "nor does that speak for a device"


async def test_without_tls_nothing_is_answered(held: Stronghold) -> None:
    """Plain MQTT and plain gRPC get no word from the ports that want TLS."""
    with pytest.raises((OSError, Closed)):
        async with connected(held.broker.port, "box-1"):
            raise AssertionError("it answered in the clear")
    for place in (held.gateway, held.enrol):
        async with grpc.aio.insecure_channel(place) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await GatewayStub(channel).Sync(pb.SyncRequest(device="box-1"), timeout=PATIENCE_S)  # type: ignore[no-untyped-call]
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_old_tls_is_refused(held: Stronghold) -> None:
    """TLS 1.1 and older end in the handshake."""
    context = held.forger.leaf("box-1", [ONE]).tls
    with pytest.warns(DeprecationWarning):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(OSError):  # an SSLError is one, and so is a reset
        async with connected(held.broker.port, "box-1", tls=context):
            raise AssertionError("it was let in")


async def test_a_device_named_like_our_host_can_t_pose_as_our_server(held: Stronghold) -> None:
    """A device's certificate serves nobody: not even if its id is the name by which agents know the control plane.

    An agent's connections to such a server end before a word is said, and the same server with our own is believed.
    """
    agent = shown(await held.enrolled("box-1"))
    posing = shown(await held.enrolled("localhost"))
    assert not await believes(agent, posing)
    with_the_host = held.forger.leaf("localhost", [ONE], hosts="localhost")
    assert not await believes(agent, with_the_host), "it is no server's, whatever host it names"
    own = of(held.authority.server(["localhost"], datetime.now(UTC)), held.authority.root_pem)
    assert await believes(agent, own)
    assert not await believes(agent, of(held.authority.server(["elsewhere"], datetime.now(UTC)), own.root))


async def believes(agent: Shown, server: Shown) -> bool:
    """Serve gRPC by a certificate, and say whether an agent that comes to `localhost` talks to it."""
    gateway = ScriptedGateway()
    serving = grpc.aio.server()
    add_GatewayServicer_to_server(gateway, serving)  # type: ignore[no-untyped-call]
    port = serving.add_secure_port("localhost:0", grpc.ssl_server_credentials([(server.key, server.chain)]))
    await serving.start()
    try:
        async with grpc.aio.secure_channel(f"localhost:{port}", agent.credentials) as channel:
            await GatewayStub(channel).Sync(pb.SyncRequest(device="box-1"), timeout=PATIENCE_S)  # type: ignore[no-untyped-call]
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        await serving.stop(None)
    return bool(gateway.requests)


async def test_what_another_authority_made_is_no_server_of_ours(held: Stronghold, tmp_path: Path) -> None:
    """An impostor with a root of its own is not talked to, by gRPC or by MQTT."""
    agent = shown(await held.enrolled("box-1"))
    other = embedded(tmp_path / "impostor", datetime.now(UTC))
    assert not await believes(agent, of(other.server(["localhost"], datetime.now(UTC)), other.root_pem))
    assert await held.connects(Shown(other.root_pem, agent.key, agent.chain), "box-1") is BY_TLS
