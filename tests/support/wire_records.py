"""Hypothesis strategies for the wire's records: whatever the contract allows."""

import hashlib
import string
from dataclasses import replace

from headwater_wire import messages as m
from headwater_wire.convert import hello_bytes
from headwater_wire.ids import DeviceId, Digest, ModelName, RolloutId, RunId, TaskId, VersionId
from headwater_wire.manifest import LOSSES, Loss, Manifest, Parameter, Step, TensorSpec
from hypothesis import strategies as st

_LETTERS = string.ascii_letters + string.digits
NAMES = st.builds(str.__add__, st.sampled_from(_LETTERS), st.text(_LETTERS + "._-", max_size=63))
DIGESTS = st.binary(min_size=32, max_size=32).map(lambda digest: Digest(digest.hex()))
COUNTS = st.integers(0, (1 << 63) - 1)
SMALL = st.integers(0, (1 << 32) - 1)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
SHAPES = st.lists(st.integers(0, 9), max_size=4).map(tuple)

DEVICE_IDS, TASK_IDS, RUN_IDS = NAMES.map(DeviceId), NAMES.map(TaskId), NAMES.map(RunId)
MODELS = NAMES.filter(lambda name: len(name) <= 48).map(ModelName)
ROLLOUTS, VERSIONS = NAMES.map(RolloutId), NAMES.map(VersionId)
PHASES = st.sampled_from(m.Phase)

BLOBS = st.builds(m.Blob, DIGESTS, COUNTS)
PLANS = st.builds(
    m.Plan,
    train=st.booleans(),
    epochs=SMALL,
    batch_size=st.integers(1, (1 << 32) - 1),
    learning_rate=NUMBERS,
    seed=COUNTS,
    holdout=st.floats(0, 1, exclude_max=True),
    threads=SMALL,
    codec=st.just("f32"),
    momentum=NUMBERS,
    beta1=NUMBERS,
    beta2=NUMBERS,
    epsilon=NUMBERS,
    weight_decay=NUMBERS,
    clip_norm=NUMBERS,
    proximal=NUMBERS,
)
LABELS = st.dictionaries(NAMES, NAMES, max_size=3).map(lambda labels: tuple(sorted(labels.items())))
DEVICE = DeviceId("box-1")  # of answers, which are for one
TASKS = st.builds(
    m.Task, TASK_IDS, RUN_IDS, SMALL, DEVICE_IDS, NAMES, BLOBS, BLOBS, VERSIONS, PLANS,
    st.integers(-(1 << 63), (1 << 63) - 1), LABELS,
)  # fmt: skip
METRICS = st.builds(m.Metrics, COUNTS, NUMBERS, COUNTS, NUMBERS, st.none() | NUMBERS, NUMBERS, st.none() | NUMBERS)
PROGRESS = st.builds(m.Progress, TASK_IDS, PHASES, COUNTS, COUNTS, NUMBERS, WORDS)
OFFERS = st.builds(m.Offer, DEVICE_IDS, TASK_IDS, BLOBS, NAMES, METRICS)
RECEIPTS = st.builds(m.Receipt, st.sampled_from(m.ReceiptKind), WORDS, WORDS)
DEPLOYMENTS = st.builds(m.Deployment, DEVICE_IDS, ROLLOUTS, MODELS, VERSIONS, COUNTS, BLOBS, BLOBS, NUMBERS)
REPORTS = st.builds(
    m.TaskReport,
    TASK_IDS,
    st.one_of(st.builds(m.Failed, WORDS), st.builds(m.Rejected, WORDS), st.builds(m.Evaluated, METRICS)),
)
ANSWERS = st.builds(
    m.SyncAnswer,
    COUNTS,
    COUNTS,
    COUNTS,
    st.booleans(),
    st.lists(TASKS.map(lambda task: replace(task, device=DEVICE)), max_size=2).map(tuple),
    st.lists(DEPLOYMENTS.map(lambda wanted: replace(wanted, device=DEVICE)), max_size=2).map(tuple),
    st.integers(1, (1 << 32) - 1),
)
BODIES: st.SearchStrategy[m.Task | m.Withdrawal | m.Deployment] = st.one_of(
    TASKS, st.builds(m.Withdrawal, TASK_IDS, WORDS), DEPLOYMENTS
)
ORDERS = st.builds(
    lambda body, revision, device: m.Order(device if isinstance(body, m.Withdrawal) else body.device, revision, body),
    BODIES,
    COUNTS,
    DEVICE_IDS,
)
INVENTORIES = st.builds(m.Inventory, WORDS, WORDS, WORDS, SMALL, COUNTS, COUNTS, WORDS, WORDS)
COLUMNS = st.builds(m.Column, WORDS, WORDS, SHAPES)
CARDS = st.builds(m.DatasetCard, NAMES, COUNTS, st.lists(COLUMNS, max_size=3).map(tuple), WORDS)

TENSORS = st.builds(TensorSpec, WORDS, st.sampled_from(["float32", "int64"]), SHAPES)


def _consecutive(shapes: list[tuple[str, tuple[int, ...]]]) -> tuple[Parameter, ...]:
    parameters: list[Parameter] = []
    place = 0
    for name, shape in shapes:
        parameters.append(Parameter(name, shape, place))
        place += parameters[-1].elements
    return tuple(parameters)


PARAMETERS = (
    st.lists(
        st.tuples(WORDS.filter(lambda name: name != "__metadata__"), SHAPES),
        min_size=1,
        max_size=6,
        unique_by=lambda item: item[0],
    )
    .map(_consecutive)
    .filter(lambda parameters: sum(p.elements for p in parameters) > 0)
)
LOSS_RECORDS = st.builds(
    Loss,
    st.sampled_from(LOSSES),
    WORDS,
    st.one_of(st.none(), TENSORS),
    COUNTS,
    st.integers(-4, 4),
    NUMBERS,
    st.one_of(st.none(), st.integers(-(1 << 62), 1 << 62)),
    st.lists(NUMBERS, max_size=3).map(tuple),
    NUMBERS,
)
STEPS = st.builds(
    Step, BLOBS, BLOBS, BLOBS, BLOBS, st.one_of(st.none(), BLOBS), WORDS, st.lists(WORDS, max_size=2).map(tuple),
    st.lists(WORDS, max_size=3).map(tuple),
)  # fmt: skip
MANIFESTS = st.builds(
    Manifest,
    MODELS,
    BLOBS,
    st.lists(TENSORS, max_size=2).map(tuple),
    st.lists(TENSORS, max_size=2).map(tuple),
    LOSS_RECORDS,
    PARAMETERS,
    st.lists(WORDS, max_size=2).map(tuple),
    STEPS,
    st.booleans(),
    st.lists(DIGESTS, max_size=2).map(tuple),
)
HELLOS = st.builds(
    m.Hello,
    COUNTS,
    INVENTORIES,
    LABELS,
    st.lists(CARDS, max_size=2).map(tuple),
    st.lists(NAMES, max_size=3).map(tuple),
    st.lists(NAMES, max_size=3).map(tuple),
)


def _showing(request: m.SyncRequest, hello: m.Hello | None) -> m.SyncRequest:
    """Have a request show a registration, under that one's hash."""
    if hello is None:
        return request
    return replace(request, hello=hello, hello_hash=hashlib.sha256(hello_bytes(hello)).hexdigest())


REQUESTS = st.builds(
    _showing,
    st.builds(
        m.SyncRequest,
        DEVICE_IDS,
        COUNTS,
        COUNTS,
        WORDS,
        st.lists(st.builds(m.HeldTask, TASK_IDS, PHASES), max_size=3).map(tuple),
        st.lists(REPORTS, max_size=3).map(tuple),
        st.lists(st.builds(m.DeploymentReport, ROLLOUTS, MODELS, COUNTS, st.booleans(), WORDS), max_size=3).map(tuple),
    ),
    st.none() | HELLOS,
)
