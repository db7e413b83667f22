"""Networks that see: the blocks of which well-known ones are made."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (as everybody calls it)

from tests.parity.case import Case


class LeNet(nn.Module):
    """LeCun et al. (1998): averages, and tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2),
            nn.Flatten(), nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Score [N, 1, 28, 28]."""
        return self.body(x)


class SqueezeExcite(nn.Module):
    """Channels, weighted by what all of them say (EfficientNet, MobileNetV3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, channels // 4, 1), nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        return x * torch.sigmoid(self.up(F.silu(self.down(F.adaptive_avg_pool2d(x, 1)))))


class EfficientNet(nn.Module):
    """An inverted bottleneck with SiLU and squeeze-and-excite (Tan and Le, 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU())
        self.block = nn.Sequential(
            nn.Conv2d(8, 32, 1, bias=False), nn.BatchNorm2d(32), nn.SiLU(),
            nn.Conv2d(32, 32, 5, padding=2, groups=32, bias=False), nn.BatchNorm2d(32), nn.SiLU(),
            SqueezeExcite(32), nn.Conv2d(32, 8, 1, bias=False), nn.BatchNorm2d(8),
        )  # fmt: skip
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Score [N, 3, H, W]."""
        x = self.stem(x)
        return self.head((x + self.block(x)).mean((2, 3)))


class ShuffleNet(nn.Module):
    """Grouped convolutions, half of the channels each, which are then shuffled (Ma et al., 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.branch = nn.Sequential(
            nn.Conv2d(8, 8, 1, groups=2), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 8, 1)
        )
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Score [N, 3, H, W]."""
        left, right = self.stem(x).chunk(2, 1)
        x = torch.cat([left, F.relu(self.branch(right))], 1)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(F.max_pool2d(x, 3, 2, 1, ceil_mode=True).mean((2, 3)))


class DenseNet(nn.Module):
    """Each layer reads all before it (Huang et al., 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(8 + 4 * place), nn.ReLU(), nn.Conv2d(8 + 4 * place, 4, 3, padding=1))
            for place in range(3)
        )
        self.head = nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Score [N, 3, H, W]."""
        x = self.stem(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.head(F.avg_pool2d(x, 2).amax((2, 3)))


class Inception(nn.Module):
    """Four branches side by side, one of them pooled with windows that overlap (Szegedy et al., 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.three = nn.Conv2d(3, 4, 1), nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 3, padding=1))
        self.five = nn.Sequential(
            nn.Conv2d(3, 2, 1), nn.Conv2d(2, 4, (1, 5), padding=(0, 2)), nn.Conv2d(4, 4, (5, 1), padding=(2, 0))
        )
        self.pooled, self.norm, self.head = nn.Conv2d(3, 4, 1), nn.LocalResponseNorm(5), nn.Linear(18, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Score [N, 3, H, W]."""
        branches = [self.one(x), self.three(x), self.five(x), self.pooled(F.max_pool2d(x, 3, 1, 1))]
        return self.head(self.norm(F.relu(torch.cat(branches, 1))).mean((2, 3)))


class ConvNeXt(nn.Module):
    """A depthwise convolution, LayerNorm with channels last, a scale per layer (Liu et al., 2022)."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(3, width, 4, 4), nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm, self.wide, self.narrow = (
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.Linear(4 * width, width),
        )
        self.scale = nn.Parameter(0.5 * torch.ones(width))
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Score [N, 3, H, W]."""
        x = self.stem(x)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.narrow(F.gelu(self.wide(y), approximate="tanh"))
        return self.head((x + y.permute(0, 3, 1, 2)).mean((2, 3)))


class Pyramid(nn.Module):
    """Features of three sizes, added from the top down (FPN: Lin et al., 2017)."""

    def __init__(self) -> None:
        super().__init__()
        sides = (4, 8, 8)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in zip((3, *sides), sides, strict=False))
        self.lateral = nn.ModuleList(nn.Conv2d(side, 6, 1) for side in sides)
        self.head = nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Score [N, 3, H, W] at half its sides."""
        levels = []
        for down in self.down:
            x = F.relu6(down(x))
            levels.append(x)
        top = self.lateral[2](levels[2])
        for lateral, level in ((self.lateral[1], levels[1]), (self.lateral[0], levels[0])):
            top = lateral(level) + F.interpolate(top, size=level.shape[2:], mode="nearest")
        return self.head(top)


class GroupNormResidual(nn.Module):
    """A residual block with groups normalized, and weights that are standardized (Qiao et al., 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.norm = (
            nn.Conv2d(3, 8, 3, padding=1),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.GroupNorm(4, 8),
        )
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Score [N, 3, H, W]."""
        x = self.stem(x)
        w = self.conv.weight
        deviation = w.std((1, 2, 3), keepdim=True, unbiased=False)
        w = (w - w.mean((1, 2, 3), keepdim=True)) / (deviation + 1e-5)
        x = x + F.relu(self.norm(F.conv2d(x, w, self.conv.bias, padding=1)))
        return self.head(x.mean((2, 3)))


class SuperResolution(nn.Module):
    """Pixels, shuffled out of channels (Shi et al., 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 5, padding=2, padding_mode="reflect"), nn.PReLU(8), nn.Conv2d(8, 4, 3, padding=1),
            nn.PixelShuffle(2),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Double the sides of [N, 1, H, W]."""
        return self.body(x) + F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=False)


class Autoencoder(nn.Module):
    """Down by strides, up by transposed convolutions with an output padding; and a code in between."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, 6, 3, 2, 1), nn.ELU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ELU(), nn.Flatten())
        self.mean, self.log_variance, self.back = nn.Linear(32, 4), nn.Linear(32, 4), nn.Linear(4, 32)
        self.up = nn.Sequential(
            nn.Unflatten(1, (8, 2, 2)), nn.ConvTranspose2d(8, 6, 3, 2, 1, output_padding=1), nn.ELU(),
            nn.ConvTranspose2d(6, 1, 3, 2, 1, output_padding=1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Repeat [N, 1, 8, 8]."""
        code = self.down(x)
        return self.up(self.back(self.mean(code) + 0.1 * torch.exp(0.5 * self.log_variance(code))))


class Pose(nn.Module):
    """Where each of three heat maps has its centre: a soft argmax."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.Softplus(), nn.Conv2d(8, 3, 3, padding=2, dilation=2)
        )
        self.register_buffer("grid", torch.linspace(-1, 1, 8))

    def forward(self, x: Tensor) -> Tensor:
        """Find three points in [N, 1, 8, 8]."""
        heat = F.softmax(self.maps(x).flatten(2), -1).unflatten(-1, (8, 8))
        return torch.stack([(heat.sum(2) * self.grid).sum(-1), (heat.sum(3) * self.grid).sum(-1)], -1)


def cases() -> Mapping[str, Case]:
    """Make them, with batches."""
    r: Any = torch.randn
    image = (r(4, 3, 16, 16),)
    return {
        "lenet": Case(LeNet(), (r(4, 1, 28, 28),), classes=10),
        "efficientnet": Case(EfficientNet(), image, classes=5),
        "shufflenet": Case(ShuffleNet(), image, classes=5),
        "densenet": Case(DenseNet(), image, classes=5),
        "inception": Case(Inception(), image, classes=5),
        "convnext": Case(ConvNeXt(), image, classes=5),
        "pyramid": Case(Pyramid(), image, classes=3),
        "group_norm": Case(GroupNormResidual(), image, classes=5),
        "super_resolution": Case(SuperResolution(), (r(3, 1, 6, 6),), loss="l1"),
        "autoencoder": Case(Autoencoder(), (r(4, 1, 8, 8),), loss="mse"),
        "pose": Case(Pose(), (r(4, 1, 8, 8),), loss="huber:delta=0.5", trainable=("maps.*",)),
    }
