"""What training a model would take: said before anything is imported."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headwater_wire.manifest import parse

from headwater_control.compiler import proof
from headwater_control.compiler.importer import make_bundle

_FLOAT_BYTES = 4
_SETS = 2  # of parameters, and of the optimizer's state: a step reads one and writes the other


@dataclass(frozen=True, slots=True)
class Row:
    """A parameter, or a constant like one."""

    name: str
    shape: tuple[int, ...]
    trains: bool
    why: str  # it is frozen


@dataclass(frozen=True, slots=True)
class Report:
    """Figures of one device, in bytes and seconds; the step was measured on this machine, with one thread."""

    rows: tuple[Row, ...]
    elements: int
    delta_bytes: int
    batch_size: int
    parameter_bytes: int
    adam_bytes: int  # what adam's state would add
    activation_bytes: int
    step_s: float
    small_bytes: int  # parameters and a step, on a box whose memory is "small"
    small_step_s: float
    notes: tuple[str, ...]


def report(onnx_path: Path, out_dir: Path, loss: str, trainable: Sequence[str], output: str, batch_size: int) -> Report:
    """Compile a model in `out_dir`, take some steps with it, and tell; raise `CompileError` as an import would."""
    made = make_bundle(onnx_path, out_dir, "model", loss, trainable, output)
    description = parse(made.manifest_path.read_bytes())
    usual, notes = proof.measure(out_dir, batch_size)
    small, _ = proof.measure(out_dir, batch_size, memory="small")
    frozen_bytes = description.step.constants.size if description.step.constants else 0
    own = _SETS * _FLOAT_BYTES * made.elements
    rows = [Row(parameter.name, parameter.shape, True, "") for parameter in description.parameters]
    rows += [Row(name, (), False, why) for name, why in made.frozen]
    remarks = tuple(note for note in made.notes if " is frozen: " not in note)
    return Report(
        rows=tuple(rows),
        elements=made.elements,
        delta_bytes=_FLOAT_BYTES * made.elements,
        batch_size=batch_size,
        parameter_bytes=own + frozen_bytes,
        adam_bytes=2 * own,
        activation_bytes=usual.activation_bytes,
        step_s=usual.step_s,
        small_bytes=own + frozen_bytes + small.activation_bytes,  # one set, and one of summed gradients
        small_step_s=small.step_s,
        notes=(*remarks, *notes),
    )
