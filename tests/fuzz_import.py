"""Bring random and hostile ONNX files through the importer: `python -m tests.fuzz_import [--seconds N] [--seed N]`.

Promises checked for each file: a `CompileError` says in a sentence why it is refused, or a step of the bundle that it
became runs in stock onnxruntime. A valid model is not refused, its step is finite, and its gradient agrees with
differences of its own loss. All of it within bounded time and memory, so that each file is tried in a child process.
"""

import argparse
import random
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

from headwater_agent.training.errors import NotPossible
from headwater_control.compiler.errors import CompileError
from headwater_control.compiler.importer import make_bundle

from tests.fuzzing.gradients import take_step
from tests.fuzzing.hostile import damaged
from tests.fuzzing.layers import LAYERS
from tests.fuzzing.nets import random_model

PATIENCE_S = 60.0
_MEMORY_BYTES = 6 << 30
_MOST_WORDS = 6000  # characters of a refusal: a name of 5000, and the sentence around it
_LOSSES = ("mse", "mse", "l1", "huber:delta=0.7", "bce_with_logits", "cross_entropy", "cross_entropy:smoothing=0.1")
_SELECTORS = ((), (), (), ("last:1",), ("last:2",), ("bias", "last:1"), ("lora:2",), ("*",))
# What a valid model may be refused for: onnx's converter can't write every operator in an older opset, and a selector
# need not fit.
_UNLUCKY = ("No Adapter From Version", "no parameter's name matches", "lora:2: ", "*.lora_a")


@dataclass(frozen=True, slots=True)
class Case:
    """A file, and how it is asked for."""

    what: str  # "valid", or how it was damaged
    data: bytes
    loss: str
    trainable: tuple[str, ...]
    output: str

    @property
    def valid(self) -> bool:
        """Say whether it must not be refused."""
        return self.what == "valid"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case. `finding`: a broken promise; "" if all were kept."""

    what: str
    end: str  # "imported", "refused", or "no step"
    finding: str = ""
    compared: int = 0  # parameters whose slope was


def case(seed: int) -> Case:
    """Make the file of a seed: one in three is valid."""
    source = random.Random(seed)
    model = random_model(source, LAYERS)
    if source.random() < 0.35:
        return Case("valid", model.SerializeToString(), source.choice(_LOSSES), source.choice(_SELECTORS), "y")
    what, data = damaged(model, source)
    return Case(what, data, source.choice(_LOSSES), source.choice(_SELECTORS), source.choice(("y", "y", "y", "")))


def check(seed: int) -> Outcome:
    """Try the file of a seed, here."""
    tried = case(seed)
    with tempfile.TemporaryDirectory() as folder:
        path, bundle = Path(folder) / "model.onnx", Path(folder) / "bundle"
        path.write_bytes(tried.data)
        try:
            make_bundle(path, bundle, "net", tried.loss, tried.trainable, tried.output)
        except CompileError as error:
            return Outcome(tried.what, "refused", _wrong_with(tried, str(error)))
        try:
            step = take_step(bundle, seed, compare="recast" not in tried.what)
        except (NotPossible, RuntimeError) as error:
            return Outcome(tried.what, "no step", f"the step does not run: {error}" if tried.valid else "")
        problem = "" if step.finite or not tried.valid else "the step is not finite"
        return Outcome(tried.what, "imported", problem or step.disagrees, step.compared)


def _wrong_with(tried: Case, sentence: str) -> str:
    """Say what is wrong with a refusal."""
    if len(re.findall(r"\w+", sentence)) < 4 or len(sentence) > _MOST_WORDS:
        return f"it is refused without a sentence: {sentence[:300]!r}"
    unlucky = any(words in sentence for words in _UNLUCKY)
    return f"a valid model is refused: {sentence}" if tried.valid and not unlucky else ""


class Child:
    """A process that tries cases, and is replaced when one kills it or takes too long."""

    def __init__(self) -> None:
        self._context = get_context("spawn")
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def check(self, seed: int) -> Outcome:
        """Try the file of a seed."""
        self._connection.send(seed)
        ended = "took too long"
        if self._connection.poll(PATIENCE_S):
            try:
                found: Outcome = self._connection.recv()
            except EOFError:
                self._process.join()
                ended = f"ended the process with {self._process.exitcode}"
            else:
                return found
        self._stop()
        self._start()
        return Outcome(case(seed).what, "died", f"it {ended}")

    def _start(self) -> None:
        self._connection, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def _stop(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()


def _serve(connection: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    while True:
        seed = connection.recv()
        try:
            outcome = check(seed)
        except Exception as error:
            where = _last_own_line(error)
            outcome = Outcome(case(seed).what, "died", f"{type(error).__name__} in {where}: {str(error)[:300]}")
        connection.send(outcome)


def _last_own_line(error: Exception) -> str:
    trace, found = error.__traceback__, "?"
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if "site-packages" not in file.parts:
            found = f"{file.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


@dataclass(slots=True)
class Findings:
    """What came of it."""

    ends: Counter[str] = field(default_factory=Counter)
    compared: int = 0
    broken: dict[int, str] = field(default_factory=dict)

    def add(self, seed: int, outcome: Outcome) -> None:
        """Count an outcome."""
        self.ends[f"{'valid' if outcome.what == 'valid' else 'hostile'} {outcome.end}"] += 1
        self.compared += outcome.compared
        if outcome.finding:
            self.broken[seed] = f"{outcome.what}: {outcome.finding}"


def main() -> None:
    """Run from the command line."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the first file (default: %(default)s)")
    wanted = parser.parse_args()
    findings = Findings()
    began = time.monotonic()
    columns = (TextColumn("importer"), BarColumn(), TextColumn("{task.fields[files]:,} files"), TimeRemainingColumn())
    with Progress(*columns) as progress, Child() as child:
        bar = progress.add_task("seconds", total=wanted.seconds, files=0)
        seed = wanted.seed
        while (seconds := time.monotonic() - began) < wanted.seconds:
            findings.add(seed, child.check(seed))
            if seed in findings.broken:
                progress.console.print(f"seed {seed}, {findings.broken[seed]}", markup=False, soft_wrap=True)
            seed += 1
            progress.update(bar, completed=seconds, files=seed - wanted.seed)
    print(f"{seed - wanted.seed:,} files in {wanted.seconds:.0f} s: ", end="")
    print(", ".join(f"{end} {count:,}" for end, count in sorted(findings.ends.items())))
    print(f"{findings.compared:,} slopes agreed with the gradients, {len(findings.broken)} promises were broken")
    sys.exit(bool(findings.broken))


if __name__ == "__main__":
    main()
