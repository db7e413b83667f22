"""Networks that attend, or mix in attention's stead."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (as everybody calls it)

from tests.parity.case import Case


class Attention(nn.Module):
    """scaled_dot_product_attention, with all three projections in one."""

    def __init__(self, width: int, heads: int, *, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Keep [N, T, width]."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=self.causal).transpose(1, 2).flatten(2))


class VisionTransformer(nn.Module):
    """Patches, a class token, positions (Dosovitskiy et al., 2021)."""

    def __init__(self, *, fused: bool, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.fused, self.patches = fused, nn.Conv2d(3, width, 4, 4)
        self.token, self.place = nn.Parameter(torch.randn(1, 1, width)), nn.Parameter(0.1 * torch.randn(1, 17, width))
        self.attention = Attention(width, heads) if fused else nn.MultiheadAttention(width, heads, batch_first=True)
        self.n1, self.n2, self.n3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 32), nn.GELU(), nn.Dropout(0.1), nn.Linear(32, width))
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Score [N, 3, 16, 16]."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
        y = self.n1(x)
        x = x + (self.attention(y) if self.fused else self.attention(y, y, y)[0])
        return self.head(self.n3(x + self.mlp(self.n2(x)))[:, 0])


class Bert(nn.Module):
    """Tokens and their places, and a mask of those that are only padding (Devlin et al., 2019)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(30, width, padding_idx=0), nn.Embedding(8, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        layer = nn.TransformerEncoderLayer(width, 2, 32, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.pooler, self.head = nn.Linear(width, width), nn.Linear(width, 3)

    def forward(self, tokens: Tensor, padding: Tensor) -> Tensor:
        """Score [N, 8] tokens, with a mask that is true where nothing is."""
        x = self.norm(self.tokens(tokens) + self.places(torch.arange(8)))
        x = self.encoder(x, src_key_padding_mask=padding)
        return self.head(torch.tanh(self.pooler(x[:, 0])))


class RmsNorm(nn.Module):
    """Root mean square, written out as Llama's is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class Llama(nn.Module):
    """Rotary positions, a causal mask, grouped keys, SwiGLU; the output's weights are the embedding's."""

    def __init__(self, width: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.embedding, self.heads, self.size = nn.Embedding(20, width), heads, width // heads
        self.q, self.k = nn.Linear(width, width, bias=False), nn.Linear(width, width // 2, bias=False)
        self.v, self.o = nn.Linear(width, width // 2, bias=False), nn.Linear(width, width, bias=False)
        self.gate, self.up, self.down = nn.Linear(width, 24), nn.Linear(width, 24), nn.Linear(24, width)
        self.n1, self.n2, self.n3 = RmsNorm(width), RmsNorm(width), nn.RMSNorm(width)

    def rotated(self, x: Tensor) -> Tensor:
        """Turn each pair of numbers by an angle that grows with the place (Su et al., 2021)."""
        angle = torch.arange(x.shape[2])[:, None] * torch.tensor([1.0, 0.1]).repeat(2)
        left, right = x.chunk(2, -1)
        return x * angle.cos() + torch.cat([-right, left], -1) * angle.sin()

    def forward(self, tokens: Tensor) -> Tensor:
        """Score what follows each of [N, 6] tokens."""
        x = self.embedding(tokens)
        y = self.n1(x)
        q, k, v = (f(y).unflatten(-1, (-1, self.size)).transpose(1, 2) for f in (self.q, self.k, self.v))
        k, v = self.rotated(k).repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        scores = self.rotated(q) @ k.transpose(-1, -2) / self.size**0.5
        mask = torch.triu(torch.full((tokens.shape[1], tokens.shape[1]), float("-inf")), 1)
        x = x + self.o((torch.softmax(scores + mask, -1) @ v).transpose(1, 2).flatten(2))
        y = self.n2(x)
        x = x + self.down(F.silu(self.gate(y)) * self.up(y))
        return F.linear(self.n3(x), self.embedding.weight)


class Gpt(nn.Module):
    """A causal block, by scaled_dot_product_attention, and a GLU."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.embedding, self.place = nn.Embedding(20, width), nn.Parameter(torch.randn(6, width))
        self.n1, self.n2, self.attention = nn.LayerNorm(width), nn.LayerNorm(width), Attention(width, 2, causal=True)
        self.mlp = nn.Sequential(nn.Linear(width, 32), nn.GLU(), nn.Linear(16, width))
        self.head = nn.Linear(width, 20, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Score what follows each of [N, 6] tokens."""
        x = self.embedding(tokens) + self.place
        x = x + self.attention(self.n1(x))
        return self.head(x + self.mlp(self.n2(x)))


class Swin(nn.Module):
    """Attention within windows, which are shifted, and biased by where two pixels lie (Liu et al., 2021)."""

    def __init__(self, width: int = 8, side: int = 4) -> None:
        super().__init__()
        self.side, self.stem, self.norm = side, nn.Conv2d(3, width, 2, 2), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.bias = nn.Parameter(torch.randn((2 * side - 1) ** 2))
        place = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).flatten(1)
        apart = place[:, :, None] - place[:, None] + side - 1
        self.register_buffer("apart", apart[0] * (2 * side - 1) + apart[1])
        self.merge, self.head = nn.Linear(4 * width, 2 * width, bias=False), nn.Linear(2 * width, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Score [N, 3, 16, 16]."""
        x = self.stem(x).permute(0, 2, 3, 1)
        n, h, w, c = x.shape
        s = self.side
        y = torch.roll(self.norm(x), (-2, -2), (1, 2))
        y = y.view(n, h // s, s, w // s, s, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, s * s, c)
        q, k, v = self.qkv(y).chunk(3, -1)
        y = self.out(torch.softmax(q @ k.transpose(1, 2) / c**0.5 + self.bias[self.apart], -1) @ v)
        y = y.view(n, h // s, w // s, s, s, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
        x = x + torch.roll(y, (2, 2), (1, 2))
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.head(self.merge(x).mean((1, 2)))


class Mixer(nn.Module):
    """Places are mixed as channels are (Tolstikhin et al., 2021), here by an einsum."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.patches, self.norm = nn.Conv2d(3, width, 4, 4), nn.LayerNorm(width)
        self.places = nn.Parameter(0.2 * torch.randn(16, 16))
        self.channels, self.head = nn.Linear(width, width), nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Score [N, 3, 16, 16]."""
        x = torch.einsum("nchw->nhwc", self.patches(x)).flatten(1, 2)
        x = x + torch.einsum("npc,pq->nqc", self.norm(x), self.places)
        return self.head((x + F.gelu(self.channels(x))).mean(1))


def cases() -> Mapping[str, Case]:
    """Make them, with batches."""
    r: Any = torch.randn
    tokens = "cross_entropy:class_axis=-1"
    padding = torch.arange(8) >= torch.tensor([[8], [5], [3], [7]])
    return {
        "vit_multihead": Case(VisionTransformer(fused=False), (r(4, 3, 16, 16),), classes=5),
        "vit_dot_product": Case(VisionTransformer(fused=True), (r(4, 3, 16, 16),), classes=5),
        "bert": Case(Bert(), (torch.randint(0, 30, (4, 8)), padding), classes=3),
        "llama": Case(
            Llama(), (torch.randint(0, 20, (4, 6)),), loss=tokens, classes=20, trainable=("*weight", "*bias")
        ),
        "gpt": Case(Gpt(), (torch.randint(0, 20, (4, 6)),), loss=tokens + ",ignore=3", classes=20),
        "swin": Case(Swin(), (r(3, 3, 16, 16),), classes=5),
        "mixer": Case(Mixer(), (r(4, 3, 16, 16),), classes=5),
    }
