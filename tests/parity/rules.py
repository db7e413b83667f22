"""For each operator that has a rule: how to draw a case of it, and the function of PyTorch's that is the same.

Where PyTorch has none by that name, it is made of a few others, which autograd goes through.
"""

# Importing a module registers its cases.
from tests.parity import (  # noqa: F401
    rules_activations,
    rules_arithmetic,
    rules_convolution,
    rules_indexing,
    rules_movement,
    rules_normalization,
    rules_pooling,
    rules_products,
    rules_recurrent,
    rules_reductions,
    rules_resize,
)
from tests.parity.rules_case import TABLE, Case

__all__ = ["TABLE", "Case"]
