"""Training in little memory ends where training as usual ends."""

from pathlib import Path

import numpy as np
import pytest
from headwater_agent.training.engine import Bundle
from headwater_agent.training.engines.portable import PortableEngine
from headwater_control.compiler.importer import make_bundle
from headwater_wire.ids import Digest
from headwater_wire.manifest import parse
from headwater_wire.messages import Plan
from headwater_wire.tensors import open_vector

from tests.parity.networks import cases
from tests.parity.training import batch_of, export

CASES = cases()
STEPS, RATE, PIECE = 3, 0.05, 2


FROZEN = ["lstm", "mcmahan_cnn", "mobilenet", "resnet8", "tagger", "transformer", "unet"]
BY_BATCH = ["mobilenet", "resnet8"]


@pytest.mark.parametrize(
    ("name", "selectors"), [*((name, ()) for name in FROZEN), *((name, ("batch_norm",)) for name in BY_BATCH)]
)
def test_pieces_make_the_step_of_the_whole_batch(tmp_path: Path, name: str, selectors: tuple[str, ...]) -> None:
    """Within 1e-4 of how far a tensor moved, or of a thousandth of how far any did: sums in another order."""
    case = CASES[name]
    file = export(case.net, case.batch, tmp_path / "net.onnx")
    made = make_bundle(file, tmp_path / "bundle", "net", case.loss, selectors)
    description = parse(made.manifest_path.read_bytes())
    with open_vector(made.parameters_path, description) as floats:
        base = floats.load()
    bundle = Bundle(description, {Digest(path.name): path for path in made.blob_paths})
    feed, _ = batch_of(case)
    ends = []
    for piece in (None, PIECE):
        session = PortableEngine(piece).open(bundle, threads=1)
        session.load(base, Plan())
        losses = [session.train_step(feed, RATE) for _ in range(STEPS)]
        ends.append((losses, session.vector(), session.evaluate(feed).correct))
        session.close()
    (whole_losses, whole, whole_right), (losses, found, right) = ends
    assert losses == pytest.approx(whole_losses, rel=1e-5)
    assert right == pytest.approx(whole_right)
    furthest = np.abs(whole - base).max()
    for parameter in description.parameters:
        part = slice(parameter.offset, parameter.offset + parameter.elements)
        moved = max(np.abs(whole[part] - base[part]).max(), 1e-3 * furthest)
        assert np.abs(found[part] - whole[part]).max() <= 1e-4 * moved, parameter.name
