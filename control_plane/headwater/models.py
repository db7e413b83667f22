"""Models and their versions, by the SDK."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from headwater.errors import Damaged, Invalid
from headwater.records import Model, ModelCheck, ModelImport, Version
from headwater.transport import OnBytes, Transport

_FORMATS = {".safetensors": "safetensors", ".npz": "npz", ".onnx": "onnx"}
_READ_TIMEOUT_S = 300.0  # the first export of a version composes its model.onnx before the first byte


class Models:
    """`client.models`"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def import_file(
        self,
        file: Path | str,
        *,
        loss: str,
        name: str | None = None,
        trainable: Sequence[str] = (),
        output: str = "",
        on_bytes: OnBytes | None = None,
    ) -> ModelImport:
        """Import an ONNX file; raise `Invalid` with the reason if it can't train. Its name is the file's by default."""
        file = Path(file)
        query = [("name", name or file.stem), ("loss", loss), ("output", output)]
        query += [("trainable", pattern) for pattern in trainable]
        return self._transport.send_file(ModelImport, "/v1/models", file, query, on_bytes)

    def check_file(
        self,
        file: Path | str,
        *,
        loss: str,
        trainable: Sequence[str] = (),
        output: str = "",
        batch_size: int = 32,
        on_bytes: OnBytes | None = None,
    ) -> ModelCheck:
        """Say what training an ONNX file would take, and keep nothing; raise `Invalid` as an import would."""
        query = [("loss", loss), ("output", output), ("batch_size", str(batch_size))]
        query += [("trainable", pattern) for pattern in trainable]
        return self._transport.send_file(ModelCheck, "/v1/models/check", Path(file), query, on_bytes)

    def list(self) -> tuple[Model, ...]:
        """List the models by name."""
        return self._transport.get_all(Model, "/v1/models")

    def show(self, name: str) -> Model:
        """Read one."""
        return self._transport.get(Model, f"/v1/models/{name}")


def export_path(version: str, to: Path | str) -> Path:
    """Say which file an export to `to` writes: in a folder it is called VERSION.onnx."""
    target = Path(to)
    return target / f"{version}.onnx" if target.is_dir() else target


class Versions:
    """`client.versions`"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, model: str) -> tuple[Version, ...]:
        """List a model's versions, oldest first."""
        return self._transport.get_all(Version, "/v1/versions", [("model", model)])

    def show(self, version: str) -> Version:
        """Read one."""
        return self._transport.get(Version, f"/v1/versions/{version}")

    def import_file(self, file: Path | str, *, model: str, on_bytes: OnBytes | None = None) -> Version:
        """Make a version of centrally retrained parameters: .safetensors or .npz by parameter name, or .onnx."""
        file = Path(file)
        form = _FORMATS.get(file.suffix.lower())
        if form is None:
            raise Invalid(f"{file} is of an unknown kind: parameters come as .safetensors, .npz or .onnx")
        query = [("model", model), ("format", form)]
        return self._transport.send_file(Version, "/v1/versions", file, query, on_bytes)

    def export(self, version: str, to: Path | str, *, on_bytes: OnBytes | None = None) -> Path:
        """Write a version's self-contained model.onnx: whole and verified, or not at all. Return its path.

        `to` is a file, replaced if it is there, or a folder that is there; missing folders above it are made.
        """
        target = export_path(version, to)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        except OSError as error:
            raise Invalid(f"can't write to {target.parent}: {error.strerror}") from error
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                self._download(version, file.write, on_bytes)
                file.flush()
                os.fchmod(file.fileno(), 0o644)  # mkstemp's 0600 is for secrets
                os.fsync(file.fileno())
            temporary.replace(target)
        except OSError as error:
            raise Invalid(f"can't write {target}: {error.strerror}") from error
        finally:
            temporary.unlink(missing_ok=True)
        return target

    def _download(self, version: str, write: Callable[[bytes], object], on_bytes: OnBytes | None) -> None:
        digest = hashlib.sha256()
        done = 0
        with self._transport.stream(f"/v1/versions/{version}/model.onnx", _READ_TIMEOUT_S) as answer:
            size = int(answer.headers["content-length"])
            wanted = answer.headers["etag"].strip('"')
            for chunk in answer.iter_bytes():
                write(chunk)
                digest.update(chunk)
                done += len(chunk)
                if on_bytes:
                    on_bytes(done, size)
        if digest.hexdigest() != wanted:
            raise Damaged(f"{version} arrived damaged ({done} of {size} bytes): export it again")
