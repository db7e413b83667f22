"""What a model demands of a dataset, checked before anything is trained."""

import logging
from math import prod

import numpy as np
from headwater_wire.manifest import Manifest, TensorSpec
from headwater_wire.messages import Column

from headwater_agent.training.datasets import Dataset
from headwater_agent.training.errors import NotPossible

_SCAN_ROWS = 8192
_log = logging.getLogger("headwater.worker")


def check(dataset: Dataset, manifest: Manifest) -> None:
    """Raise `NotPossible` unless each model input, and the label, has its column, of its dtype and shape."""
    columns = {column.schema.name: column.schema for column in dataset.columns}
    for spec in filter(None, (*manifest.inputs, manifest.loss.label)):
        if spec.name not in columns:
            what = "the label" if spec.name == "label" else f"the model's input {spec.name!r}"
            raise NotPossible(
                f"dataset {dataset.name!r} has no column for {what} (it has {', '.join(columns)}): "
                f"declare a column named {spec.name!r} in the agent's configuration"
            )
        _check_column(columns[spec.name], spec, dataset.name, manifest.model)
    if manifest.loss.kind == "cross_entropy":
        _check_classes(dataset, manifest)


def _check_column(column: Column, spec: TensorSpec, dataset: str, model: str) -> None:
    if column.dtype != spec.dtype:
        raise NotPossible(
            f"dataset {dataset!r}: column {spec.name!r} is {column.dtype}, but model {model!r} wants {spec.dtype}: "
            f'declare dtype = "{spec.dtype}"'
        )
    if column.shape != spec.shape:
        wanted = list(spec.shape)
        fits = prod(column.shape) == prod(spec.shape)
        advice = f"declare shape = {wanted}" if fits else "this is other data than the model was made for"
        raise NotPossible(
            f"dataset {dataset!r}: column {spec.name!r} has examples of shape {list(column.shape)}, "
            f"but model {model!r} wants {wanted}: {advice}"
        )


def _check_classes(dataset: Dataset, manifest: Manifest) -> None:
    # The engine reads past its memory on a class that isn't there, and says nothing.
    classes = manifest.loss.classes
    label = next(column for column in dataset.columns if column.schema.name == "label")
    for start in range(0, dataset.count, _SCAN_ROWS):
        rows = np.arange(start, min(start + _SCAN_ROWS, dataset.count))
        values = label.take(rows)
        bad = (values < 0) | (values >= classes)
        if manifest.loss.ignore is not None:
            bad &= values != manifest.loss.ignore
        if bad.any():
            row = int(np.argmax(bad))
            _log.warning("dataset %r: the label of example %d is %s", dataset.name, start + row, values[row])
            # Neither is told to the control plane: by its number of classes a manifest could ask for labels one by one.
            raise NotPossible(
                f"dataset {dataset.name!r} has a label that model {manifest.model!r} does not know: "
                f"its classes are 0 to {classes - 1}"
            )
