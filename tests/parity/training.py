"""A PyTorch network through Headwater's import, and one step of both."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from headwater_agent.training.engine import Bundle, Session
from headwater_agent.training.engines import engine
from headwater_control.compiler.importer import Imported, compile_bundle, make_bundle
from headwater_wire import manifest
from headwater_wire.ids import Digest
from headwater_wire.manifest import Manifest
from headwater_wire.tensors import open_vector
from torch import Tensor, nn

from tests.parity.case import Case

Vector = npt.NDArray[np.float32]


@dataclass
class Ours:
    """A network as a device has it: a session, its manifest, and the parameters it begins with."""

    session: Session
    manifest: Manifest
    base: Vector

    def parameters(self, vector: Vector) -> Mapping[str, Vector]:
        """Take a flat vector apart."""
        return {p.name: vector[p.offset : p.offset + p.elements].reshape(p.shape) for p in self.manifest.parameters}


def export(net: nn.Module, batch: Sequence[Tensor], path: Path, opset: int = 18) -> Path:
    """Export as a user would; parameters keep their names, since nothing is folded."""
    names = [f"input{place}" for place in range(len(batch))]
    dynamic = tuple({0: torch.export.Dim("batch")} for _ in batch)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells what torchvision would bring
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, tuple(batch), str(path), input_names=names, output_names=["output"], dynamic_shapes=dynamic,
            opset_version=opset, dynamo=True, external_data=False, verbose=False, optimize=False,
        )  # fmt: skip
    return path


def ours(
    case: Case, folder: Path, *, training: str = "sgd", trainable: Sequence[str] = (), opset: int = 18, threads: int = 1
) -> Ours:
    """Import a network, and open it with the portable engine."""
    file = export(case.net, case.batch, folder / "net.onnx", opset)
    made = make_bundle(file, folder / "bundle", "net", case.loss, trainable or case.trainable)
    base_path = made.parameters_path
    if training != "sgd":
        graph = manifest.parse(made.manifest_path.read_bytes()).graph
        made = compile_bundle(
            made.manifest_path, folder / "bundle" / "blobs" / graph.digest, training, folder / "other"
        )
    return opened(made, base_path, threads)


def opened(made: Imported, base_path: Path, threads: int = 1) -> Ours:
    """Open a bundle, and read the parameters it begins with."""
    description = manifest.parse(made.manifest_path.read_bytes())
    with open_vector(base_path, description) as floats:
        base = floats.load()
    session = engine("portable").open(Bundle(description, _files(made)), threads)
    return Ours(session, description, base)


def batch_of(case: Case) -> tuple[dict[str, npt.NDArray[np.generic]], Tensor]:
    """Give the batch as ours, and the label as PyTorch's; it is the same each time."""
    torch.manual_seed(1)
    with torch.no_grad():
        label = case.label(case.net(*case.batch))
    feed = {f"input{place}": values.numpy() for place, values in enumerate(case.batch)}
    return {**feed, "label": label.numpy()}, label


def loss_of(case: Case, label: Tensor) -> Tensor:
    """Compute PyTorch's loss."""
    return case.loss_of(case.net(*case.batch), label)


def _files(made: Imported) -> dict[Digest, Path]:
    return {Digest(path.name): path for path in made.blob_paths}
