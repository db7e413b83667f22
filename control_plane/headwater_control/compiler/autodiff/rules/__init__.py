"""The rules, by operator: what flows back into a node's inputs, given what flows back from its outputs.

Written y = f(x), with `dy` for the derivative of the loss with respect to y: each docstring gives dx.
"""

# Importing a module registers its rules.
from headwater_control.compiler.autodiff.rules import (  # noqa: F401
    activations,
    arithmetic,
    convolution,
    einsum,
    gru,
    indexing,
    linear,
    lrn,
    lstm,
    movement,
    normalization,
    pooling,
    reductions,
    resize,
    rnn,
    slicing,
    softmax,
    trigonometry,
)
from headwater_control.compiler.autodiff.rules.registry import RULES

__all__ = ["RULES"]
