"""Whole networks of the past, all the parameters that they have: what flows back is the slope of the loss."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from headwater_control.compiler.importer import make_bundle
from headwater_wire.messages import Plan
from torch import Tensor

from tests.parity import light
from tests.parity.light import Vector
from tests.parity.training import Ours, opened

CHEAP = ("squeezenet", "shufflenet", "inception_v1")
DEAR = ("inception_v2", "resnet50", "densenet121", "zfnet512", "bvlc_alexnet", "vgg19")
EXAMPLES = 2  # one more than the files are made for
STEPS = 10
# A step so long that the parameter it began with is lost in rounding: what is left is the gradient.
LONG = 2.0**20
# How far the central difference goes, in units of the loss: ReLUs that turn within it count as an error of that order.
REACH = 1e-8
# Float32 gradients against float64 differences, of the norm of what the tensors add. Of the ReLUs, one in a million is
# so near 0 that rounding turns it.
WITHIN = 1e-3


@dataclass
class Network:
    """A network as a device has it, and what its file says, with weights and a batch."""

    model: onnx.ModelProto
    mine: Ours
    base: Vector
    images: Tensor
    labels: Tensor

    @property
    def feed(self) -> dict[str, npt.NDArray[np.generic]]:
        """Give the batch as the session takes it."""
        return {self.mine.manifest.inputs[0].name: self.images.numpy(), "label": self.labels.numpy()}

    def loss(self, direction: Vector, distance: float) -> float:
        """Compute the mean loss in float64, so far away from the weights."""
        places = {p.name: p for p in self.mine.manifest.parameters}

        def parameter(name: str) -> Tensor | None:
            if name not in places:
                return None
            part = slice(places[name].offset, places[name].offset + places[name].elements)
            values = self.base[part].astype(np.float64) + distance * direction[part].astype(np.float64)
            return torch.from_numpy(values.reshape(places[name].shape))

        output = self.mine.manifest.loss.output
        pairs = zip(self.images.double().split(1), self.labels.split(1), strict=True)
        return float(np.mean([light.loss(self.model, parameter, *pair, output) for pair in pairs]))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [*CHEAP, *(DEAR if os.environ.get("LIGHT") == "all" else ())])
def test_a_network_s_gradient_is_the_slope_of_its_loss(tmp_path: Path, name: str) -> None:
    """Along a direction in which each tensor has the same weight; and ten steps down the gradient lower the loss."""
    network = _network(name, tmp_path)
    session = network.mine.session
    session.load(network.base, Plan())
    loss = session.train_step(network.feed, LONG)
    gradient = (network.base - session.vector()) / np.float32(LONG)
    rate = 0.1 * loss / float(gradient @ gradient)  # a tenth of the way to 0, if the loss were a plane
    session.load(network.base, Plan())
    losses = [session.train_step(network.feed, rate) for _ in range(STEPS + 1)]
    assert losses[-1] < 0.8 * losses[0]
    session.close()  # float64 needs the memory
    direction, slopes = _direction(network.mine, gradient)
    assert loss == pytest.approx(network.loss(direction, 0.0), rel=1e-5)
    distance = REACH * loss / np.sqrt(len(slopes))
    slope = (network.loss(direction, distance) - network.loss(direction, -distance)) / (2 * distance)
    assert abs(slope - slopes.sum()) <= WITHIN * np.linalg.norm(slopes)


def _network(name: str, folder: Path) -> Network:
    model = light.read(name)
    onnx.save(model, folder / "net.onnx")
    made = make_bundle(folder / "net.onnx", folder / "bundle", "net", "cross_entropy")
    mine = opened(made, made.parameters_path, threads=0)
    label = mine.manifest.loss.label
    assert label is not None
    random = torch.Generator().manual_seed(0)
    images = torch.randn(EXAMPLES, *mine.manifest.inputs[0].shape, generator=random)
    labels = torch.randint(mine.manifest.loss.classes, (EXAMPLES, *label.shape), generator=random)
    return Network(model, mine, light.draw(model, mine.manifest.parameters), images, labels)


def _direction(mine: Ours, gradient: Vector) -> tuple[Vector, npt.NDArray[np.float64]]:
    """Draw a direction; give it, and each tensor's part of the slope along it."""
    direction = np.random.default_rng(1).standard_normal(gradient.size, np.float32)
    slopes = []
    for parameter in mine.manifest.parameters:
        part = slice(parameter.offset, parameter.offset + parameter.elements)
        size = np.linalg.norm(gradient[part])
        assert size > 0, f"nothing flows back to {parameter.name}"
        direction[part] /= size
        slopes.append(np.dot(direction[part].astype(np.float64), gradient[part]))
    return direction, np.array(slopes)
