from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConditionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONDITION_STATE_UNSPECIFIED: _ClassVar[ConditionState]
    OK: _ClassVar[ConditionState]
    UNMET: _ClassVar[ConditionState]

class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PHASE_UNSPECIFIED: _ClassVar[Phase]
    ACCEPTED: _ClassVar[Phase]
    FETCHING: _ClassVar[Phase]
    TRAINING: _ClassVar[Phase]
    SPOOLED: _ClassVar[Phase]
    UPLOADING: _ClassVar[Phase]
CONDITION_STATE_UNSPECIFIED: ConditionState
OK: ConditionState
UNMET: ConditionState
PHASE_UNSPECIFIED: Phase
ACCEPTED: Phase
FETCHING: Phase
TRAINING: Phase
SPOOLED: Phase
UPLOADING: Phase

class Blob(_message.Message):
    __slots__ = ("digest", "size")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    digest: str
    size: int
    def __init__(self, digest: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class Presence(_message.Message):
    __slots__ = ("online", "epoch", "seq")
    ONLINE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    online: bool
    epoch: int
    seq: int
    def __init__(self, online: _Optional[bool] = ..., epoch: _Optional[int] = ..., seq: _Optional[int] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("epoch", "inventory", "labels", "datasets", "engines", "unconfined", "conditions")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    INVENTORY_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    ENGINES_FIELD_NUMBER: _ClassVar[int]
    UNCONFINED_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    inventory: Inventory
    labels: _containers.ScalarMap[str, str]
    datasets: _containers.RepeatedCompositeFieldContainer[Dataset]
    engines: _containers.RepeatedScalarFieldContainer[str]
    unconfined: _containers.RepeatedScalarFieldContainer[str]
    conditions: _containers.RepeatedCompositeFieldContainer[Condition]
    def __init__(self, epoch: _Optional[int] = ..., inventory: _Optional[_Union[Inventory, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., datasets: _Optional[_Iterable[_Union[Dataset, _Mapping]]] = ..., engines: _Optional[_Iterable[str]] = ..., unconfined: _Optional[_Iterable[str]] = ..., conditions: _Optional[_Iterable[_Union[Condition, _Mapping]]] = ...) -> None: ...

class Condition(_message.Message):
    __slots__ = ("name", "state", "why")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: ConditionState
    why: str
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[ConditionState, str]] = ..., why: _Optional[str] = ...) -> None: ...

class Inventory(_message.Message):
    __slots__ = ("hostname", "machine", "system", "cpus", "memory_bytes", "disk_free_bytes", "agent_version", "python_version")
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    CPUS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    PYTHON_VERSION_FIELD_NUMBER: _ClassVar[int]
    hostname: str
    machine: str
    system: str
    cpus: int
    memory_bytes: int
    disk_free_bytes: int
    agent_version: str
    python_version: str
    def __init__(self, hostname: _Optional[str] = ..., machine: _Optional[str] = ..., system: _Optional[str] = ..., cpus: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., disk_free_bytes: _Optional[int] = ..., agent_version: _Optional[str] = ..., python_version: _Optional[str] = ...) -> None: ...

class Dataset(_message.Message):
    __slots__ = ("name", "examples", "columns", "problem")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    name: str
    examples: int
    columns: _containers.RepeatedCompositeFieldContainer[Column]
    problem: str
    def __init__(self, name: _Optional[str] = ..., examples: _Optional[int] = ..., columns: _Optional[_Iterable[_Union[Column, _Mapping]]] = ..., problem: _Optional[str] = ...) -> None: ...

class Column(_message.Message):
    __slots__ = ("name", "dtype", "shape")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("task", "phase", "step", "steps", "loss", "waiting_for")
    TASK_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FOR_FIELD_NUMBER: _ClassVar[int]
    task: str
    phase: Phase
    step: int
    steps: int
    loss: float
    waiting_for: str
    def __init__(self, task: _Optional[str] = ..., phase: _Optional[_Union[Phase, str]] = ..., step: _Optional[int] = ..., steps: _Optional[int] = ..., loss: _Optional[float] = ..., waiting_for: _Optional[str] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("epoch", "revision", "progress", "hello")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    revision: int
    progress: _containers.RepeatedCompositeFieldContainer[Progress]
    hello: str
    def __init__(self, epoch: _Optional[int] = ..., revision: _Optional[int] = ..., progress: _Optional[_Iterable[_Union[Progress, _Mapping]]] = ..., hello: _Optional[str] = ...) -> None: ...

class Plan(_message.Message):
    __slots__ = ("train", "epochs", "batch_size", "learning_rate", "seed", "holdout", "threads", "codec", "momentum", "beta1", "beta2", "epsilon", "weight_decay", "clip_norm", "proximal")
    TRAIN_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    HOLDOUT_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    MOMENTUM_FIELD_NUMBER: _ClassVar[int]
    BETA1_FIELD_NUMBER: _ClassVar[int]
    BETA2_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_DECAY_FIELD_NUMBER: _ClassVar[int]
    CLIP_NORM_FIELD_NUMBER: _ClassVar[int]
    PROXIMAL_FIELD_NUMBER: _ClassVar[int]
    train: bool
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    holdout: float
    threads: int
    codec: str
    momentum: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    clip_norm: float
    proximal: float
    def __init__(self, train: _Optional[bool] = ..., epochs: _Optional[int] = ..., batch_size: _Optional[int] = ..., learning_rate: _Optional[float] = ..., seed: _Optional[int] = ..., holdout: _Optional[float] = ..., threads: _Optional[int] = ..., codec: _Optional[str] = ..., momentum: _Optional[float] = ..., beta1: _Optional[float] = ..., beta2: _Optional[float] = ..., epsilon: _Optional[float] = ..., weight_decay: _Optional[float] = ..., clip_norm: _Optional[float] = ..., proximal: _Optional[float] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("id", "run", "round", "device", "dataset", "bundle", "base", "base_version", "plan", "deadline_ms", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    id: str
    run: str
    round: int
    device: str
    dataset: str
    bundle: Blob
    base: Blob
    base_version: str
    plan: Plan
    deadline_ms: int
    labels: _containers.ScalarMap[str, str]
    def __init__(self, id: _Optional[str] = ..., run: _Optional[str] = ..., round: _Optional[int] = ..., device: _Optional[str] = ..., dataset: _Optional[str] = ..., bundle: _Optional[_Union[Blob, _Mapping]] = ..., base: _Optional[_Union[Blob, _Mapping]] = ..., base_version: _Optional[str] = ..., plan: _Optional[_Union[Plan, _Mapping]] = ..., deadline_ms: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("task", "reason")
    TASK_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    task: str
    reason: str
    def __init__(self, task: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Deployment(_message.Message):
    __slots__ = ("device", "rollout", "model", "version", "generation", "onnx", "reference", "tolerance")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ONNX_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    device: str
    rollout: str
    model: str
    version: str
    generation: int
    onnx: Blob
    reference: Blob
    tolerance: float
    def __init__(self, device: _Optional[str] = ..., rollout: _Optional[str] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., generation: _Optional[int] = ..., onnx: _Optional[_Union[Blob, _Mapping]] = ..., reference: _Optional[_Union[Blob, _Mapping]] = ..., tolerance: _Optional[float] = ...) -> None: ...

class Order(_message.Message):
    __slots__ = ("device", "revision", "assign", "cancel", "deploy")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ASSIGN_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    DEPLOY_FIELD_NUMBER: _ClassVar[int]
    device: str
    revision: int
    assign: Task
    cancel: Cancel
    deploy: Deployment
    def __init__(self, device: _Optional[str] = ..., revision: _Optional[int] = ..., assign: _Optional[_Union[Task, _Mapping]] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ..., deploy: _Optional[_Union[Deployment, _Mapping]] = ...) -> None: ...

class SignedOrder(_message.Message):
    __slots__ = ("order", "key", "signature")
    ORDER_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    order: bytes
    key: str
    signature: bytes
    def __init__(self, order: _Optional[bytes] = ..., key: _Optional[str] = ..., signature: _Optional[bytes] = ...) -> None: ...

class SyncRing(_message.Message):
    __slots__ = ("revision",)
    REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    def __init__(self, revision: _Optional[int] = ...) -> None: ...
