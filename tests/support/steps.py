"""Training graphs that nobody reads, for bundles whose model is not trained for real."""

from headwater_wire import digests
from headwater_wire.graphs import LEARNING_RATE
from headwater_wire.manifest import Step

TRAIN, EVALUATION = b"a graph that trains", b"a graph that scores"
_TRAIN = digests.of_bytes(TRAIN)
UNREAD = Step(_TRAIN, digests.of_bytes(EVALUATION), _TRAIN, _TRAIN, None, "sgd", (), (LEARNING_RATE,))
