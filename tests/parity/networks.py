"""Small networks of the kinds that run on edge boxes, as PyTorch has them, and what their loss reads."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (as everybody calls it)

from tests.parity import networks_attention, networks_sequence, networks_tables, networks_vision
from tests.parity.case import Case


class McMahan(nn.Module):
    """The convolutional net of McMahan et al. (2017): 1,663,370 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(1, 32, 5, padding=2), nn.Conv2d(32, 64, 5, padding=2)
        self.f1, self.f2 = nn.Linear(3136, 512), nn.Linear(512, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Score [N, 1, 28, 28]."""
        x = F.max_pool2d(F.relu(self.c1(x)), 2)
        x = F.max_pool2d(F.relu(self.c2(x)), 2)
        return self.f2(F.relu(self.f1(x.flatten(1))))


class Transformer(nn.Module):
    """One pre-norm block."""

    def __init__(self, width: int = 32, heads: int = 4, classes: int = 5) -> None:
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Score [N, T, width]."""
        y = self.n1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.mlp(self.n2(x))
        return self.head(x.mean(1))


class Recurrent(nn.Module):
    """The last state of a recurrent layer."""

    def __init__(self, kind: str, *, both_ways: bool = False) -> None:
        super().__init__()
        self.layer = getattr(nn, kind)(8, 16, batch_first=True, bidirectional=both_ways)
        self.head = nn.Linear(32 if both_ways else 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Score [N, T, 8]."""
        y, _ = self.layer(x)
        return self.head(y[:, -1])


def _separable(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_in, 3, stride, 1, groups=channels_in, bias=False),
        nn.BatchNorm2d(channels_in),
        nn.Hardswish(),
        nn.Conv2d(channels_in, channels_out, 1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU6(),
    )


class MobileNet(nn.Module):
    """Depthwise-separable convolutions, in the manner of MobileNet."""

    def __init__(self, width: int = 8, blocks: int = 2, classes: int = 6) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.Hardswish()]
        layers += [_separable(width << place, width << place + 1, 1 + place % 2) for place in range(blocks)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(width << blocks, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Score [N, 3, H, W]."""
        return self.head(self.body(x).mean((2, 3)))


class Residual(nn.Module):
    """A block of two convolutions and what goes round them."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.c2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.n1, self.n2 = nn.BatchNorm2d(channels_out), nn.BatchNorm2d(channels_out)
        same = channels_in == channels_out and stride == 1
        self.short = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Keep [N, C, H, W], or halve the sides."""
        return F.relu(self.n2(self.c2(F.relu(self.n1(self.c1(x))))) + self.short(x))


class ResNet8(nn.Module):
    """Three residual blocks, as MLPerf Tiny's image classifier has them."""

    def __init__(self, width: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(
            Residual(width, width, 1), Residual(width, 2 * width, 2), Residual(2 * width, 4 * width, 2)
        )
        self.head = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Score [N, 3, H, W]."""
        x = self.blocks(F.relu(self.norm(self.stem(x))))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Bottleneck(nn.Module):
    """Three convolutions, the outer ones 1×1, and what goes round them."""

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width),
        )  # fmt: skip
        same = channels_in == 4 * width and stride == 1
        short = nn.Sequential(nn.Conv2d(channels_in, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))
        self.short = nn.Identity() if same else short

    def forward(self, x: Tensor) -> Tensor:
        """Keep [N, C, H, W], or halve the sides."""
        return F.relu(self.body(x) + self.short(x))


class ResNet50(nn.Module):
    """He et al. (2016): 25.6 million parameters; for the time that compiling it takes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        layers: list[nn.Module] = []
        channels = 64
        for width, depth, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            for place in range(depth):
                layers.append(Bottleneck(channels, width, stride if place == 0 else 1))
                channels = 4 * width
        self.body, self.head = nn.Sequential(*layers), nn.Linear(2048, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """Score [N, 3, 224, 224]."""
        return self.head(self.body(self.stem(x)).mean((2, 3)))


class UNet(nn.Module):
    """Down and up again, with a bridge."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.up, self.head = nn.ConvTranspose2d(16, 8, 2, 2), nn.Conv2d(16, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Score every pixel of [N, 1, H, W]."""
        a = F.elu(self.down(x))
        b = F.silu(self.deep(F.max_pool2d(a, 2)))
        return self.head(torch.cat([a, self.up(b)], 1))


class Segmenter(nn.Module):
    """A strided convolution, resized back by interpolation."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.norm = nn.Conv2d(1, 8, 3, 2, 1), nn.GroupNorm(2, 8)
        self.head = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Score every pixel of [N, 1, H, W]."""
        y = self.head(F.mish(self.norm(self.down(x))))
        return F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)


class Table(nn.Module):
    """Categories, embedded, beside numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 6)
        self.body = nn.Sequential(nn.Linear(22, 16), nn.SELU(), nn.Linear(16, 8), nn.PReLU(), nn.Linear(8, 2))

    def forward(self, categories: Tensor, numbers: Tensor) -> Tensor:
        """Score [N, 3] categories and [N, 4] numbers."""
        return self.body(torch.cat([self.embedding(categories).flatten(1), numbers], 1))


class Tagger(nn.Module):
    """A score for each token, by a one-dimensional convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.mix = nn.Embedding(30, 16), nn.Conv1d(16, 16, 3, padding=1)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 30)

    def forward(self, tokens: Tensor) -> Tensor:
        """Score [N, T] tokens as [N, T, 30]."""
        x = self.embedding(tokens)
        x = x + torch.tanh(self.mix(x.transpose(1, 2)).transpose(1, 2))
        return self.head(self.norm(x))


class Instance(nn.Module):
    """Instance normalisation, a leaky slope and an average pool; a regression."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 6, 3, padding=1), nn.InstanceNorm2d(6, affine=True)
        self.head = nn.Linear(96, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Estimate three numbers of [N, 1, 8, 8]."""
        return self.head(F.avg_pool2d(F.leaky_relu(self.norm(self.conv(x))), 2).flatten(1))


def mlp(*sides: int) -> nn.Module:
    """Stack fully connected layers with Relus between them."""
    layers: list[nn.Module] = []
    for one, other in pairwise(sides):
        layers += [nn.Linear(one, other), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cases() -> Mapping[str, Case]:
    """Make them all, the same each time."""
    torch.manual_seed(0)
    r: Any = torch.randn
    tokens = "cross_entropy:class_axis=-1"
    made = {
        "mcmahan_cnn": Case(McMahan(), (r(4, 1, 28, 28),), classes=10),
        "mlp": Case(mlp(20, 32, 32, 5), (r(6, 20),), classes=5),
        "transformer": Case(Transformer(), (r(4, 9, 32),), classes=5),
        "lstm": Case(Recurrent("LSTM"), (r(4, 7, 8),), classes=4),
        "gru_both_ways": Case(Recurrent("GRU", both_ways=True), (r(4, 7, 8),), classes=4),
        "rnn": Case(Recurrent("RNN"), (r(4, 7, 8),), classes=4),
        "mobilenet": Case(MobileNet(), (r(4, 3, 16, 16),), classes=6),
        "resnet8": Case(ResNet8(8), (r(4, 3, 12, 12),), classes=10),
        "unet": Case(UNet(), (r(3, 1, 8, 8),), classes=3),
        "segmenter": Case(Segmenter(), (r(3, 1, 8, 8),), classes=3),
        "table": Case(Table(), (torch.randint(0, 20, (5, 3)), r(5, 4)), classes=2),
        "tagger": Case(Tagger(), (torch.randint(0, 30, (4, 6)),), loss=tokens, classes=30),
        "instance_norm": Case(Instance(), (r(4, 1, 8, 8),), loss="mse"),
    }
    for module in (networks_vision, networks_attention, networks_sequence, networks_tables):
        made |= module.cases()
    for case in made.values():
        case.net.eval()
    return made
