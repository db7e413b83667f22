"""The scanner of graphs on a box: nothing but `NotPossible` comes out of it, whatever the file is."""

import random
from functools import cache
from pathlib import Path

import onnx
from headwater_agent.training.errors import NotPossible
from headwater_agent.training.graph_check import Limits, check

from tests.fuzzing.damage import damaged
from tests.fuzzing.fields import fill
from tests.fuzzing.layers import LAYERS
from tests.fuzzing.nets import random_model

_LIMITS = Limits(size_bytes=1 << 20, nodes=200, fields=20_000, depth=20)
_SPLICES = (
    b"\x0a\x00",
    b"\x0a\x04\x0a\x02\x0a\x00",
    b"\x08\xff\xff\xff\xff\x0f",
    b"\xff" * 10,
    b"\x80" * 11,
    b"location",
    b"\x70\x01",
)
_MODELS = 40


class Graphs:
    """An input is a file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "graph.onnx"

    def make(self, source: random.Random) -> bytes:
        """Damage models, and fill some field by field, whatever that makes of them."""
        draw = source.random()
        if draw < 0.1:
            return source.randbytes(source.randrange(1, 60))
        if draw < 0.3:
            model = onnx.ModelProto()
            fill(model, source, 2)
            return bytes(model.SerializeToString()[:100_000])
        data = source.choice(_models())
        return data if draw < 0.35 else damaged(data, source, _SPLICES)

    def check(self, data: bytes) -> str:
        """Look at it as before a training."""
        self._path.write_bytes(data)
        try:
            check(self._path, ("w0",), _LIMITS)
        except NotPossible as error:
            if not str(error):
                raise AssertionError("it is refused without a reason") from error
            return str(error).partition(": ")[0].removeprefix("the graph ")
        return "accepted"


@cache
def _models() -> tuple[bytes, ...]:
    source = random.Random(7)
    return tuple(random_model(source, LAYERS).SerializeToString() for _ in range(_MODELS))
