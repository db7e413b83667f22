"""Who is drawn: the same for the same seed, spread over the fleet, and never somebody unable."""

from collections import Counter
from dataclasses import replace

from headwater_control.core.fleet import Patience
from headwater_control.core.scheduler import Draw, Shortage, draw, obstacle, spares, unready
from headwater_control.core.seeds import mix, task_seed
from headwater_wire.messages import Condition, ConditionState
from hypothesis import given
from hypothesis import strategies as st

from tests.control_plane.core.test_rounds import MODEL, SPEC, device
from tests.fakes.clock import START
from tests.fakes.offload import manifest_of

MANIFEST = manifest_of(MODEL, b"a graph")
PATIENCE = Patience(30, 180, START)
FLEET = tuple(device(f"box-{number:02}") for number in range(20))


def drawn(round_number: int, *, seed: int = 0, wanted: int = 4, reproducible: bool = False) -> Draw:
    """Draw from the fleet."""
    spec = replace(SPEC, seed=seed, clients_per_round=wanted, over_select=1.0, reproducible=reproducible)
    found = draw(spec, round_number, FLEET, MANIFEST, START, PATIENCE)
    assert isinstance(found, Draw)
    return found


def test_the_same_seed_draws_the_same_devices() -> None:
    """Another round, or another seed, draws others."""
    assert drawn(1) == drawn(1)
    assert len({drawn(number).devices for number in range(20)}) == 20
    assert drawn(1, seed=1) != drawn(1, seed=2)


def test_every_device_has_its_turn() -> None:
    """Over many rounds the draw is fair."""
    turns = Counter(name for number in range(500) for name in drawn(number).devices)
    assert len(turns) == len(FLEET)
    assert max(turns.values()) < 2 * min(turns.values())  # 100 each is expected


def test_a_reproducible_draw_is_in_the_order_of_the_names() -> None:
    """So the merge order depends on nothing but the set; the offline count too, since they come back."""
    assert list(drawn(1, reproducible=True).devices) == sorted(drawn(1, reproducible=True).devices)
    asleep = tuple(replace(box, online=False) for box in FLEET)
    spec = replace(SPEC, clients_per_round=4, reproducible=True)
    found = draw(spec, 1, asleep, MANIFEST, START, PATIENCE)
    assert found == replace(drawn(1, reproducible=True), quorum=4)
    assert isinstance(draw(replace(spec, reproducible=False), 1, asleep, MANIFEST, START, PATIENCE), Shortage)


def test_every_able_device_is_the_target_when_none_is_named() -> None:
    """`clients_per_round` 0 asks all, once each; nobody able is a shortage."""
    assert len(drawn(1, wanted=0).devices) == drawn(1, wanted=0).target == len(FLEET)
    shortage = draw(replace(SPEC, clients_per_round=0), 1, (), MANIFEST, START, PATIENCE)
    assert shortage == Shortage("waits for 1 able device; of 0 in the cohort nothing is registered")


def test_spares_leave_out_who_was_asked() -> None:
    """And who is unable."""
    asked = frozenset(box.id for box in FLEET[:15])
    engineless = tuple(replace(box, engines=()) if box is FLEET[15] else box for box in FLEET)
    found = spares(SPEC, 1, engineless, asked, MANIFEST, START, PATIENCE)
    assert set(found) == {box.id for box in FLEET[16:]}


def test_a_device_outside_the_cohort_is_unable() -> None:
    """All labels must match."""
    spec = replace(SPEC, cohort=(("kind", "cam"), ("site", "a")))
    assert obstacle(replace(FLEET[0], labels=(("site", "a"),)), spec, MANIFEST) is not None
    assert obstacle(replace(FLEET[0], labels=(("kind", "cam"), ("site", "a"), ("x", "y"))), spec, MANIFEST) is None


@given(st.integers(0, 2**63 - 1), st.integers(1, 100_000), st.integers(0, 1000))
def test_seeds_fit_the_wire_and_differ(seed: int, number: int, order: int) -> None:
    """A task's seed is a uint64 that changes with the run's seed, the round and the place in it."""
    here = task_seed(seed, number, order)
    assert 0 <= here < 2**64
    assert len({here, task_seed(seed, number + 1, order), task_seed(seed, number, order + 1)}) == 3
    assert here != task_seed(seed + 1, number, order)


def test_mixing_is_the_same_everywhere() -> None:
    """Golden values: a change of them would change every reproducible run."""
    assert mix(0) == 0xE220A8397B1DCDAF  # the first output of SplitMix64 seeded with 0, as published
    assert task_seed(0, 1, 0) == 0x91DF2B1652002E2D


def test_a_device_whose_conditions_are_not_met_is_not_asked() -> None:
    """The round's message says how many wait for what; what is only unknown does no harm."""
    hot = Condition("temperature", ConditionState.UNMET, "it has 91 °C")
    night = Condition("hours", ConditionState.UNMET, "it is Fri 14:05 there")
    dark = Condition("gpu", ConditionState.UNKNOWN)
    fleet = (
        *(replace(box, conditions=(dark, hot, night)) for box in FLEET[:2]),
        replace(FLEET[2], conditions=(hot,)),
        *(replace(box, conditions=(dark,)) for box in FLEET[3:5]),
    )
    spec = replace(SPEC, clients_per_round=0, over_select=1.0)
    found = draw(spec, 1, fleet, MANIFEST, START, PATIENCE)
    assert isinstance(found, Draw) and set(found.devices) == {box.id for box in FLEET[3:5]}
    assert not set(spares(spec, 1, fleet, frozenset(), MANIFEST, START, PATIENCE)) & {box.id for box in FLEET[:3]}
    shortage = draw(replace(spec, clients_per_round=4, quorum=1.0), 1, fleet, MANIFEST, START, PATIENCE)
    assert isinstance(shortage, Shortage)
    assert "1 is not ready to train (temperature), 2 are not ready to train (temperature, hours)" in shortage.reason
    assert isinstance(
        draw(replace(spec, clients_per_round=5, reproducible=True), 1, fleet, MANIFEST, START, PATIENCE), Draw
    )
    told = unready(fleet[0])
    assert told and told.detail == "it is not ready to train: it has 91 °C; it is Fri 14:05 there"
