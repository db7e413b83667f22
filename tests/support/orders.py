"""Orders as the control plane signs them, and as a box hears them."""

from headwater_agent.core import events as on
from headwater_agent.edges.downward import read
from headwater_agent.edges.trust import Trust
from headwater_wire import exchange, topics
from headwater_wire.ids import DeviceId
from headwater_wire.messages import Order, Task
from headwater_wire.signing import Signer
from headwater_wire.v1 import fleet_pb2 as fleet

from tests.fakes.agent_bundle import DEVICE, task
from tests.support.signing import SIGNER, trust

OTHER = DeviceId("box-2")
TOPIC = topics.down(DEVICE, "task")


def signed(order: Order, by: Signer = SIGNER) -> fleet.SignedOrder:
    """Sign an order."""
    return by.order(exchange.order_to(order))


def assign(revision: int = 1, given: Task | None = None) -> Order:
    """Order a training."""
    given = given or task()
    return Order(given.device, revision, given)


def heard(payload: bytes, *, topic: str = TOPIC, by: Trust | None = None) -> on.Event:
    """Take in what the broker delivers, as the agent's link does."""
    return read(DEVICE, topic, payload, by or trust())


HONEST = signed(assign())
