"""BatchNormalization in training mode: parameters and running statistics go PyTorch's way."""

import warnings
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from headwater_control.compiler.importer import make_bundle
from headwater_wire.manifest import parse
from headwater_wire.messages import Plan
from torch import Tensor, nn

from tests.parity.case import Case
from tests.parity.networks import cases
from tests.parity.training import Ours, batch_of, loss_of, ours

RATE = 0.05
STEPS = 20


class Twice(nn.Module):
    """One BatchNorm1d passed twice, and one passed once whose momentum and epsilon are its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.shared = nn.Linear(6, 6), nn.BatchNorm1d(6)
        self.last, self.other = nn.Linear(6, 3), nn.BatchNorm1d(3, eps=1e-3, momentum=0.3)

    def forward(self, x: Tensor) -> Tensor:
        """Give logits."""
        x = torch.tanh(self.shared(self.first(x)))
        return self.other(self.last(self.shared(x)))


def _cases() -> dict[str, Case]:
    torch.manual_seed(3)
    twice = Case(Twice(), (torch.randn(9, 6),), classes=3)
    return {"twice": twice, **{name: cases()[name] for name in ("resnet8", "mobilenet")}}


CASES = _cases()


@pytest.mark.parametrize(
    ("name", "training"),
    [("mobilenet", "sgd"), ("resnet8", "sgd"), ("twice", "sgd"), ("twice", "momentum"), ("twice", "sgd+proximal")],
)
def test_twenty_steps_by_the_batch_s_statistics_are_pytorch_s(tmp_path: Path, name: str, training: str) -> None:
    """Each loss within 1e-4, and each tensor within 1e-4 of how far it moved, running statistics among them."""
    case = replace(CASES[name], net=deepcopy(CASES[name].net))
    case.net.eval()
    mine = ours(case, tmp_path, trainable=("batch_norm",), training=training)
    feed, label = batch_of(case)
    case.net.train()
    momentum = 0.8 if training == "momentum" else 0.0
    optimizer = torch.optim.SGD(case.net.parameters(), RATE, momentum=momentum)
    mine.session.load(mine.base, Plan(momentum=momentum))
    for _ in range(STEPS):
        told = mine.session.train_step(feed, RATE)
        optimizer.zero_grad()
        loss = loss_of(case, label)
        loss.backward()
        optimizer.step()
        assert told == pytest.approx(loss.item(), rel=1e-4)
    _assert_same(mine, case.net)
    case.net.eval()
    held_out = mine.session.evaluate(feed).loss / len(label)
    with torch.no_grad():
        assert held_out == pytest.approx(loss_of(case, label).item(), rel=1e-3)


def _assert_same(mine: Ours, net: nn.Module) -> None:
    before, after = mine.parameters(mine.base), mine.parameters(mine.session.vector())
    theirs = {
        name: values.detach().numpy() for name, values in net.state_dict().items() if values.dtype.is_floating_point
    }
    assert set(after) == set(theirs)
    furthest = max(np.abs(theirs[name] - before[name]).max() for name in theirs)
    for name, values in theirs.items():
        moved = max(np.abs(values - before[name]).max(), 1e-2 * furthest)
        assert np.abs(after[name] - values).max() <= 1e-4 * moved, name


def test_a_file_exported_in_training_mode_trains_so(tmp_path: Path) -> None:
    """Its BatchNorms go by the batch without being asked, its Dropouts pass all on, and the graph kept infers."""
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2)).train()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is the older one, which knows the mode
        torch.onnx.export(
            net, (torch.randn(5, 4),), str(tmp_path / "net.onnx"), dynamo=False, opset_version=17,
            training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=False, input_names=["x"],
            dynamic_axes={"x": {0: "batch"}},
        )  # fmt: skip
    made = make_bundle(tmp_path / "net.onnx", tmp_path / "bundle", "net", "cross_entropy")
    statistics = {
        parameter.name for parameter in parse(made.manifest_path.read_bytes()).parameters if parameter.statistic
    }
    assert statistics == {"1.running_mean", "1.running_var"}
    frozen = make_bundle(tmp_path / "net.onnx", tmp_path / "frozen", "net", "cross_entropy", ["batch_norm:frozen"])
    assert not any(parameter.statistic for parameter in parse(frozen.manifest_path.read_bytes()).parameters)
