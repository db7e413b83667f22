"""A whole history, from an empty folder to a merged round, whatever its processes die of on the way."""

import asyncio
import hashlib
import signal
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import onnx
from headwater.client import Client
from headwater.demo.boxes import Box, make_box
from headwater.demo.processes import Agent, ControlPlane, Endpoints, Process, ProcessError, all_stopped
from headwater.errors import HeadwaterError
from headwater.examples import classifier, digits
from headwater.examples.shards import Examples
from headwater.records import Device, RunDetail
from headwater_agent.config import load
from headwater_agent.edges.enrolment import NoCertificate
from headwater_agent.enrol import enrol
from headwater_control.edges.store import open_store
from headwater_wire.ids import Digest

from tests.support.waiting import until_now
from tests.support.warm import launch

BOXES = ("box-1", "box-2", "box-3")
WITHIN_S = 90.0
_T = TypeVar("_T")


class History:
    """A control plane and three boxes with the digits; `carry_on` starts again whoever has ended."""

    def __init__(
        self,
        folder: Path,
        control_env: Mapping[str, str],
        box_env: Mapping[str, Mapping[str, str]],
        running: list[Process],
    ) -> None:
        self.folder = folder
        self.ends: list[tuple[str, int]] = []
        self._control_env = control_env
        self._box_env = box_env
        self._running = running
        self._endpoints: Endpoints | None = None
        self._client: Client | None = None
        self._boxes: dict[str, Box] = {}
        self._agents: dict[str, Agent] = {}
        self.control = self._serve()

    @property
    def data(self) -> Path:
        """The control plane's folder."""
        return self.folder / "control-plane"

    def live(self) -> tuple[RunDetail, str]:
        """Enrol the boxes, import a model, train it for a round; give the run and the digest of its parameters."""
        for number, box in enumerate(BOXES):
            self._settle(box, digits.shards(len(BOXES)).devices[number])
        file = self.folder / "digits.onnx"
        onnx.save(classifier.digits_classifier(), file)
        base = self.insist(lambda client: _imported(client, file), "the model is imported")
        self.insist(_all_are_here, "all boxes are registered")
        run = self.insist(lambda client: _started(client, base), "the run is started")
        self.insist(lambda client: client.runs.show(run).run.final, "the run ends")
        detail = self.insist(lambda client: client.runs.show(run), "the run is shown")
        found = self.insist(lambda client: client.versions.show(detail.run.version), "the version is shown")
        return detail, found.parameters.digest

    def insist(self, ask: Callable[[Client], _T], what: str) -> _T:
        """Ask until there is an answer that is something, as a person would."""
        answers: list[_T] = []

        def answered() -> bool:
            self.carry_on()
            if self._client is None:
                return False
            try:
                answers.append(ask(self._client))
            except (HeadwaterError, NoCertificate):  # it has just ended
                return False
            return bool(answers[-1])

        try:
            until_now(answered, what, WITHIN_S)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.told()}") from error
        return answers[-1]

    def carry_on(self) -> None:
        """Start again whoever has ended, as systemd would."""
        if (code := self.control.exit_code()) is not None:
            self.ends.append(("control plane", code))
            self.control.kill()
            self.control = self._serve()
        if self._endpoints is None:
            try:
                self._endpoints = self.control.ready()
            except ProcessError:
                return
            self._client = self._endpoints.client()
        for box, agent in self._agents.items():
            if (code := agent.exit_code()) is not None:
                self.ends.append((box, code))
                agent.kill()
                self._start(box)

    def last_ends(self) -> list[tuple[str, int]]:
        """Name, after the end, who did not stop in good order.

        Who was started again a moment before may not have had its handlers yet: then the signal itself is a good end.
        """
        everybody: dict[str, Process] = {"control plane": self.control, **self._agents}
        again = {name for name, _ in self.ends}
        codes = [(name, process.exit_code()) for name, process in everybody.items()]
        return [(name, code) for name, code in codes if code and not (code == -signal.SIGTERM and name in again)]

    def close(self) -> None:
        """Close the connection to the control plane."""
        if self._client is not None:
            self._client.close()

    def told(self) -> str:
        """Give what everybody wrote last."""
        return "\n".join(f"── {each.name}\n{each.tail()}" for each in (self.control, *self._agents.values()))

    def _settle(self, name: str, shard: Examples) -> None:
        folder = self.folder / name
        folder.mkdir()
        shard.save(folder / "digits.npz")
        token = self.insist(lambda client: client.devices.invite(name).token, f"{name} is invited")
        assert self._endpoints
        box = make_box(folder, name, self._endpoints, digits.DATASET_TOML.format(path='"digits.npz"'))
        self._boxes[name] = box
        self.insist(lambda _: self._enrol(box, token), f"{name} is enrolled")
        self._start(name)

    def _enrol(self, box: Box, token: str) -> bool:
        asyncio.run(enrol(load(box.config, {}), token, again=False))
        return True

    def _serve(self) -> ControlPlane:
        control = ControlPlane(self.data, env=self._control_env, at=self._endpoints, launch=launch)
        self._running.append(control)
        return control

    def _start(self, box: str) -> None:
        self._agents[box] = self._boxes[box].start(env=self._box_env.get(box, {}), launch=launch)
        self._running.append(self._agents[box])


def _imported(client: Client, file: Path) -> str:
    """Import the model, unless the answer to an earlier attempt was lost."""
    known = client.versions.list("digits") if client.models.list() else ()
    return known[0].id if known else client.models.import_file(file, loss="cross_entropy").version.id


def _all_are_here(client: Client) -> bool:
    here = {device.id for device in client.devices.list() if device.online and _looked_at(device)}
    return here == set(BOXES)


def _looked_at(device: Device) -> bool:
    return bool(device.datasets) and not any(dataset.problem for dataset in device.datasets)


def _started(client: Client, base: str) -> str:
    """Start the run, unless the answer to an earlier attempt was lost."""
    if runs := client.runs.list():
        return runs[0].id
    return client.runs.start(
        model="digits", dataset="digits", rounds=1, base=base, seed=7, batch_size=16, reproducible=True
    ).id


@contextmanager
def history(
    folder: Path, control_env: Mapping[str, str] | None = None, box_env: Mapping[str, Mapping[str, str]] | None = None
) -> Iterator[History]:
    """Begin one; at the end everybody is stopped in good order, and nobody may have complained of that."""
    with all_stopped([]) as running:
        made = History(folder, control_env or {}, box_env or {}, running)
        try:
            yield made
        finally:
            made.close()


def check_disk(made: History) -> None:
    """Read what the control plane's disk holds, once it has stopped: a sound database, and the blobs that it names."""
    with sqlite3.connect(made.data / "headwater.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    there = set()
    for blob in (made.data / "blobs" / "objects").rglob("*"):
        if blob.is_file() and not blob.name.startswith(".hw-tmp-"):
            assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name, f"{blob} is damaged"
            there.add(blob.name)
    named = asyncio.run(_named(f"sqlite:///{made.data / 'headwater.db'}"))
    assert named
    assert named <= there, f"named by a row, and not there: {named - there}"


async def _named(url: str) -> frozenset[Digest]:
    async with open_store(url, migrates=False) as store, store.read() as tx:
        return await tx.live_blobs()
