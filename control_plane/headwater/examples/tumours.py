"""569 breast tumours of the UCI repository, 30 measures each, shipped as csv with the package (see DATA.md)."""

import argparse
import csv
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np

FEATURES = 30
CLASSES = 2


def text() -> str:
    """Read the csv: a header, then a line a tumour; the last column, "malignant", is 0 or 1."""
    return files(__package__).joinpath("tumours.csv").read_text("utf-8")


def scales() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Give each measure's mean and standard deviation: what a model needs to put them on one scale."""
    rows = list(csv.reader(text().splitlines()[1:]))
    values = np.array([row[:FEATURES] for row in rows], np.float64)
    return tuple(values.mean(axis=0).tolist()), tuple(values.std(axis=0).tolist())


def split_csv(folder: Path, clinics: int, test_share: float = 0.2, seed: int = 0) -> tuple[Path, ...]:
    """Write clinic-1.csv, clinic-2.csv … and test.csv, no line in two of them; return their paths in this order."""
    header, *lines = text().splitlines()
    order = np.random.default_rng(seed).permutation(len(lines))
    tests = round(len(order) * test_share)
    parts = {f"clinic-{number}": rows for number, rows in enumerate(np.array_split(order[tests:], clinics), 1)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in {**parts, "test": order[:tests]}.items():
        (folder / f"{name}.csv").write_text("\n".join([header, *(lines[row] for row in rows), ""]), encoding="utf-8")
    return tuple(folder / f"{name}.csv" for name in (*parts, "test"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write what the README's walk-through trains on: `python -m headwater.examples.tumours FOLDER`."""
    parser = argparse.ArgumentParser(
        prog="python -m headwater.examples.tumours",
        description="Write the tumours as clinic-1.csv, clinic-2.csv and test.csv, and a classifier as tumours.onnx.",
        epilog="example: python -m headwater.examples.tumours clinics",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where they are put; made if it isn't there")
    folder: Path = parser.parse_args(arguments).folder
    import onnx

    from headwater.examples.classifier import table_classifier

    written = split_csv(folder, clinics=2)
    mean, std = scales()
    onnx.save(table_classifier(FEATURES, CLASSES, mean=mean, std=std), folder / "tumours.onnx")
    sys.stdout.write("".join(f"{path}\n" for path in (*written, folder / "tumours.onnx")))


if __name__ == "__main__":
    main()
