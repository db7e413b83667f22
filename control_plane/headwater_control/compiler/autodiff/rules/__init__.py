"""The rules, by operator: what flows back into a node's inputs, given what flows back from its outputs.

Written y = f(x), with `dy` for the derivative of the loss with respect to y: each docstring gives dx.
"""

from headwater_control.compiler.autodiff.rules import arithmetic, linear
from headwater_control.compiler.autodiff.rules.registry import RULES

__all__ = ["RULES", "arithmetic", "linear"]
