"""Networks for rows of tables, for pairs, and of unusual functions."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (as everybody calls it)

from tests.parity.case import Case


class Dlrm(nn.Module):
    """Products of each pair of embeddings (Naumov et al., 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(10, 6) for _ in range(3))
        self.numbers, self.head = nn.Linear(4, 6), nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 2))
        self.register_buffer("pairs", torch.tril_indices(4, 4, -1))

    def forward(self, categories: Tensor, numbers: Tensor) -> Tensor:
        """Score [N, 3] categories and [N, 4] numbers."""
        dense = F.relu(self.numbers(numbers))
        rows = torch.stack([dense, *(e(categories[:, i]) for i, e in enumerate(self.embeddings))], 1)
        products = torch.bmm(rows, rows.transpose(1, 2))
        return self.head(torch.cat([dense, products[:, self.pairs[0], self.pairs[1]]], 1))


class TabNet(nn.Module):
    """Steps that each choose columns, less so those chosen before (Arik and Pfister, 2021, with softmax)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)
        self.choose = nn.ModuleList(nn.Linear(4, 6) for _ in range(2))
        self.transform = nn.ModuleList(nn.Linear(6, 16) for _ in range(3))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Score [N, 6]."""
        x = self.norm(x)
        prior, told = torch.ones_like(x), torch.zeros_like(x[:, :4])
        part = F.glu(self.transform[0](x))[:, 4:]
        for choose, transform in zip(self.choose, self.transform[1:], strict=True):
            mask = torch.softmax(choose(part) * prior, -1)
            prior = prior * (1.5 - mask)
            result, part = F.glu(transform(mask * x)).split(4, -1)
            told = told + F.relu(result)
        return self.head(told)


class Siamese(nn.Module):
    """How far two inputs are apart, seen by the same weights."""

    def __init__(self) -> None:
        super().__init__()
        self.tower = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))
        self.scale = nn.Parameter(torch.tensor([2.0]))

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Compare [N, 6] with [N, 6]."""
        one, other = F.normalize(self.tower(one)), F.normalize(self.tower(other))
        alike = self.scale * F.cosine_similarity(one, other)
        return torch.stack([alike, torch.norm(one - other, dim=1)], 1)


class Kan(nn.Module):
    """A sum of functions of each number: waves, and humps (Liu et al., 2024)."""

    def __init__(self) -> None:
        super().__init__()
        self.waves, self.humps = nn.Parameter(0.3 * torch.randn(4, 5, 3)), nn.Parameter(0.3 * torch.randn(4, 5, 6))
        self.register_buffer("centres", torch.linspace(-2, 2, 6))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Estimate two numbers of [N, 5]."""
        k = torch.arange(1, 4)
        x = x[..., None]
        hidden = torch.einsum("nik,oik->no", torch.cos(x * k) + torch.sin(x * k), self.waves)
        return self.head(hidden + torch.einsum("nik,oik->no", torch.exp(-((x - self.centres) ** 2)), self.humps))


class Labels(nn.Module):
    """Many labels at once, for an image and some numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.numbers = nn.Conv2d(1, 4, 3, 2), nn.Linear(3, 4)
        self.head = nn.Bilinear(4, 4, 5)

    def forward(self, image: Tensor, numbers: Tensor) -> Tensor:
        """Give five logits for [N, 1, 9, 9] and [N, 3]."""
        seen = F.hardtanh(F.adaptive_max_pool2d(self.conv(image), 1).flatten(1))
        return self.head(seen, F.softsign(self.numbers(numbers)))


class Mixture(nn.Module):
    """Experts, weighted by a gate of which only the two greatest count."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(6, 4)
        self.experts = nn.Parameter(0.4 * torch.randn(4, 6, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Score [N, 6]."""
        best, chosen = self.gate(x).topk(2, -1)
        weights = torch.zeros(x.shape[0], 4).scatter(1, chosen, torch.softmax(best, -1))
        return torch.einsum("ne,eio,ni->no", weights, self.experts, x)


class Anomaly(nn.Module):
    """Repeats what it has seen, of a row whose gaps are filled in."""

    def __init__(self) -> None:
        super().__init__()
        self.fill = nn.Parameter(0.1 * torch.ones(8))
        self.body = nn.Sequential(nn.Linear(8, 4), nn.Hardswish(), nn.Linear(4, 8))

    def forward(self, x: Tensor) -> Tensor:
        """Repeat [N, 8]."""
        return self.body(torch.where(x.abs() > 1.5, self.fill, x.clamp(-1, 1)))


class Graph(nn.Module):
    """Messages along the edges of a graph that is part of each example."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Score [N, 5, 4] nodes, with [N, 5, 5] weights of edges."""
        degree = edges.abs().sum(-1, keepdim=True).clamp(min=1)
        x = F.leaky_relu(edges @ self.one(nodes) / degree)
        return self.head((edges @ self.two(x) / degree).max(1).values)


def cases() -> Mapping[str, Case]:
    """Make them, with batches."""
    r: Any = torch.randn
    return {
        "dlrm": Case(Dlrm(), (torch.randint(0, 10, (5, 3)), r(5, 4)), classes=2),
        "tabnet": Case(TabNet(), (r(6, 6),), classes=3),
        "siamese": Case(Siamese(), (r(5, 6), r(5, 6)), loss="mse"),
        "kan": Case(Kan(), (r(5, 5),), loss="l1", trainable=("waves", "humps", "head.*")),
        "labels": Case(Labels(), (r(4, 1, 9, 9), r(4, 3)), loss="bce_with_logits"),
        "mixture": Case(Mixture(), (r(6, 6),), classes=3),
        "anomaly": Case(Anomaly(), (r(5, 8),), loss="mse"),
        "graph": Case(Graph(), (r(4, 5, 4), r(4, 5, 5)), classes=2),
    }
