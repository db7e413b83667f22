"""Ending gRPC connections from beside: whose they are, and that no other ends."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from headwater_control.gates import connections
from headwater_control.gates.connections import Address, Connections, Flow, parsed, shut
from headwater_wire.ids import DeviceId

AGE_S = 3600.0
ONE, OTHER = DeviceId("one"), DeviceId("other")


@dataclass(frozen=True)
class Connection:
    """One that a server of this process has."""

    client: socket.socket
    served: socket.socket

    @property
    def address(self) -> Address:
        """Tell the client's end."""
        host, port = self.client.getsockname()[:2]
        return host, port

    @property
    def peer(self) -> str:
        """Name the client's end as gRPC does, which listens on IPv6 for both and says what is meant."""
        host, port = self.address
        return f"ipv6:%5B{host}%5D:{port}" if self.client.family is socket.AF_INET6 else f"ipv4:{host}:{port}"

    async def ended(self) -> None:
        """Wait until the client finds it ended."""
        async with asyncio.timeout(10):
            assert await asyncio.get_running_loop().sock_recv(self.client, 1) == b""

    @property
    def alive(self) -> bool:
        """Say whether it has not ended yet. What ends in one go with others has, once one of those is found ended."""
        try:
            self.client.recv(1)
        except BlockingIOError:
            return True
        return False


@dataclass(frozen=True)
class Listener:
    """Where they come to, by IPv6 and IPv4."""

    listener: socket.socket

    @property
    def port(self) -> int:
        """Tell its port."""
        port: int = self.listener.getsockname()[1]
        return port

    @contextmanager
    def connected(self, family: socket.AddressFamily = socket.AF_INET, *, port: int = 0) -> Iterator[Connection]:
        """Connect, from a port if that is given."""
        loopback = "::1" if family is socket.AF_INET6 else "127.0.0.1"
        with socket.socket(family) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind((loopback, port))
            client.connect((loopback, self.port))
            client.setblocking(False)
            served, _ = self.listener.accept()
            with served:
                yield Connection(client, served)


@contextmanager
def listening() -> Iterator[Listener]:
    """Listen as gRPC does."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        yield Listener(listener)


@pytest.fixture
def gateway() -> Iterator[Listener]:
    """The gateway's port."""
    with listening() as made:
        yield made


class Clock:
    """One that a test moves."""

    now_s = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """Begin at 0."""
    return Clock()


@pytest.fixture
def known(gateway: Listener, clock: Clock) -> Connections:
    """Those to the gateway."""
    made = Connections(clock)
    made.come_to(gateway.port, AGE_S)
    return made


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_TOLD_S", 0.0)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_a_devices_connection_ends_and_no_other(
    gateway: Listener, known: Connections, family: socket.AddressFamily
) -> None:
    """Whatever the protocol; the end is the client's to see, and the server's own descriptor stays the server's."""
    connected = gateway.connected
    with connected(family) as mine, connected(family) as others, connected(family) as unknown:
        known.seen(mine.peer, ONE)
        known.seen(others.peer, OTHER)
        known.end(ONE)
        await mine.ended()
        shut({mine.address}, gateway.port)  # once more, and through when it returns
        assert mine.served.fileno() >= 0
        assert others.alive
        assert unknown.alive


async def test_what_comes_from_the_same_address_to_another_port_stays(gateway: Listener, known: Connections) -> None:
    """Behind one NAT that may be a neighbour's, to the broker."""
    with listening() as broker, gateway.connected() as mine, broker.connected(port=mine.address[1]) as neighbours:
        known.refuse(mine.peer)
        await mine.ended()
        shut({mine.address}, gateway.port)
        assert neighbours.alive


async def test_all_of_a_device_end_and_those_of_two_at_once(gateway: Listener, known: Connections) -> None:
    """What is ended while another end is under way is not forgotten."""
    with gateway.connected() as first, gateway.connected() as second, gateway.connected() as others:
        known.seen(first.peer, ONE)
        known.seen(second.peer, ONE)
        known.seen(others.peer, OTHER)
        known.end(ONE)
        await asyncio.sleep(0)
        known.end(OTHER)
        for one in (first, second, others):
            await one.ended()


async def test_an_address_is_whose_call_came_last(gateway: Listener, known: Connections) -> None:
    """A closed connection's address may be another's next; the first is not asked about it any more."""
    with gateway.connected() as taken_over, gateway.connected() as another:
        known.seen(another.peer, ONE)
        known.seen(taken_over.peer, ONE)
        known.seen(taken_over.peer, OTHER)
        known.end(ONE)
        await another.ended()
        shut({another.address}, gateway.port)
        assert taken_over.alive
        known.end(OTHER)
        await taken_over.ended()


async def test_a_refused_one_ends_alone(gateway: Listener, known: Connections) -> None:
    """The device's others may be those of the box that has its place now."""
    with gateway.connected() as refused, gateway.connected() as kept:
        known.seen(kept.peer, ONE)
        known.refuse(refused.peer)
        await refused.ended()
        shut({refused.address}, gateway.port)
        assert kept.alive


async def test_of_a_device_with_too_many_the_oldest_ends(gateway: Listener, known: Connections) -> None:
    """So all that it still has is known, and has a bound."""
    with gateway.connected() as oldest, gateway.connected() as last:
        known.seen(oldest.peer, ONE)
        for port in range(1, 1_000):
            known.seen(f"ipv4:192.0.2.1:{port}", ONE)
        known.seen(last.peer, ONE)
        known.seen("ipv4:192.0.2.2:1", OTHER)
        await oldest.ended()
        assert len(known) == 4 + 1
        known.end(ONE)
        assert len(known) == 1
        await last.ended()


def test_what_grpc_has_ended_by_its_age_is_forgotten(known: Connections, clock: Clock) -> None:
    """A fleet that connects again and again takes no more room than one hour's connections."""
    for number in range(1_000):
        clock.now_s = number * AGE_S / 10
        known.seen(f"ipv4:192.0.2.1:{number + 1}", DeviceId(f"box-{number}"))
    assert len(known) == 11


async def test_without_a_descriptor_to_look_with_it_ends_all_the_same(
    gateway: Listener, known: Connections, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Who opens many connections before it is shut out must not stay for that."""
    monkeypatch.setattr(connections, "_OPEN_FILES", tmp_path / "can't be opened")
    with gateway.connected() as mine, gateway.connected() as others:
        known.seen(mine.peer, ONE)
        known.end(ONE)
        await mine.ended()
        assert others.alive


async def test_it_tells_what_came_over_each(gateway: Listener, known: Connections) -> None:
    """And what of that the calls of a device had; of others, and of those to another port, nothing is known."""
    with listening() as broker, gateway.connected() as mine, gateway.connected() as others, broker.connected() as odd:
        known.seen(mine.peer, ONE)
        known.took(mine.peer, 300)
        known.took(others.peer, 300)
        for one, size in ((mine, 1_000), (others, 2_000), (odd, 3_000)):
            one.client.sendall(bytes(size))
            assert len(one.served.recv(size, socket.MSG_WAITALL)) == size
        assert await known.flows() == {mine.address: Flow(1_000, 300), others.address: Flow(2_000, None)}
        await known.drop({others.address})
        await others.ended()
        known.end(ONE)
        assert (await known.flows())[mine.address].taken is None


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:34567", ("192.0.2.1", 34567)),
        ("ipv6:%5B2001:db8::1%5D:34567", ("2001:db8::1", 34567)),
        ("ipv6:[fe80::1%25eth0]:34567", ("fe80::1", 34567)),
        ("ipv6:%5B::ffff:192.0.2.1%5D:34567", ("192.0.2.1", 34567)),
        ("unix:/run/socket", None),
        ("unix:", None),
        ("ipv4:nonsense:1", None),
        ("ipv4:192.0.2.1", None),
        ("", None),
    ],
)
def test_grpcs_word_for_the_other_end_is_read(peer: str, address: tuple[str, int] | None) -> None:
    """What has no IP address is nobody's."""
    assert parsed(peer) == address
