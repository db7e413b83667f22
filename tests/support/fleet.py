"""A whole fleet of real processes, kept alive as systemd would: whoever dies is started again."""

import asyncio
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import onnx
from headwater.demo.boxes import Box, make_box
from headwater.demo.processes import Agent, ControlPlane, Endpoints, Launch, Process, all_stopped, registered
from headwater.errors import HeadwaterError
from headwater.examples import classifier, digits
from headwater.records import Run, RunDetail
from headwater_agent.config import load
from headwater_agent.enrol import enrol

from tests.support.links import Links, links, wanted
from tests.support.secure_mosquitto import SecureMosquitto, secure_mosquitto
from tests.support.waiting import until_now
from tests.support.warm import launch

WITHIN_S = 90.0
CRASH_AT = "HEADWATER_CRASH_AT"
BROKER = "FLEET_BROKER"  # "mosquitto": the whole suite on that, with mTLS, instead of the embedded broker


class Crashes:
    """Named steps at which processes die, each once, wherever it is passed first."""

    def __init__(self, folder: Path, *steps: str) -> None:
        """Take steps such as "agent.training", "train.step:5^" (the fifth pass, and the parent too)."""
        folder.mkdir(parents=True, exist_ok=True)
        self._guards = {step: folder / step.rstrip("^").replace(":", "-") for step in steps}

    @property
    def env(self) -> dict[str, str]:
        """The environment that arms them; a worker that may write and signal nowhere else could not obey."""
        armed = {CRASH_AT: ",".join(_armed(step, guard) for step, guard in self._guards.items())}
        if any(step.startswith("train.") for step in self._guards):
            armed["HEADWATER_TRAINING__CONFINEMENT"] = "off"
        return armed

    @property
    def missed(self) -> list[str]:
        """Name the steps that nobody died at yet."""
        return [step for step, guard in self._guards.items() if not guard.exists()]


class Fleet:
    """A control plane and its boxes. `client` finds it again after a restart, since the ports stay."""

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str],
        env: Mapping[str, str],
        running: list[Process],
        *,
        secure: bool,
        launch: Launch,
    ) -> None:
        self.folder = folder
        self._secure = secure
        self._launch = launch
        self.boxes: list[Box] = []
        self.agents: dict[str, Agent] = {}
        self.deaths: list[str] = []
        self._arguments = arguments
        self._env = env
        self._box_env: dict[str, Mapping[str, str]] = {}
        self._running = running
        self.control = self._serve(None)
        self.endpoints = self.control.ready()
        self.client = self.endpoints.client()
        self.links: Links | None = None  # what lies between, if that is anything
        self.mosquitto: SecureMosquitto | None = None  # the broker, if it is not embedded

    def add(
        self,
        device: str,
        datasets: str,
        *,
        labels: Mapping[str, str] | None = None,
        engine: str = "portable",
        env: Mapping[str, str] | None = None,
    ) -> Box:
        """Make a box and start its agent."""
        box = make_box(self.folder / device, device, self.endpoints, datasets, labels=labels, engine=engine)
        if self.endpoints.secure:
            _enrol(box, self.client.devices.invite(box.id).token)
        self.boxes.append(box)
        self._box_env[device] = {**(self.links.env if self.links else {}), **(env or {})}
        self._start(box)
        return box

    def wait_registered(self) -> None:
        """Wait until every box is online."""
        registered(self.client, [box.id for box in self.boxes], ())

    def registered(self) -> set[str]:
        """Name the devices that have registered: a box that was only enrolled is listed too."""
        return {device.id for device in self.client.devices.list() if device.registered_at}

    def restart(self, device: str) -> None:
        """Start the agent of a box again that was stopped in good order."""
        self._start(next(box for box in self.boxes if box.id == device))

    def revive(self) -> None:
        """Start again whoever was killed; any other end is a failure."""
        if (code := self.control.exit_code()) is not None:
            assert code == -signal.SIGKILL, f"the control plane ended with {code}:\n{self.control.tail()}"
            self.deaths.append("control plane")
            self.control.kill()
            self.control = self._serve(self.endpoints)  # not awaited: it may be killed again before it is ready
        for box in self.boxes:
            agent = self.agents[box.id]
            if (code := agent.exit_code()) is not None:
                assert code == -signal.SIGKILL, f"{agent.name} ended with {code}:\n{agent.tail()}"
                self.deaths.append(box.id)
                agent.kill()
                self._start(box)

    def finish(self, run: Run, within_s: float = WITHIN_S) -> RunDetail:
        """Keep everybody alive until the run has ended."""

        seen: list[RunDetail] = []

        def ended() -> bool:
            self.revive()
            with suppress(HeadwaterError):  # it is just being killed
                seen.append(self.client.runs.show(run.id))
            return bool(seen) and seen[-1].run.final

        try:
            until_now(ended, f"{run.id} ends", within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.describe(run.id)}") from error
        return seen[-1]

    def parameters(self, version: str) -> str:
        """Give the digest of a version's parameters: equal digests are equal bits."""
        return self.client.versions.show(version).parameters.digest

    def describe(self, run: str) -> str:
        """Say how far a run is, and what the processes wrote last."""
        detail = self.client.runs.show(run)
        lines = [f"{detail.run}"]
        lines += [f"{found.number} {task}" for found in detail.rounds for task in found.tasks]
        lines += [f"── {process.name}\n{process.tail()}" for process in (self.control, *self.agents.values())]
        return "\n".join(lines)

    def _serve(self, at: Endpoints | None) -> ControlPlane:
        data = self.folder / "control-plane"
        control = ControlPlane(
            data, arguments=self._arguments, env=self._env, at=at, secure=self._secure, launch=self._launch
        )
        self._running.append(control)
        return control

    def _start(self, box: Box) -> None:
        self.agents[box.id] = box.start(env=self._box_env[box.id], launch=self._launch)
        self._running.append(self.agents[box.id])


@contextmanager
def fleet(
    folder: Path,
    *,
    arguments: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    secure: bool = True,
    mosquitto: bool = False,
    linked: bool = False,
    launch: Launch = launch,
) -> Iterator[Fleet]:
    """Start a control plane with the demo's kind of boxes to be added; stop everything at the end.

    `linked` puts fault proxies between them, which do no harm unless they are told to, or FLEET_FAULTS says so.
    `launch` is how a process is started: by default forked from one that has loaded the libraries.
    """
    with ExitStack() as parts:
        env, broker = dict(env or {}), None
        mosquitto = mosquitto or os.environ.get(BROKER) == "mosquitto"
        if secure and mosquitto and "--broker" not in arguments:
            broker = parts.enter_context(secure_mosquitto(folder / "control-plane", folder / "mosquitto"))
            arguments, env = (*arguments, *broker.arguments), {**env, **broker.env}
        made = Fleet(folder, arguments, env, parts.enter_context(all_stopped([])), secure=secure, launch=launch)
        made.mosquitto = broker
        parts.enter_context(made.client)
        if linked or wanted():
            made.links = parts.enter_context(links(made.endpoints, wanted()))
        yield made


def add_digit_boxes(
    fleet: Fleet, devices: int, *, env: Mapping[str, Mapping[str, str]] | None = None, engine: str = "portable"
) -> None:
    """Give `devices` boxes a small shard of the digits each."""
    shards = digits.shards(devices)
    for number, shard in enumerate(shards.devices, 1):
        device = f"box-{number}"
        (fleet.folder / device).mkdir(parents=True, exist_ok=True)
        shard.save(fleet.folder / device / "digits.npz")
        toml = digits.DATASET_TOML.format(path='"digits.npz"')
        fleet.add(device, toml, labels={"role": "edge", "box": device}, engine=engine, env=(env or {}).get(device))


def import_digits(fleet: Fleet) -> str:
    """Import the demo's classifier as "digits" and return its first version."""
    file = fleet.folder / "digits.onnx"
    onnx.save(classifier.digits_classifier(), file)
    return fleet.client.models.import_file(file, loss="cross_entropy").version.id


def start_reproducible(fleet: Fleet, base: str, rounds: int = 3) -> Run:
    """Start a run whose result is the same to the bit whenever it is done again."""
    return fleet.client.runs.start(
        model="digits", dataset="digits", rounds=rounds, base=base, seed=7, batch_size=16, reproducible=True
    )


def _enrol(box: Box, token: str) -> None:
    """Enrol as `headwater-agent enroll` does, but in this process: to start another one takes half a second."""
    with ThreadPoolExecutor(1) as thread:  # a test may have a loop running in its own
        thread.submit(asyncio.run, enrol(load(box.config, {}), token, again=False)).result()


def _armed(step: str, guard: Path) -> str:
    name, _, count = step.rstrip("^").partition(":")
    parent = "^" if step.endswith("^") else ""
    return f"{name}{parent}:{count or 1}@{guard}"
