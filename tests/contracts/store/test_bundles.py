"""What every store promises of bundles."""

import pytest
from headwater_control.core.models import Bundle
from headwater_control.ports import Store
from headwater_wire.ids import ModelName

from tests.support.rows import DIGITS, add_model, blob


async def test_a_bundle_is_read_back_by_its_way_of_training(store: Store) -> None:
    """One for each way and model; added again, it is replaced."""
    plain, adam = (
        Bundle(DIGITS, way, blob(letter), (blob("1"), blob("2"))) for way, letter in (("sgd", "a"), ("adam", "b"))
    )
    async with store.write() as tx:
        await add_model(tx)
        for bundle in (plain, adam, adam):
            await tx.bundles.add(bundle)
        await tx.bundles.add(Bundle(DIGITS, "sgd", blob("c"), ()))
    async with store.read() as tx:
        assert await tx.bundles.get(DIGITS, "adam") == adam
        assert await tx.bundles.get(DIGITS, "sgd") == Bundle(DIGITS, "sgd", blob("c"), ())
        assert await tx.bundles.get(DIGITS, "adamw") is None


async def test_a_bundle_of_no_model_is_refused(store: Store) -> None:
    """The row would refer to nothing."""
    async with store.write() as tx:
        with pytest.raises(KeyError):
            await tx.bundles.add(Bundle(ModelName("nothing"), "sgd", blob("a"), ()))
