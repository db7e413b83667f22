"""One real fleet for the tests of the SDK and the command line: a control plane and two boxes, as processes."""

from collections.abc import Iterator

import pytest
from headwater.client import Client
from headwater.examples import digits as examples

from tests.support.fleet import Fleet, fleet, import_digits


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Start them, and import the model `digits`."""
    with fleet(tmp_path_factory.mktemp("fleet")) as running:
        _add_boxes(running)
        import_digits(running)
        running.wait_registered()
        yield running


def _add_boxes(running: Fleet) -> None:
    for number, shard in enumerate(examples.shards(2, classes_per_device=5).devices, 1):
        folder = running.folder / f"box-{number}"
        folder.mkdir()
        shard.save(folder / "digits.npz")
        toml = examples.DATASET_TOML.format(path='"digits.npz"')
        running.add(folder.name, toml, labels={"role": "edge", "box": folder.name})


@pytest.fixture(scope="module")
def client(digits: Fleet) -> Client:
    """Give the SDK's client."""
    return digits.client
