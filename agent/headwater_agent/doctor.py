"""`headwater-agent doctor`: looks over all that an agent needs, whether one runs or not, and says what to do."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TextIO

from headwater_agent.config import Config
from headwater_agent.core.findings import Finding, Health, unknown
from headwater_agent.diagnosis import Patient, local, remote
from headwater_agent.edges.threads import use_threads

_PATIENCE_S = 10.0
_PATIENCE_DATA_S = 120.0  # a dataset is read in full, and an engine may take its time to be loaded from a slow disk
_QUIET_S = 2.0
_SIGNS = {Health.OK: "ok     ", Health.WARNING: "warning", Health.FAILED: "FAILED ", Health.UNKNOWN: "unknown"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at, within a time. Of those that are `heavy` one is looked at after the other."""

    name: str
    look: Callable[[], Awaitable[Finding]]
    patience_s: float = _PATIENCE_S
    heavy: bool = False


def checks(patient: Patient) -> Iterator[Check]:
    """List what is looked at, in the order in which it is told."""
    yield Check("agent", lambda: local.agent(patient))
    yield Check("identity", lambda: local.identity(patient))
    yield Check("certificate", lambda: local.certificate(patient))
    yield Check("clock", lambda: remote.clock(patient))
    yield Check("dns", lambda: remote.dns(patient))
    yield Check("enrolment", lambda: remote.enrolment(patient))
    yield Check("broker", lambda: remote.broker(patient))
    yield Check("gateway", lambda: remote.gateway(patient))
    yield Check("journal", lambda: local.journal(patient))
    yield Check("spool", lambda: local.spool(patient))
    yield Check("disk", lambda: local.disk(patient))
    yield Check("confinement", lambda: local.confinement(patient))
    yield Check("conditions", lambda: local.conditions(patient))
    yield Check("engine", lambda: local.engine(patient), _PATIENCE_DATA_S, heavy=True)
    for dataset in patient.config.datasets:
        look = partial(local.dataset, patient, dataset)
        yield Check(f"dataset {dataset.name}", look, _PATIENCE_DATA_S, heavy=True)


async def examine(config: Config, hear: Callable[[Finding], None], progress: Callable[[str], None]) -> list[Finding]:
    """Look at everything at once, but for what is heavy.

    `hear` each finding in order, `progress` what is waited for longer than a moment.
    """
    use_threads()
    patient = await Patient.of(config)
    listed = list(checks(patient))
    turn = asyncio.Lock()
    running = [asyncio.create_task(_in_turn(check, turn), name=f"doctor.{check.name}") for check in listed]
    found = []
    try:
        for check, task in zip(listed, running, strict=True):
            done, _ = await asyncio.wait([task], timeout=_QUIET_S)
            if not done:
                progress(f"… {check.name}: at most {check.patience_s:.0f} s")
            found.append(await task)
            hear(found[-1])
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)
    return found


async def _in_turn(check: Check, turn: asyncio.Lock) -> Finding:
    async with turn if check.heavy else nullcontext():
        return await _within(check)


async def _within(check: Check) -> Finding:
    try:
        async with asyncio.timeout(check.patience_s):
            return await check.look()
    except TimeoutError:
        return unknown(check.name, f"no answer within {check.patience_s:.0f} s", "look again when the box is less busy")
    except Exception as error:  # a check that can't be made must not hide the others
        return unknown(check.name, f"it could not be looked at: {type(error).__name__}: {error}", "report this")


def diagnose(config: Config, *, as_json: bool, out: TextIO = sys.stdout, aside: TextIO = sys.stderr) -> int:
    """Look everything over and tell; 1 if something has failed, else 0."""

    def progress(line: str) -> None:
        print(line, file=aside, flush=True)

    def hear(finding: Finding) -> None:
        if not as_json:
            for line in told(finding):
                print(line, file=out, flush=True)

    found = asyncio.run(examine(config, hear, progress))
    counts = {health: sum(finding.health is health for finding in found) for health in Health}
    if as_json:
        tree = {
            "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "checks": [asdict(finding) for finding in found],
            **{health.value: counts[health] for health in Health},
        }
        print(json.dumps(tree, indent=2), file=out)
    else:
        print(", ".join(f"{count} {health.value}" for health, count in counts.items() if count), file=out)
    return 1 if counts[Health.FAILED] else 0


def told(finding: Finding) -> Iterator[str]:
    """Tell a finding in a line, and what to do about it in another."""
    yield f"{_SIGNS[finding.health]}  {finding.name:12} {finding.found}"
    if finding.advice:
        yield f"{'':9}{'':12} → {finding.advice}"
