from headwater_wire.v1 import fleet_pb2 as _fleet_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReceiptKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RECEIPT_UNSPECIFIED: _ClassVar[ReceiptKind]
    COMMITTED: _ClassVar[ReceiptKind]
    TOO_LATE: _ClassVar[ReceiptKind]
    CANCELLED: _ClassVar[ReceiptKind]
    REFUSED: _ClassVar[ReceiptKind]
RECEIPT_UNSPECIFIED: ReceiptKind
COMMITTED: ReceiptKind
TOO_LATE: ReceiptKind
CANCELLED: ReceiptKind
REFUSED: ReceiptKind

class Metrics(_message.Message):
    __slots__ = ("examples", "train_loss", "holdout_examples", "holdout_loss", "holdout_correct", "seconds", "holdout_absolute_error")
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    TRAIN_LOSS_FIELD_NUMBER: _ClassVar[int]
    HOLDOUT_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    HOLDOUT_LOSS_FIELD_NUMBER: _ClassVar[int]
    HOLDOUT_CORRECT_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    HOLDOUT_ABSOLUTE_ERROR_FIELD_NUMBER: _ClassVar[int]
    examples: int
    train_loss: float
    holdout_examples: int
    holdout_loss: float
    holdout_correct: float
    seconds: float
    holdout_absolute_error: float
    def __init__(self, examples: _Optional[int] = ..., train_loss: _Optional[float] = ..., holdout_examples: _Optional[int] = ..., holdout_loss: _Optional[float] = ..., holdout_correct: _Optional[float] = ..., seconds: _Optional[float] = ..., holdout_absolute_error: _Optional[float] = ...) -> None: ...

class HeldTask(_message.Message):
    __slots__ = ("task", "phase")
    TASK_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    task: str
    phase: _fleet_pb2.Phase
    def __init__(self, task: _Optional[str] = ..., phase: _Optional[_Union[_fleet_pb2.Phase, str]] = ...) -> None: ...

class TaskReport(_message.Message):
    __slots__ = ("task", "failed", "rejected", "evaluated")
    TASK_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    EVALUATED_FIELD_NUMBER: _ClassVar[int]
    task: str
    failed: str
    rejected: str
    evaluated: Metrics
    def __init__(self, task: _Optional[str] = ..., failed: _Optional[str] = ..., rejected: _Optional[str] = ..., evaluated: _Optional[_Union[Metrics, _Mapping]] = ...) -> None: ...

class DeploymentReport(_message.Message):
    __slots__ = ("rollout", "model", "generation", "installed", "problem")
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    INSTALLED_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    rollout: str
    model: str
    generation: int
    installed: bool
    problem: str
    def __init__(self, rollout: _Optional[str] = ..., model: _Optional[str] = ..., generation: _Optional[int] = ..., installed: _Optional[bool] = ..., problem: _Optional[str] = ...) -> None: ...

class SyncRequest(_message.Message):
    __slots__ = ("device", "epoch", "revision", "hello_hash", "held", "reports", "deployments", "hello")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    HELLO_HASH_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENTS_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    device: str
    epoch: int
    revision: int
    hello_hash: str
    held: _containers.RepeatedCompositeFieldContainer[HeldTask]
    reports: _containers.RepeatedCompositeFieldContainer[TaskReport]
    deployments: _containers.RepeatedCompositeFieldContainer[DeploymentReport]
    hello: bytes
    def __init__(self, device: _Optional[str] = ..., epoch: _Optional[int] = ..., revision: _Optional[int] = ..., hello_hash: _Optional[str] = ..., held: _Optional[_Iterable[_Union[HeldTask, _Mapping]]] = ..., reports: _Optional[_Iterable[_Union[TaskReport, _Mapping]]] = ..., deployments: _Optional[_Iterable[_Union[DeploymentReport, _Mapping]]] = ..., hello: _Optional[bytes] = ...) -> None: ...

class SyncResponse(_message.Message):
    __slots__ = ("revision", "server_time_ms", "epoch", "hello_wanted", "heartbeat_s", "orders", "keys")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    HELLO_WANTED_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_S_FIELD_NUMBER: _ClassVar[int]
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    revision: int
    server_time_ms: int
    epoch: int
    hello_wanted: bool
    heartbeat_s: int
    orders: _containers.RepeatedCompositeFieldContainer[_fleet_pb2.SignedOrder]
    keys: SignedKeys
    def __init__(self, revision: _Optional[int] = ..., server_time_ms: _Optional[int] = ..., epoch: _Optional[int] = ..., hello_wanted: _Optional[bool] = ..., heartbeat_s: _Optional[int] = ..., orders: _Optional[_Iterable[_Union[_fleet_pb2.SignedOrder, _Mapping]]] = ..., keys: _Optional[_Union[SignedKeys, _Mapping]] = ...) -> None: ...

class SigningKey(_message.Message):
    __slots__ = ("public_key",)
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    public_key: bytes
    def __init__(self, public_key: _Optional[bytes] = ...) -> None: ...

class KeySet(_message.Message):
    __slots__ = ("keys",)
    KEYS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[SigningKey]
    def __init__(self, keys: _Optional[_Iterable[_Union[SigningKey, _Mapping]]] = ...) -> None: ...

class SignedKeys(_message.Message):
    __slots__ = ("keys", "key", "signature")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    keys: bytes
    key: str
    signature: bytes
    def __init__(self, keys: _Optional[bytes] = ..., key: _Optional[str] = ..., signature: _Optional[bytes] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("device", "digest", "offset")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    device: str
    digest: str
    offset: int
    def __init__(self, device: _Optional[str] = ..., digest: _Optional[str] = ..., offset: _Optional[int] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class Offer(_message.Message):
    __slots__ = ("device", "task", "delta", "codec", "metrics")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    device: str
    task: str
    delta: _fleet_pb2.Blob
    codec: str
    metrics: Metrics
    def __init__(self, device: _Optional[str] = ..., task: _Optional[str] = ..., delta: _Optional[_Union[_fleet_pb2.Blob, _Mapping]] = ..., codec: _Optional[str] = ..., metrics: _Optional[_Union[Metrics, _Mapping]] = ...) -> None: ...

class UploadPart(_message.Message):
    __slots__ = ("offer", "chunk")
    OFFER_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    offer: Offer
    chunk: bytes
    def __init__(self, offer: _Optional[_Union[Offer, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("kind", "digest", "reason")
    KIND_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    kind: ReceiptKind
    digest: str
    reason: str
    def __init__(self, kind: _Optional[_Union[ReceiptKind, str]] = ..., digest: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class UploadReply(_message.Message):
    __slots__ = ("resume_at", "receipt")
    RESUME_AT_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    resume_at: int
    receipt: Receipt
    def __init__(self, resume_at: _Optional[int] = ..., receipt: _Optional[_Union[Receipt, _Mapping]] = ...) -> None: ...
