"""Networks that listen, or read one number after the other."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (as everybody calls it)

from tests.parity.case import Case


class Keywords(nn.Module):
    """A recurrent layer over frames of sound, of which the last state counts."""

    def __init__(self, kind: str, *, both_ways: bool = False, layers: int = 1) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(10)
        self.layer = getattr(nn, kind)(10, 12, layers, batch_first=True, bidirectional=both_ways)
        self.head = nn.Linear(24 if both_ways else 12, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Score [N, T, 10]."""
        _, state = self.layer(self.norm(x))
        last = state[0] if isinstance(state, tuple) else state
        return self.head(torch.cat([last[-2], last[-1]], -1) if self.layer.bidirectional else last[-1])


class Separable(nn.Module):
    """Depthwise-separable convolutions over a spectrogram (DS-CNN: Zhang et al., 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, (10, 4), (2, 2), (5, 1)), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 1), nn.ReLU(),
            nn.Dropout(0.2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Score [N, 1, 20, 10]."""
        return self.body(x)


class Dilated(nn.Module):
    """Causal, dilated convolutions with normalized weights (TCN: Bai et al., 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.utils.parametrizations.weight_norm(nn.Conv1d(6, 6, 3, dilation=2**place)) for place in range(3)
        )
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Estimate two numbers of [N, 6, T]."""
        for place, conv in enumerate(self.convs):
            x = x + F.relu(conv(F.pad(x, (2 * 2**place, 0))))
        return self.head(x[:, :, -1])


class WaveNet(nn.Module):
    """Gated convolutions whose outputs are summed up (van den Oord et al., 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, 8, 1)
        self.gated = nn.ModuleList(nn.Conv1d(8, 16, 2, dilation=2**place) for place in range(3))
        self.skips = nn.ModuleList(nn.Conv1d(8, 8, 1) for _ in range(3))
        self.head = nn.Conv1d(8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Filter [N, 1, T]."""
        x, total = self.stem(x), torch.zeros(())
        for place, (gated, skip) in enumerate(zip(self.gated, self.skips, strict=True)):
            value, gate = gated(F.pad(x, (2**place, 0))).chunk(2, 1)
            y = torch.tanh(value) * torch.sigmoid(gate)
            x, total = x + y, total + skip(y)
        return self.head(F.relu(total))


class Crnn(nn.Module):
    """Convolutions, then a GRU over the columns, both ways, and a score for each (Shi et al., 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d((2, 1)))
        self.layer, self.head = nn.GRU(16, 6, batch_first=True, bidirectional=True), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Score each column of [N, 1, 8, W]."""
        x = self.conv(x).permute(0, 3, 1, 2).flatten(2)
        return self.head(self.layer(x)[0])


class Tags(nn.Module):
    """A tag for each token, by an LSTM both ways; labels may be padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.layer = nn.Embedding(20, 8), nn.LSTM(8, 6, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        """Score each of [N, 7] tokens."""
        return self.head(self.layer(self.embedding(tokens))[0])


class Cells(nn.Module):
    """A GRU cell, stepped by hand, and attention over what it said."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.score, self.head = nn.GRUCell(5, 8), nn.Linear(8, 1), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Score [N, 4, 5]."""
        state, states = x.new_zeros(x.shape[0], 8), []
        for part in x.unbind(1):
            state = self.cell(part, state)
            states.append(state)
        told = torch.stack(states, 1)
        return self.head((torch.softmax(self.score(told), 1) * told).sum(1))


def cases() -> Mapping[str, Case]:
    """Make them, with batches."""
    r: Any = torch.randn
    tokens = "cross_entropy:class_axis=-1"
    return {
        "keywords_gru": Case(Keywords("GRU"), (r(4, 9, 10),), classes=4),
        "keywords_lstm": Case(Keywords("LSTM", layers=2), (r(4, 9, 10),), classes=4),
        "keywords_lstm_both_ways": Case(Keywords("LSTM", both_ways=True), (r(4, 9, 10),), classes=4),
        "keywords_separable": Case(Separable(), (r(4, 1, 20, 10),), classes=4),
        "dilated": Case(Dilated(), (r(4, 6, 12),), loss="mse"),
        "wavenet": Case(WaveNet(), (r(4, 1, 12),), loss="mse"),
        "crnn": Case(Crnn(), (r(4, 1, 8, 6),), loss=tokens, classes=5),
        "tags": Case(Tags(), (torch.randint(0, 20, (4, 7)),), loss=f"{tokens},ignore=1,weights=1/2/1/3", classes=4),
        "cells": Case(Cells(), (r(4, 4, 5),), loss="cross_entropy:smoothing=0.1", classes=3),
    }
