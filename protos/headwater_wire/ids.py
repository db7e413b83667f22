"""The kinds of identifier that cross the wire, and the one rule for their spelling."""

import re
from typing import NewType

from headwater_wire.errors import Malformed

DeviceId = NewType("DeviceId", str)
RunId = NewType("RunId", str)
TaskId = NewType("TaskId", str)
RolloutId = NewType("RolloutId", str)
ModelName = NewType("ModelName", str)
VersionId = NewType("VersionId", str)
Digest = NewType("Digest", str)  # SHA-256, lowercase hex

# Safe as one MQTT topic level, one file name and one URL segment.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MODEL_MOST = 48  # so that "-" and the number of a version fit into a name
_DIGEST = re.compile(r"[0-9a-f]{64}")


def check_name(text: str, what: str) -> str:
    """Return `text` if it can name a device, model, dataset or label; else raise `Malformed` saying the rule."""
    if not _NAME.fullmatch(text):
        raise Malformed(
            f"{what} {text[:80]!r} is not a name: 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit"
        )
    return text


def check_model_name(text: str) -> ModelName:
    """Return `text` if it can name a model, whose versions' ids are names too; else raise `Malformed`."""
    if len(check_name(text, "model")) > _MODEL_MOST:
        raise Malformed(f"model {text!r} has {len(text)} characters, and may have {_MODEL_MOST}")
    return ModelName(text)


def check_digest(text: str) -> Digest:
    """Return `text` if it is a SHA-256 in lowercase hex; else raise `Malformed`."""
    if not _DIGEST.fullmatch(text):
        raise Malformed(f"{text[:80]!r} is not a SHA-256 digest in lowercase hex")
    return Digest(text)


def version_id(model: ModelName, number: int) -> VersionId:
    """Spell the id of a model's version: the first is `digits-1`."""
    return VersionId(f"{model}-{number}")
