"""Data without a meaning, for tests and benches of everything but learning: it trains what `wide_model` makes."""

from pathlib import Path

import numpy as np

NOISE_TOML = """\
[datasets.noise]
format = "npz"
path = "noise.npz"
[datasets.noise.columns.x]
source = "x"
[datasets.noise.columns.label]
source = "y"
"""


def save_noise(folder: Path, side: int, examples: int = 8, seed: int = 0) -> None:
    """Make a box's folder, and in it `noise.npz`: "x" and its label "y" are float32 [examples, side]."""
    folder.mkdir(parents=True)
    x, y = np.random.default_rng(seed).standard_normal((2, examples, side), np.float32)
    np.savez(folder / "noise.npz", x=x, y=y)
