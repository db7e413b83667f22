"""Networks of many kinds take the same steps as PyTorch."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from headwater_wire.messages import Plan

from tests.parity.case import Case
from tests.parity.networks import cases
from tests.parity.training import Ours, batch_of, loss_of, ours

CASES = cases()
RATE = 0.1
# Float32 sums in another order: of the largest gradient.
WITHIN = 1e-4
STEPS, BATCHES = 20, 4
SMALL_RATE = 0.02  # at 0.1 a step or two overshoot, and whatever differs then grows
Optimizer = Callable[..., torch.optim.Optimizer]
OPTIMIZERS: dict[str, tuple[Optimizer, Plan]] = {
    "sgd+weight_decay": (lambda p: torch.optim.SGD(p, RATE, weight_decay=0.01), Plan(weight_decay=0.01)),
    "momentum": (lambda p: torch.optim.SGD(p, RATE, momentum=0.8), Plan(momentum=0.8)),
    "nesterov": (lambda p: torch.optim.SGD(p, RATE, momentum=0.8, nesterov=True), Plan(momentum=0.8)),
    "adam": (lambda p: torch.optim.Adam(p, RATE), Plan()),
    "adamw+weight_decay": (lambda p: torch.optim.AdamW(p, RATE, weight_decay=0.1), Plan(weight_decay=0.1)),
}


@pytest.fixture(scope="module", params=sorted(CASES))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Case, Ours]]:
    """Export and import a network, for all tests of it."""
    case = CASES[request.param]
    mine = ours(case, tmp_path_factory.mktemp("network"))
    yield case, mine
    mine.session.close()


def test_a_network_takes_pytorch_s_step(pair: tuple[Case, Ours]) -> None:
    """The loss, and every parameter after one step of SGD, of all that PyTorch trains."""
    case, mine = pair
    feed, label = batch_of(case)
    mine.session.load(mine.base, Plan())
    told = mine.session.train_step(feed, RATE)
    net = case.net
    net.zero_grad()
    loss = loss_of(case, label)
    loss.backward()
    theirs = dict(net.named_parameters())
    assert told == pytest.approx(loss.item(), rel=1e-5, abs=1e-6)
    after, before = mine.parameters(mine.session.vector()), mine.parameters(mine.base)
    assert set(after) == set(theirs)
    largest = max(float(parameter.grad.abs().max()) for parameter in theirs.values())
    for parameter, values in theirs.items():
        step = RATE * values.grad.numpy()
        scale = max(np.abs(step).max(), 1e-3 * RATE * largest)
        assert np.abs(before[parameter] - step - after[parameter]).max() <= WITHIN * scale, parameter


def test_a_network_goes_pytorch_s_way(pair: tuple[Case, Ours]) -> None:
    """Twenty steps of SGD over four batches: each loss is within 1e-4 of PyTorch's, and each tensor ends near its own.

    Near is measured by norms: ‖ours − PyTorch's‖ is at most 1e-4 of how far the tensor moved, ‖PyTorch's − start‖. One
    that hardly moves, such as the bias of attention's keys, whose gradient is rounding alone, is measured by a
    hundredth of what all parameters moved, for as many numbers.
    """
    case, mine = pair
    case = replace(case, net=deepcopy(case.net))
    mine.session.load(mine.base, Plan())
    optimizer = torch.optim.SGD(case.net.parameters(), SMALL_RATE)
    batches = case.batches(BATCHES)
    for step in range(STEPS):
        batch, label = batches[step % BATCHES]
        feed = {f"input{place}": values.numpy() for place, values in enumerate(batch)}
        told = mine.session.train_step({**feed, "label": label.numpy()}, SMALL_RATE)
        optimizer.zero_grad()
        loss = case.loss_of(case.net(*batch), label)
        loss.backward()
        optimizer.step()
        assert told == pytest.approx(loss.item(), rel=WITHIN), step
    after, before = mine.parameters(mine.session.vector()), mine.parameters(mine.base)
    theirs = {name: parameter.detach().numpy() for name, parameter in case.net.named_parameters()}
    moved = {name: float(np.linalg.norm(values - before[name])) for name, values in theirs.items()}
    whole = np.sqrt(sum(size**2 for size in moved.values()) / len(mine.base))
    for name, values in theirs.items():
        scale = max(moved[name], 0.01 * whole * np.sqrt(values.size))
        assert np.linalg.norm(after[name] - values) <= WITHIN * scale, name


@pytest.mark.parametrize("training", sorted(OPTIMIZERS))
def test_an_optimizer_takes_pytorch_s_steps(tmp_path: Path, training: str) -> None:
    """Five steps in a row, state and all."""
    make, plan = OPTIMIZERS[training]
    case = replace(CASES["mlp"], net=deepcopy(CASES["mlp"].net))
    mine = ours(case, tmp_path, training=training)
    feed, label = batch_of(case)
    mine.session.load(mine.base, plan)
    optimizer = make(case.net.parameters())
    for _ in range(5):
        mine.session.train_step(feed, RATE)
        optimizer.zero_grad()
        loss_of(case, label).backward()
        optimizer.step()
    after = mine.parameters(mine.session.vector())
    for name, parameter in case.net.named_parameters():
        np.testing.assert_allclose(after[name], parameter.detach().numpy(), rtol=2e-3, atol=2e-4, err_msg=name)


def test_clipping_is_pytorch_s(tmp_path: Path) -> None:
    """By the norm of all gradients together."""
    case = replace(CASES["mlp"], net=deepcopy(CASES["mlp"].net))
    mine = ours(case, tmp_path, training="sgd+clip_norm")
    feed, label = batch_of(case)
    mine.session.load(mine.base, Plan(clip_norm=0.05))
    mine.session.train_step(feed, RATE)
    loss_of(case, label).backward()
    torch.nn.utils.clip_grad_norm_(case.net.parameters(), 0.05)
    torch.optim.SGD(case.net.parameters(), RATE).step()
    after = mine.parameters(mine.session.vector())
    for name, parameter in case.net.named_parameters():
        np.testing.assert_allclose(after[name], parameter.detach().numpy(), rtol=1e-5, atol=1e-6, err_msg=name)


OPSETS = [("mlp", 17), ("mlp", 18), ("mlp", 20), ("mlp", 21), ("gpt", 23), ("vit_dot_product", 23), ("bert", 24)]


@pytest.mark.parametrize(("name", "opset"), OPSETS)
def test_every_opset_that_pytorch_exports_is_taken(tmp_path: Path, name: str, opset: int) -> None:
    """Older and newer ones are brought to ours, Attention and RMSNormalization among them: two losses agree."""
    case = replace(CASES[name], net=deepcopy(CASES[name].net))
    mine = ours(case, tmp_path, opset=opset)
    feed, label = batch_of(case)
    mine.session.load(mine.base, Plan())
    optimizer = torch.optim.SGD(case.net.parameters(), RATE)
    for _ in range(2):
        told = mine.session.train_step(feed, RATE)
        optimizer.zero_grad()
        loss = loss_of(case, label)
        loss.backward()
        optimizer.step()
        assert told == pytest.approx(loss.item(), rel=1e-4)
