"""Einsum."""

from collections import Counter
from collections.abc import Sequence
from string import ascii_letters

from headwater_control.compiler.autodiff.rules.registry import Emitter, Gradients, Node, rule
from headwater_control.compiler.autodiff.types import Dims


@rule("Einsum")
def einsum(g: Emitter, n: Node, dy: str) -> Gradients:
    """y = Σ a·b·… over labels: da = Σ dy·b·… over the labels that a has not, repeated along those that only a has."""
    dims = [g.type(name).dims for name in n.inputs]
    terms, result = _labels(n.attributes["equation"], [len(sizes) for sizes in dims])
    if any(len(set(term)) < len(term) for term in terms):
        raise n.refused("a label is repeated within an operand: take the diagonal by other means")
    known = [*zip(terms, dims, strict=True), (result, g.type(n.y).dims)]
    names = [*n.inputs, dy]
    return [_of_operand(g, place, known, names) for place in range(len(terms))]


def _of_operand(g: Emitter, place: int, known: Sequence[tuple[str, Dims]], names: Sequence[str]) -> str:
    """Give the gradient of one operand, from all others and dy, which comes last."""
    term, dims = known[place]
    others = [pair for number, pair in enumerate(known) if number != place]
    wide: dict[str, bool] = {}  # by label: whether its size, elsewhere, is not 1
    for labels, sizes in others:
        for label, size in zip(labels, sizes, strict=True):
            wide[label] = wide.get(label, False) or size != 1
    kept = [label for label, size in zip(term, dims, strict=True) if wide.get(label) == (size != 1)]
    equation = ",".join(labels for labels, _ in others) + "->" + "".join(kept)
    grad = g.op("Einsum", *(name for number, name in enumerate(names) if number != place), equation=equation)
    if len(kept) < len(term):
        grad = g.unsqueeze(grad, [axis for axis, label in enumerate(term) if label not in kept])
    if any(size != 1 for label, size in zip(term, dims, strict=True) if label not in kept):
        grad = g.op("Expand", grad, g.shape(names[place]))
    return grad


def _labels(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """Give each operand's labels and the result's, with letters in place of ellipses, and the result spelt out."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    length = max(rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True))
    ellipsis = "".join([letter for letter in ascii_letters if letter not in equation][:length])
    if not arrow:
        once = (label for label, count in Counter(left).items() if count == 1 and label in ascii_letters)
        result = "..." + "".join(sorted(once))
    return [term.replace("...", ellipsis) for term in terms], result.replace("...", ellipsis)
