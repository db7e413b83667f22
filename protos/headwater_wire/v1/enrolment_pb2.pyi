from headwater_wire.v1 import gateway_pb2 as _gateway_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Invitation(_message.Message):
    __slots__ = ("address", "fingerprint", "secret")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    address: str
    fingerprint: bytes
    secret: bytes
    def __init__(self, address: _Optional[str] = ..., fingerprint: _Optional[bytes] = ..., secret: _Optional[bytes] = ...) -> None: ...

class AnchorsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AnchorsResponse(_message.Message):
    __slots__ = ("root",)
    ROOT_FIELD_NUMBER: _ClassVar[int]
    root: bytes
    def __init__(self, root: _Optional[bytes] = ...) -> None: ...

class EnrollRequest(_message.Message):
    __slots__ = ("secret", "device", "csr", "insists")
    SECRET_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    CSR_FIELD_NUMBER: _ClassVar[int]
    INSISTS_FIELD_NUMBER: _ClassVar[int]
    secret: bytes
    device: str
    csr: bytes
    insists: bool
    def __init__(self, secret: _Optional[bytes] = ..., device: _Optional[str] = ..., csr: _Optional[bytes] = ..., insists: _Optional[bool] = ...) -> None: ...

class ChallengeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ChallengeResponse(_message.Message):
    __slots__ = ("nonce", "server_time_ms")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    nonce: bytes
    server_time_ms: int
    def __init__(self, nonce: _Optional[bytes] = ..., server_time_ms: _Optional[int] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("chain", "csr", "nonce", "signature")
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    CSR_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    chain: bytes
    csr: bytes
    nonce: bytes
    signature: bytes
    def __init__(self, chain: _Optional[bytes] = ..., csr: _Optional[bytes] = ..., nonce: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Identity(_message.Message):
    __slots__ = ("device", "chain", "root", "keys", "gateway", "broker")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    BROKER_FIELD_NUMBER: _ClassVar[int]
    device: str
    chain: bytes
    root: bytes
    keys: _gateway_pb2.KeySet
    gateway: str
    broker: str
    def __init__(self, device: _Optional[str] = ..., chain: _Optional[bytes] = ..., root: _Optional[bytes] = ..., keys: _Optional[_Union[_gateway_pb2.KeySet, _Mapping]] = ..., gateway: _Optional[str] = ..., broker: _Optional[str] = ...) -> None: ...
