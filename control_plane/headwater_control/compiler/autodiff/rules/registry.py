"""Where rules are known by their operator."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headwater_control.compiler.autodiff.emitter import Emitter
from headwater_control.compiler.autodiff.node import Node

# A gradient per input, in their order; None, or left out: nothing flows there.
Gradients = Sequence[str | None]
# Called with a gradient per output; "" for an output from which nothing flows.
Derive = Callable[..., Gradients]


@dataclass(frozen=True, slots=True)
class Rule:
    """How to differentiate an operator."""

    derive: Derive
    broadcasts: bool  # the gradients have the output's shape, and are summed back to each input's


RULES: dict[str, Rule] = {}


def rule(*operators: str, broadcasts: bool = False) -> Callable[[Derive], Derive]:
    """Register a function `(g: Emitter, n: Node, *dy: str) -> Gradients` for operators.

    A rule may emit more than is needed: what no output depends on is dropped at the end.
    """

    def register(derive: Derive) -> Derive:
        for operator in operators:
            assert operator not in RULES, operator
            RULES[operator] = Rule(derive, broadcasts)
        return derive

    return register


__all__ = ["RULES", "Emitter", "Gradients", "Node", "Rule", "rule"]
