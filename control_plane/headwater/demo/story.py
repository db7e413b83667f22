"""The demo's course: start a fleet, train, compare, roll out, check."""

import hashlib
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from headwater.cli.watching import show_live
from headwater.client import Client
from headwater.demo.boxes import Box, make_box
from headwater.demo.problem import Problem, classes
from headwater.demo.processes import Agent, ControlPlane, Endpoints, Process, registered
from headwater.demo.scoring import score
from headwater.errors import HeadwaterError
from headwater.records import Run, RunDetail

MODEL = "digits"
DATASET = "digits"
CENTRAL = "central"
ROLLOUT_WITHIN_S = 60.0
HOLDOUT = 0.1
_LOOK_EVERY_S = 0.2


class DemoFailed(HeadwaterError):
    """Something that had to work did not."""


@dataclass(frozen=True, slots=True)
class Learner:
    """Who learnt, from what, and how well: accuracy on held-out digits of all ten classes."""

    name: str
    sees: str
    examples: int
    accuracy: float


@dataclass(frozen=True, slots=True)
class Result:
    """What the table tells."""

    problem: str
    merged: Learner
    central: Learner
    local: tuple[Learner, ...]
    test_examples: int
    rounds: int
    seconds_a_round: float
    bytes_up: int
    bytes_down: int
    installed: int
    version: str

    @property
    def wins(self) -> bool:
        """Say whether the merged model beats every local-only one."""
        return all(self.merged.accuracy > learner.accuracy for learner in self.local)


@dataclass(frozen=True, slots=True)
class Fleet:
    """What runs: edge boxes with a shard each, and one cloud node that holds all of their data for comparison."""

    endpoints: Endpoints
    edge: tuple[Box, ...]
    central: Box


def start(problem: Problem, devices: int, state: Path, processes: list[Process], console: Console) -> Fleet:
    """Start a control plane and the agents, and wait until all are registered."""
    with console.status("starting a control plane …"):
        control = ControlPlane(state / "control-plane")
        processes.append(control)
        endpoints = control.ready()
    console.print(f"control plane at {endpoints.http}, broker {endpoints.mqtt}, gateway {endpoints.grpc}")
    shards = problem.shards
    boxes = []
    for number, shard in enumerate([*shards.devices, shards.pooled()], 1):
        edge = number <= devices
        name = f"box-{number}" if edge else CENTRAL
        folder = state / name
        folder.mkdir(parents=True)
        shard.save(folder / "digits.npz")
        labels = {"role": "edge" if edge else CENTRAL, "box": name}
        boxes.append(make_box(folder, name, endpoints, problem.dataset(Path("digits.npz")), labels=labels))
    fleet = Fleet(endpoints, tuple(boxes[:devices]), boxes[devices])
    with console.status(f"enrolling and starting {len(boxes)} agents …"), endpoints.client() as client:
        for enrolment in [box.enrol(client) for box in boxes]:
            enrolment.done()
        agents: list[Agent] = [box.start() for box in boxes]
        processes.extend(agents)
        registered(client, [box.id for box in boxes], processes)
    console.print(f"{devices} agents registered, each with {problem_share(problem)}; one more holds all, to compare")
    return fleet


def problem_share(problem: Problem) -> str:
    """Say what a device holds."""
    counts = [len(shard.labels) for shard in problem.shards.devices]
    spread = f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
    return f"{spread} images of 4 of the 10 digits"


def train(client: Client, problem: Problem, rounds: int, state: Path, console: Console) -> RunDetail:
    """Import the model and run the federated rounds, shown live."""
    file = state / f"{MODEL}.onnx"
    onnx.save(problem.model, file)
    with console.status("importing the model: checking that it trains …"):
        imported = client.models.import_file(file, name=MODEL, loss="cross_entropy")
    console.print(f"imported {MODEL}: {imported.model.elements:,} trainable numbers, version {imported.version.id}\n")
    run = _start(client, problem, rounds, imported.version.id, {"role": "edge"})
    show_live(console, client.runs.watch(run.id))
    return _completed(client, run)


def compare(
    client: Client, problem: Problem, rounds: int, base: str, fleet: Fleet, console: Console
) -> tuple[RunDetail, ...]:
    """Train each device by itself, and all data in one place: the same rounds, nothing merged with others."""
    boxes = [*fleet.edge, fleet.central]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        runs = [_start(client, problem, rounds, base, {"box": box.id}) for box in boxes]
        bar = bars.add_task("for comparison: each device alone, and all data in one place", total=rounds * len(runs))
        while True:
            found = [client.runs.show(run.id, last=1).run for run in runs]
            bars.update(bar, completed=sum(min(rounds, run.round - 1) for run in found))
            if all(run.final for run in found):
                break
            time.sleep(_LOOK_EVERY_S)
    return tuple(_completed(client, run) for run in runs)


def roll_out(client: Client, version: str, fleet: Fleet, exported: Path, console: Console) -> int:
    """Send the version to the edge boxes and check on their disks that it is the one exported; count them."""
    rollout = client.rollouts.start(version, to={"role": "edge"})
    with console.status(f"rolling {version} out …"):
        detail = client.rollouts.wait(rollout.id, timeout_s=ROLLOUT_WITHIN_S)
    for deployment in detail.deployments:
        if deployment.state != "installed":
            raise DemoFailed(f"{deployment.device} did not install {version}: {deployment.problem or deployment.state}")
    wanted = hashlib.sha256(exported.read_bytes()).hexdigest()
    for box in fleet.edge:
        current = box.installed / MODEL / "current" / "model.onnx"
        if hashlib.sha256(current.read_bytes()).hexdigest() != wanted:
            raise DemoFailed(f"{current} is not the model that was exported")
    return len(detail.deployments)


def tell(
    client: Client,
    problem: Problem,
    federated: RunDetail,
    others: Sequence[RunDetail],
    fleet: Fleet,
    exported: Path,
    installed: int,
    state: Path,
) -> Result:
    """Score every model on the held-out digits, with plain onnxruntime, and gather the figures."""
    test = problem.shards.test
    images = problem.normalised(test.images)
    counts = [len(shard.labels) for shard in problem.shards.devices]

    def learner(name: str, sees: str, examples: int, file: Path) -> Learner:
        return Learner(name, sees, examples, score(file, images, test.labels))

    files = [client.versions.export(detail.run.version, state / f"{detail.run.version}.onnx") for detail in others]
    rounds = [found for found in federated.rounds if not found.evaluate]
    tasks = [task for found in federated.rounds for task in found.tasks]
    everyone = "0 1 2 3 4 5 6 7 8 9"
    return Result(
        problem=problem.title,
        merged=learner(f"merged from {len(fleet.edge)} devices", "no image, only deltas", sum(counts), exported),
        central=learner("central, all data in one place", everyone, sum(counts), files[-1]),
        local=tuple(
            learner(f"{box.id} alone", classes(number, len(fleet.edge)), counts[number], file)
            for number, (box, file) in enumerate(zip(fleet.edge, files[:-1], strict=True))
        ),
        test_examples=len(test.labels),
        rounds=len(rounds),
        seconds_a_round=statistics.median(
            (found.closed_at - found.opened_at).total_seconds() for found in rounds if found.closed_at
        ),
        bytes_up=sum(task.bytes_up for task in tasks),
        bytes_down=sum(task.bytes_down for task in tasks),
        installed=installed,
        version=federated.run.version,
    )


def _start(client: Client, problem: Problem, rounds: int, base: str, cohort: dict[str, str]) -> Run:
    return client.runs.start(
        model=MODEL,
        dataset=DATASET,
        rounds=rounds,
        cohort=cohort,
        epochs=problem.epochs,
        batch_size=problem.batch_size,
        learning_rate=problem.learning_rate,
        holdout=HOLDOUT,
        base=base,
    )


def _completed(client: Client, run: Run) -> RunDetail:
    detail = client.runs.show(run.id)
    if detail.run.state != "completed":
        raise DemoFailed(f"{run.id} ended {detail.run.state}: {detail.run.reason}")
    return detail
