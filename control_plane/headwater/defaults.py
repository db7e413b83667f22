"""What the control plane takes where a run says nothing: told in help texts. A test holds it equal to the real ones."""

from collections.abc import Mapping
from types import MappingProxyType

RUN: Mapping[str, int | float | str] = MappingProxyType(
    {
        "rounds": 10,
        "clients_per_round": 0,
        "epochs": 1,
        "batch_size": 32,
        "learning_rate": 0.05,
        "optimizer": "sgd",
        "momentum": 0.9,
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-8,
        "weight_decay": 0,
        "clip_norm": 0,
        "proximal": 0,
        "holdout": 0.2,
        "seed": 0,
        "round_deadline_s": 600,
        "progress_deadline_s": 120,
        "over_select": 1.3,
        "quorum": 0.5,
        "strategy": "fedavg",
    }
)
STRATEGIES = ("fedavg",)
OPTIMIZERS = ("sgd", "momentum", "nesterov", "adam", "adamw")
LOSSES = ("cross_entropy", "bce_with_logits", "mse", "l1", "huber", "output")
