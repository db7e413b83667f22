"""The rules, by operator: what flows back into a node's inputs, given what flows back from its outputs.

Written y = f(x), with `dy` for the derivative of the loss with respect to y: each docstring gives dx.
"""

from headwater_control.compiler.autodiff.rules import (
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
)
from headwater_control.compiler.autodiff.rules.registry import RULES

# Importing a module registers its rules.
MODULES = (
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
)

__all__ = ["MODULES", "RULES"]
