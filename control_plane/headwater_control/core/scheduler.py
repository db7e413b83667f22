"""Which devices a round asks: who is able, and who of them is drawn."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil

from headwater_wire.ids import DeviceId
from headwater_wire.manifest import Manifest, TensorSpec
from headwater_wire.messages import ConditionState, DatasetCard

from headwater_control.core.fleet import Device, Patience, is_online
from headwater_control.core.runs import RunSpec
from headwater_control.core.seeds import shuffle_rank


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a device can't be asked: `kind` for counting, `detail` for the one who owns the box."""

    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Draw:
    """Whom to ask, in merge order, how many deltas are hoped for, and how few will do."""

    devices: tuple[DeviceId, ...]
    target: int
    quorum: int


@dataclass(frozen=True, slots=True)
class Shortage:
    """Too few devices are able: for what the round waits, in words."""

    reason: str


def obstacle(device: Device, spec: RunSpec, manifest: Manifest) -> Obstacle | None:
    """Say what keeps a device from a run, whether or not it is online; None if it is able."""
    if not set(spec.cohort) <= set(device.labels):
        missing = ", ".join(f"{key}={value}" for key, value in sorted(set(spec.cohort) - set(device.labels)))
        return Obstacle("not in the cohort", f"it is not in the run's cohort: it lacks the label {missing}")
    if not device.engines:
        return Obstacle("without an engine", "no training engine is installed on it")
    card = next((card for card in device.datasets if card.name == spec.dataset), None)
    if card is None:
        known = ", ".join(sorted(card.name for card in device.datasets)) or "none"
        return Obstacle(
            f"without a dataset named {spec.dataset}", f"it has no dataset named {spec.dataset} (it has: {known})"
        )
    if card.problem:
        return Obstacle("with a problem in the dataset", f"its dataset {card.name} can't be used: {card.problem}")
    if mismatch := _mismatch(card, manifest):
        return Obstacle("whose dataset does not fit the model", f"its dataset {card.name} does not fit: {mismatch}")
    return None


def unready(device: Device) -> Obstacle | None:
    """Say which of its owner's conditions keep a device from training now; None if none does, as far as it told."""
    unmet = [condition for condition in device.conditions if condition.state is ConditionState.UNMET]
    if not unmet:
        return None
    names, why = ", ".join(found.name for found in unmet), "; ".join(found.why for found in unmet)
    return Obstacle(f"not ready to train ({names})", f"it is not ready to train: {why}")


def draw(
    spec: RunSpec, round_number: int, devices: Sequence[Device], manifest: Manifest, now: datetime, patience: Patience
) -> Draw | Shortage:
    """Choose whom a round asks. A reproducible run counts those that are offline or not ready: they will be again."""
    obstacles = [(device, _presence_or(device, spec, manifest, now, patience)) for device in devices]
    able = [device.id for device, found in obstacles if found is None]
    target = spec.clients_per_round or len(able)
    quorum = target if spec.reproducible else ceil(spec.quorum * target)
    if len(able) < max(1, quorum):
        wanted = f"{max(1, quorum)} able device{'s' if quorum > 1 else ''}"
        return Shortage(f"waits for {wanted}; of {len(devices)} in the cohort {_summary(obstacles)}")
    drawn = sorted(able, key=lambda device: shuffle_rank(spec.seed, round_number, device))
    drawn = drawn[: target if spec.reproducible else ceil(spec.over_select * target)]
    return Draw(tuple(sorted(drawn) if spec.reproducible else drawn), target, max(1, quorum))


def spares(
    spec: RunSpec,
    round_number: int,
    devices: Sequence[Device],
    asked: frozenset[DeviceId],
    manifest: Manifest,
    now: datetime,
    patience: Patience,
) -> tuple[DeviceId, ...]:
    """List the able devices that a round has not asked, best rank first."""
    able = (
        device.id
        for device in devices
        if device.id not in asked and _presence_or(device, spec, manifest, now, patience) is None
    )
    return tuple(sorted(able, key=lambda device: shuffle_rank(spec.seed, round_number, device)))


def _presence_or(
    device: Device, spec: RunSpec, manifest: Manifest, now: datetime, patience: Patience
) -> Obstacle | None:
    if found := obstacle(device, spec, manifest):
        return found
    if spec.reproducible:
        return None
    return unready(device) if is_online(device, now, patience) else Obstacle("offline", "it is offline")


def _summary(obstacles: Iterable[tuple[Device, Obstacle | None]]) -> str:
    """Count, in words: "2 are able, 3 are offline"."""
    counts = Counter("able" if found is None else found.kind for _, found in obstacles)
    words = [f"{count} {'is' if count == 1 else 'are'} {kind}" for kind, count in sorted(counts.items())]
    return ", ".join(words) or "nothing is registered"


def _mismatch(card: DatasetCard, manifest: Manifest) -> str:
    """Say how a dataset's columns differ from what the model reads; "" if they fit."""
    columns = {column.name: column for column in card.columns}
    for wanted in filter(None, (*manifest.inputs, manifest.loss.label)):
        column = columns.get(wanted.name)
        if column is None:
            known = ", ".join(sorted(columns)) or "none"
            return f"no column feeds {wanted.name} (columns: {known})"
        if (column.dtype, column.shape) != (wanted.dtype, wanted.shape):
            got = TensorSpec(column.name, column.dtype, column.shape)
            return f"{wanted.name} is {_spell(got)}, the model reads {_spell(wanted)}"
    return ""


def _spell(tensor: TensorSpec) -> str:
    return f"{tensor.dtype}[{','.join(map(str, tensor.shape))}]"
