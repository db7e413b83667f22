"""Attacks on what a box obeys, by whoever has the broker or stands between: each test is one, and fails."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from headwater_agent.core import commands as do
from headwater_agent.core import events as on
from headwater_agent.core.machine import step
from headwater_agent.core.session import Box, DatasetFact, ServerTime, Session
from headwater_agent.edges import enrolment as agent
from headwater_agent.edges.identity import Vault
from headwater_agent.edges.trust import Trust
from headwater_control.edges.keyring import Keyring
from headwater_control.service import keys
from headwater_wire import exchange, signing, topics
from headwater_wire.errors import Malformed, WireError
from headwater_wire.messages import Order, Withdrawal
from headwater_wire.signing import Forged, Signer
from headwater_wire.v1 import fleet_pb2 as fleet
from headwater_wire.v1 import gateway_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.agent_bundle import DATASET, DEVICE, task
from tests.fakes.agent_world import deployment
from tests.support.orders import HONEST, OTHER, TOPIC, assign, heard, signed
from tests.support.signing import SIGNER, STRANGER, trust
from tests.support.stronghold import stronghold

NOW = datetime(2026, 1, 5, tzinfo=UTC)
WEEK, SECOND = timedelta(days=7), timedelta(seconds=1)
FULL = 2**60
NOW_MS = 1_000_000


def session(**more: object) -> Session:
    """An agent that heard the server's time at its start."""
    ready = Session(Box(DEVICE, (DatasetFact(DATASET, "f1"),)), time=ServerTime(NOW_MS, 0.0))
    return replace(ready, **more)  # type: ignore[arg-type]


ORDERS = [HONEST, signed(Order(DEVICE, 1, Withdrawal(task().id, "x"))), signed(Order(DEVICE, 1, deployment(1)))]


# ── forged and tampered ────────────────────────────────────────────────────────────────────────────────────────


def test_an_honest_order_is_obeyed() -> None:
    """Else the refusals show nothing."""
    event = heard(HONEST.SerializeToString())
    assert event == on.Assigned(1, task())
    _, commands = step(session(), event, at_s=0.0)
    assert commands == (do.Fetch(task()),)


UNSIGNED: dict[str, Callable[[fleet.SignedOrder], fleet.SignedOrder]] = {
    "without a signature": lambda order: fleet.SignedOrder(order=order.order, key=order.key),
    "with an empty key": lambda order: fleet.SignedOrder(order=order.order, signature=order.signature),
    "with nothing but the order": lambda order: fleet.SignedOrder(order=order.order),
    "by a stranger": lambda order: STRANGER.order(fleet.Order.FromString(order.order)),
    "by a stranger under our key's name": lambda order: fleet.SignedOrder(
        order=order.order,
        key=SIGNER.id,
        signature=STRANGER.order(fleet.Order.FromString(order.order)).signature,
    ),
    "with a signature of zeros": lambda order: fleet.SignedOrder(order=order.order, key=order.key, signature=bytes(64)),
    "with a signature cut short": lambda order: fleet.SignedOrder(
        order=order.order, key=order.key, signature=order.signature[:-1]
    ),
    "with another order's signature": lambda order: fleet.SignedOrder(
        order=order.order, key=order.key, signature=signed(assign(9)).signature
    ),
}


@pytest.mark.parametrize("order", ORDERS, ids=["task", "cancel", "deployment"])
@pytest.mark.parametrize("attack", UNSIGNED)
def test_a_forged_order_is_not_obeyed(attack: str, order: fleet.SignedOrder) -> None:
    """Neither a task, nor a cancel, nor a deployment."""
    with pytest.raises(Forged):
        heard(UNSIGNED[attack](order).SerializeToString())


def test_a_bare_order_is_none() -> None:
    """What is not wrapped in a signature is not read as if it were."""
    with pytest.raises(WireError):
        heard(exchange.order_to(assign(FULL)).SerializeToString())


@given(st.sampled_from(ORDERS), st.data())
def test_no_bit_of_an_order_can_be_changed(order: fleet.SignedOrder, data: st.DataObject) -> None:
    """Whichever bit of the whole message is flipped: it is refused, or says what it said."""
    payload = bytearray(order.SerializeToString())
    place = data.draw(st.integers(0, 8 * len(payload) - 1))
    payload[place // 8] ^= 1 << place % 8
    try:
        assert heard(bytes(payload)) == heard(order.SerializeToString())
    except WireError:
        return


@given(st.binary(max_size=300))
def test_no_other_bytes_are_an_order(payload: bytes) -> None:
    """Whatever a hostile broker makes up."""
    with pytest.raises(WireError):
        heard(payload)


def test_a_huge_revision_unsigned_hides_nothing() -> None:
    """A hostile broker can't make the agent deaf to its true orders by a revision that none will ever reach."""
    with pytest.raises(Forged):
        heard(signed(assign(FULL), STRANGER).SerializeToString())
    ring = heard(fleet.SyncRing(revision=FULL).SerializeToString(), topic=topics.down(DEVICE, "sync"))
    after, commands = step(session(), ring, at_s=0.0)
    assert (after.revision, after.seen, commands) == (0, 0, (do.Sync(),)), "a ring may be made up: it only asks"
    _, commands = step(after, heard(HONEST.SerializeToString()), at_s=0.0)
    assert commands == (do.Fetch(task()),)


# ── replayed and re-targeted ───────────────────────────────────────────────────────────────────────────────────


def test_an_order_for_another_box_is_not_obeyed() -> None:
    """Its signature is good, and it is delivered on our topic, or on its own: who it is for is under the signature."""
    theirs = signed(assign(given=replace(task(), device=OTHER)))
    for topic in (TOPIC, topics.down(OTHER, "task"), topics.up(DEVICE, "hello")):
        with pytest.raises(Malformed):
            heard(theirs.SerializeToString(), topic=topic)
    inside = fleet.Order.FromString(theirs.order)
    inside.device = DEVICE
    for forged in (SIGNER.order(inside), signed(Order(OTHER, 1, Withdrawal(task().id, "x")))):
        with pytest.raises(Malformed):
            heard(forged.SerializeToString())


def test_an_older_order_again_changes_nothing() -> None:
    """Once a later state is held, what a broker kept back is ignored: a task, a cancel, a version."""
    held, _ = step(session(revision=8, seen=8), on.Assigned(9, task()), at_s=0.0)
    for replayed in (
        signed(Order(DEVICE, 3, Withdrawal(task().id, "x"))),
        signed(assign(2, task("task-2"))),
        signed(Order(DEVICE, 4, deployment(1))),
    ):
        assert step(held, heard(replayed.SerializeToString()), at_s=0.0) == (held, ())


def test_a_finished_task_again_is_not_trained_again() -> None:
    """The journal remembers it for a day beyond its deadline; after that the deadline itself says no."""
    working, _ = step(session(), heard(HONEST.SerializeToString()), at_s=0.0)
    done, _ = step(
        working, heard(signed(Order(DEVICE, 2, Withdrawal(task().id, "over"))).SerializeToString()), at_s=0.0
    )
    assert done.held == ()
    again = heard(signed(assign(2)).SerializeToString())
    assert step(done, again, at_s=0.0) == (done, ())
    late = (task().deadline_ms - NOW_MS) / 1000 + 86_401
    after, commands = step(done, again, at_s=late)
    assert (after.held, after.finished, commands) == ((), (), ())


def test_a_task_beyond_its_deadline_is_not_begun() -> None:
    """Time is the server's, carried on by the monotonic clock: to set the box's clock back revives no order."""
    late = (task().deadline_ms - NOW_MS) / 1000
    after, commands = step(session(), heard(HONEST.SerializeToString()), at_s=late)
    assert (after.held, commands) == ((), ())


def test_an_older_version_again_is_not_installed() -> None:
    """A deployment carries a generation: a broker that repeats an old one rolls nothing back."""
    newest, _ = step(session(), heard(signed(Order(DEVICE, 1, deployment(7))).SerializeToString()), at_s=0.0)
    replayed = heard(signed(Order(DEVICE, 1, deployment(6))).SerializeToString())
    assert step(newest, replayed, at_s=0.0) == (newest, ())


# ── one kind of signature as another ───────────────────────────────────────────────────────────────────────────


def test_a_key_set_s_signature_signs_no_order() -> None:
    """Bytes that are both, signed as a key set, are no order; signed as an order, they are no key set."""
    keys = SIGNER.keys()
    with pytest.raises(Forged):
        heard(fleet.SignedOrder(order=keys.keys, key=keys.key, signature=keys.signature).SerializeToString())
    with pytest.raises(Forged):
        trust().learn(pb.SignedKeys(keys=HONEST.order, key=HONEST.key, signature=HONEST.signature))
    as_order = SIGNER.order(fleet.Order.FromString(HONEST.order))
    assert as_order.signature != SIGNER.keys().signature


def test_a_key_set_that_a_stranger_vouches_for_is_not_learnt() -> None:
    """Nor one under our key's name, nor an empty one of our own; and nothing is remembered."""
    learnt: list[signing.Keys] = []
    ours = Trust({SIGNER.id: SIGNER.public}, learnt.append)
    strange = STRANGER.keys()
    empty = Signer.keys(SIGNER)
    for attack in (
        strange,
        pb.SignedKeys(keys=strange.keys, key=SIGNER.id, signature=strange.signature),
        pb.SignedKeys(keys=strange.keys, key=SIGNER.id, signature=empty.signature),
        pb.SignedKeys(keys=b"", key=SIGNER.id, signature=empty.signature),
        pb.SignedKeys(),
    ):
        with pytest.raises(Forged):
            ours.learn(attack)
    assert learnt == []
    assert heard(HONEST.SerializeToString(), by=ours) == on.Assigned(1, task())
    with pytest.raises(Forged):
        heard(signed(assign(), STRANGER).SerializeToString(), by=ours)


# ── the keys change ────────────────────────────────────────────────────────────────────────────────────────────


def test_orders_are_obeyed_through_a_rotation_and_the_old_key_s_end(tmp_path: Path) -> None:
    """An agent that syncs now and then obeys each day's orders; a week after the change the old key's no more."""
    ring = Keyring(tmp_path, NOW)
    old = ring.signer(NOW)
    agent_s = Trust({old.id: old.public}, lambda _: None)
    ring.rotate(NOW)
    for day in range(16):
        present = ring.signer(NOW + timedelta(days=day))
        agent_s.learn(present.keys())
        assert agent_s.read(signed(assign(), present)).device == DEVICE
    assert present.id != old.id
    with pytest.raises(Forged):
        agent_s.read(signed(assign(), old))
    with pytest.raises(Forged):
        agent_s.learn(old.keys())


def test_a_new_key_signs_nothing_before_it_was_announced_for_a_week(tmp_path: Path) -> None:
    """A box that syncs once a week is never surprised; and both keys are good while either may be on its way."""
    ring = Keyring(tmp_path, NOW)
    old = ring.signer(NOW)
    ring.rotate(NOW + SECOND)
    assert ring.signer(NOW + WEEK).id == old.id
    new = ring.signer(NOW + WEEK + SECOND)
    assert new.id != old.id
    learnt = Trust({old.id: old.public}, lambda _: None)
    learnt.learn(ring.signer(NOW + 2 * SECOND).keys())
    for signer in (old, new):
        assert learnt.read(signed(assign(), signer)).device == DEVICE
    assert old.public in ring.signer(NOW + 2 * WEEK).accepted
    assert ring.signer(NOW + 2 * WEEK + SECOND).accepted == (new.public,)


async def test_a_box_that_missed_every_change_recovers_by_a_renewal(tmp_path: Path) -> None:
    """Two rotations later it believes no key set, so nobody who stole its old key can mislead it: its root can."""
    async with stronghold(tmp_path / "held") as held:
        identity = await agent.enroll(await held.invite(), "box-1", ec.generate_private_key(ec.SECP256R1()))
        vault = Vault(tmp_path / "identity")
        vault.keep(identity)
        left_behind = Trust(identity.keys, vault.pin)
        for _ in range(2):
            await keys.rotate(held.world)
            await held.clock.advance(15 * 86_400)
        present = held.world.keyring.signer(held.clock.now())
        with pytest.raises(Forged):
            left_behind.learn(present.keys())
        with pytest.raises(Forged):
            left_behind.read(signed(assign(), present))
        renewed = await agent.renew(identity)
        left_behind.replace(renewed.keys)
        assert left_behind.read(signed(assign(), present)).device == DEVICE
        assert vault.load().keys == {present.id: present.public}


# ── names ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "change",
    [
        lambda order: setattr(order.assign.bundle, "digest", "../../etc/passwd"),
        lambda order: setattr(order.assign.base, "digest", "A" * 64),
        lambda order: setattr(order.assign, "id", "../../x"),
        lambda order: setattr(order.assign, "dataset", "/etc/shadow"),
        lambda order: setattr(order.assign, "base_version", "../v"),
        lambda order: setattr(order.assign, "run", "a/b"),
    ],
)
def test_no_path_comes_in_by_a_signed_order(change: Callable[[fleet.Order], None]) -> None:
    """Even the control plane's own signature lets no name be a path."""
    order = fleet.Order.FromString(HONEST.order)
    change(order)
    with pytest.raises(Malformed):
        heard(SIGNER.order(order).SerializeToString())


@pytest.mark.parametrize("field", ["rollout", "model", "version"])
def test_no_path_comes_in_by_a_signed_deployment(field: str) -> None:
    """The name of a model is a folder's: it is checked first."""
    order = exchange.order_to(Order(DEVICE, 1, deployment(1)))
    setattr(order.deploy, field, "../../current")
    with pytest.raises(Malformed):
        heard(SIGNER.order(order).SerializeToString(), topic=topics.down(DEVICE, "deployment"))
