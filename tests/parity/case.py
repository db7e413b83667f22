"""A network to compare, and the loss that both sides compute."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (as everybody calls it)


@dataclass(frozen=True)
class Case:
    """A network in evaluation mode, a batch, and its loss as `headwater model import --loss` spells it."""

    net: nn.Module
    batch: tuple[Tensor, ...]
    loss: str = "cross_entropy"
    classes: int = 0  # 0: a regression
    trainable: tuple[str, ...] = ()  # selectors, where an ONNX file can't tell a constant from a weight

    @property
    def options(self) -> Mapping[str, str]:
        """Give what stands behind the loss's name."""
        return dict(option.split("=") for option in self.loss.partition(":")[2].split(",") if option)

    def batches(self, count: int) -> list[tuple[tuple[Tensor, ...], Tensor]]:
        """Draw batches like the one that is here, and labels; the same each time."""
        torch.manual_seed(2)
        drawn = []
        for _ in range(count):
            batch = tuple(_like(values) for values in self.batch)
            with torch.no_grad():
                drawn.append((batch, self.label(self.net(*batch))))
        return drawn

    def label(self, output: Tensor) -> Tensor:
        """Draw a label for an output."""
        if self.classes:
            axis = int(self.options.get("class_axis", 1)) % output.ndim
            return torch.randint(0, self.classes, [size for at, size in enumerate(output.shape) if at != axis])
        values = torch.randn_like(output)
        return (values > 0).float() if self.loss == "bce_with_logits" else values

    def loss_of(self, output: Tensor, label: Tensor) -> Tensor:
        """Compute PyTorch's loss."""
        options = self.options
        match self.loss.partition(":")[0]:
            case "cross_entropy":
                last_first = int(options.get("class_axis", 1)) == -1
                weights = [float(weight) for weight in options.get("weights", "").split("/") if weight]
                more: dict[str, Any] = {"weight": torch.tensor(weights)} if weights else {}
                more |= {"ignore_index": int(options["ignore"])} if "ignore" in options else {}
                scores = output.movedim(-1, 1) if last_first else output
                return F.cross_entropy(scores, label, label_smoothing=float(options.get("smoothing", 0)), **more)
            case "bce_with_logits":
                return F.binary_cross_entropy_with_logits(output, label)
            case "l1":
                return F.l1_loss(output, label)
            case "huber":
                return F.huber_loss(output, label, delta=float(options["delta"]))
            case _:
                return F.mse_loss(output, label)


def _like(values: Tensor) -> Tensor:
    """Draw other numbers; of whole numbers, and of what is true or false, the same in another order."""
    if values.is_floating_point():
        return torch.randn_like(values)
    if values.dtype == torch.bool:
        return values[torch.randperm(len(values))]
    return values.flatten()[torch.randperm(values.numel())].view_as(values)
