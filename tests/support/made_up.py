"""Records of the SDK for tests that need one and care for little in it."""

from dataclasses import MISSING, fields
from datetime import UTC, datetime

from headwater.records import Round, Run, RunSpec, Scores

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_NOTHING = {"str": "", "int": 0, "float": 0.0, "bool": False}


def run_of(rounds: int) -> Run:
    """Make a running run that has come to this round."""
    spec = {field.name: _NOTHING.get(str(field.type), {}) for field in fields(RunSpec) if field.default is MISSING}
    return Run("run-1", RunSpec(**spec), "running", "m-1", rounds, NOW)  # type: ignore[arg-type]


def round_of(number: int, scores: Scores) -> Round:
    """Make a committed round."""
    return Round(number, "committed", "m-1", False, NOW, 1, 1, scores, (), merged="m-2", closed_at=NOW)
