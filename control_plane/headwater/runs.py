"""Runs, by the SDK."""

import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence

from headwater.decode import decode
from headwater.errors import Unfinished, Unreachable
from headwater.records import Run, RunDetail
from headwater.transport import Transport

_QUIET_S = 45.0  # the server says something every 15 s
_PATIENCE_S = 60.0  # how long a control plane may be away, restarting, before watching gives up
_POLL_S = 1.0
_PAGE = 1000  # rounds, the most that one answer shows


class Runs:
    """`client.runs`"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def start(
        self,
        *,
        model: str,
        dataset: str,
        rounds: int | None = None,
        cohort: Mapping[str, str] | None = None,
        clients_per_round: int | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        optimizer: str | None = None,
        momentum: float | None = None,
        beta1: float | None = None,
        beta2: float | None = None,
        epsilon: float | None = None,
        weight_decay: float | None = None,
        clip_norm: float | None = None,
        proximal: float | None = None,
        holdout: float | None = None,
        seed: int | None = None,
        reproducible: bool | None = None,
        base: str | None = None,
        round_deadline_s: float | None = None,
        progress_deadline_s: float | None = None,
        over_select: float | None = None,
        quorum: float | None = None,
        strategy: str | None = None,
    ) -> Run:
        """Ask the devices with all labels of `cohort` that have `dataset` to train `model`, from its newest version.

        `clients_per_round` 0 takes every eligible device; `base` starts from another version; `optimizer` is "sgd",
        "momentum", "nesterov", "adam" or "adamw", `proximal` the μ of FedProx, `clip_norm` 0 clips nothing.

        What is None the control plane decides: its /docs lists the defaults, and `spec` of the run returned says what
        they were.
        """
        wanted = {
            "model": model,
            "dataset": dataset,
            "rounds": rounds,
            "cohort": dict(cohort) if cohort is not None else None,
            "clients_per_round": clients_per_round,
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "optimizer": optimizer,
            "momentum": momentum,
            "beta1": beta1,
            "beta2": beta2,
            "epsilon": epsilon,
            "weight_decay": weight_decay,
            "clip_norm": clip_norm,
            "proximal": proximal,
            "holdout": holdout,
            "seed": seed,
            "reproducible": reproducible,
            "base": base,
            "round_deadline_s": round_deadline_s,
            "progress_deadline_s": progress_deadline_s,
            "over_select": over_select,
            "quorum": quorum,
            "strategy": strategy,
        }
        given = {name: value for name, value in wanted.items() if value is not None}
        return self._transport.post(Run, "/v1/runs", given)

    def list(self, states: Sequence[str] = ()) -> tuple[Run, ...]:
        """List the runs in one of `states` (none: all), oldest first."""
        return self._transport.get_all(Run, "/v1/runs", [("state", state) for state in states])

    def show(self, run: str, *, last: int = 0) -> RunDetail:
        """Read a run with its rounds and tasks, newest first by as many as one answer has: `last` rounds, 0 all."""
        newest = self._page(run, last)
        pages, missing = [newest.rounds], last - len(newest.rounds)
        while pages[-1] and (not last or missing > 0):
            first = pages[-1][0].number
            pages.append(self._page(run, missing, first).rounds if first > 1 else ())
            missing -= len(pages[-1])
        return RunDetail(newest.run, tuple(found for page in reversed(pages) for found in page))

    def pause(self, run: str) -> Run:
        """Stop opening rounds; the open one is carried through."""
        return self._transport.post(Run, f"/v1/runs/{run}/pause")

    def resume(self, run: str) -> Run:
        """Go on."""
        return self._transport.post(Run, f"/v1/runs/{run}/resume")

    def cancel(self, run: str) -> Run:
        """End it; its versions stay."""
        return self._transport.post(Run, f"/v1/runs/{run}/cancel")

    def watch(self, run: str, *, timeout_s: float | None = None) -> Iterator[RunDetail]:
        """Give the run with its newest rounds, then each time it changes with the last only, until it has ended.

        A restart of the server is waited out. Raise `Unfinished` when `timeout_s` have passed,
        `Unreachable` when the server stays away.
        """
        deadline = time.monotonic() + timeout_s if timeout_s is not None else None
        last_heard: float | None = None  # a server that never answered is not waited for
        while True:
            try:
                for detail in self._events(run, deadline):
                    last_heard = time.monotonic()
                    if detail is None:
                        continue
                    yield detail
                    if detail.run.final:
                        return
            except Unreachable:
                if last_heard is None or time.monotonic() - last_heard > _PATIENCE_S:
                    raise
            self._in_time(run, deadline)
            time.sleep(random.uniform(0.1, _POLL_S))  # noqa: S311 (jitter, no secret)

    def wait(self, run: str, *, timeout_s: float | None = None) -> RunDetail:
        """Wait until the run has ended and return it, however it ended."""
        for _ in self.watch(run, timeout_s=timeout_s):
            pass
        return self.show(run)

    def _page(self, run: str, last: int, before: int = 0) -> RunDetail:
        query = [(name, str(value)) for name, value in (("last", min(last, _PAGE)), ("before", before)) if value > 0]
        return self._transport.get(RunDetail, f"/v1/runs/{run}", query)

    def _events(self, run: str, deadline: float | None) -> Iterator[RunDetail | None]:
        """Read server-sent events; None: a sign of life."""
        quiet_s = _QUIET_S if deadline is None else max(0.1, min(_QUIET_S, deadline - time.monotonic()))
        with self._transport.stream(f"/v1/runs/{run}/events", quiet_s) as answer:
            for line in answer.iter_lines():
                self._in_time(run, deadline)
                yield decode(RunDetail, json.loads(line[5:])) if line.startswith("data:") else None

    @staticmethod
    def _in_time(run: str, deadline: float | None) -> None:
        if deadline is not None and time.monotonic() >= deadline:
            raise Unfinished(
                f"{run} has not ended in the time given: it goes on; `headwater run show {run}` tells how far it is"
            )
