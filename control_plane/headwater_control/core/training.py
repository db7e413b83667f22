"""In which ways a model can be trained: what needs graphs of its own, and what is only a number that they are fed."""

from headwater_control.core.runs import RunSpec

PLAIN = "sgd"


def training(spec: RunSpec) -> str:
    """Spell the way a run trains: its optimizer, and what its steps do besides, such as "adam+clip_norm"."""
    extras = [name for name in ("weight_decay", "clip_norm", "proximal") if getattr(spec, name)]
    return "+".join((spec.optimizer, *extras))
