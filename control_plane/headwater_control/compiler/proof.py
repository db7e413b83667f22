"""Proves that a bundle trains, by one step in a child process.

The child is the agent's own (`headwater_agent.training.trial`): this package never imports the agent's code.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater_control.compiler.errors import CompileError

TIMEOUT_S = 180.0


def prove(folder: Path) -> tuple[str, ...]:
    """Train the folder's bundle one step in a child; return notes; raise `CompileError` if it doesn't train."""
    return _notes(_ask(folder))


@dataclass(frozen=True, slots=True)
class Step:
    """What a step takes, the parameters apart."""

    step_s: float
    activation_bytes: int


def measure(folder: Path, examples: int, memory: str = "normal") -> tuple[Step, tuple[str, ...]]:
    """Do as `prove`, on so many examples, in "normal" or "small" memory: give what a step takes, and notes."""
    verdict = _ask(folder, str(examples), memory)
    notes = _notes(verdict)
    return Step(verdict["step_s"], verdict["activation_bytes"]), notes


def _notes(verdict: dict[str, Any]) -> tuple[str, ...]:
    if not verdict.get("trains"):
        raise CompileError(f"the model can't be trained: {verdict.get('problem')}")
    notes = []
    if verdict["loss"] is None:
        notes.append("the loss of a step on random data was not finite: are its inputs scaled as the model expects?")
    elif not verdict["moved"]:
        notes.append("a step on random data moved nothing: does the loss fit the output?")
    return tuple(notes)


def _ask(folder: Path, *more: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "headwater_agent.training.trial", str(folder), *more]
    try:
        child = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise CompileError(
            f"a few steps of training took more than {TIMEOUT_S:.0f} s: the model is too large"
        ) from error
    try:
        verdict: dict[str, Any] = json.loads(child.stdout)
    except ValueError:
        said = (child.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        how = f"was ended by signal {-child.returncode}" if child.returncode < 0 else f"ended with {child.returncode}"
        return {"trains": False, "problem": f"the training engine {how} on this graph: {said[:300]}"}
    return verdict
