"""Links that break, hang, spoil, repeat and reorder, and brokers that die: the same bits as if nothing had happened."""

from pathlib import Path

import pytest
from headwater.records import Run

from tests.support.fleet import Fleet, fleet
from tests.support.links import Links
from tests.support.noise import NOISE_TOML, save_noise
from tests.support.outcomes import digests_of, states_of
from tests.support.waiting import until_now
from tests.support.wide_model import save_wide_model

pytestmark = pytest.mark.long

BOXES = ("box-1", "box-2")
SIDE = 700  # SIDE × SIDE float32 are 2 MB
DELTA_BYTES = SIDE * SIDE * 4
EPOCHS = 400
SETTINGS = {
    # A dead connection is noticed within seconds instead of minutes.
    "HEADWATER_CONTROL_PLANE__KEEPALIVE_S": "1",
    "HEADWATER_CONTROL_PLANE__PATIENCE_S": "2",
    # However fast the machine is, a box that trains is seen to: its checkpoints lie there until the delta is spooled.
    "HEADWATER_TRAINING__CHECKPOINT_EVERY_STEPS": str(EPOCHS // 10),
}
Outcome = tuple[list[str], object]


def test_whatever_the_link_does_and_though_the_broker_dies_no_bit_changes(tmp_path: Path) -> None:
    """With mTLS and mosquitto: cuts in each phase, a freeze, spoilt bytes, and `kill -9` of the broker."""
    with fleet(tmp_path, mosquitto=True, linked=True) as made:
        base = _prepared(made)
        undisturbed = _outcome(made, _started(made, base))
        assert _cut_in_each_phase(made, base) == undisturbed
        assert _frozen(made, base) == undisturbed
        assert _spoilt(made, base) == undisturbed
        assert _without_broker(made, base) == undisturbed
        assert made.deaths == []


def test_without_tls_repeated_reordered_and_spoilt_messages_change_no_bit(tmp_path: Path) -> None:
    """On loopback without TLS: packets twice and in another order, flipped bits, a broker killed."""
    with fleet(tmp_path, secure=False, linked=True) as made:
        base = _prepared(made)
        undisturbed = _outcome(made, _started(made, base))
        assert _repeated_and_reordered(made, base) == undisturbed
        assert _refused_by_digest(made, base) == undisturbed
        assert _killed_with_its_broker(made, base) == undisturbed


def _cut_in_each_phase(made: Fleet, base: str) -> Outcome:
    """Cut by RST and by FIN: when it is asked, fetching, training, spooled, uploading, merging and scoring."""
    links = _links(made)
    links.gateway.set(cut_after=DELTA_BYTES // 3, slow=4e6)
    before = links.gateway.tally
    run = _started(made, base)
    until_now(lambda: bool(_phases(made, run)), "they are asked")
    links.cut()
    until_now(lambda: _carried(links) - before.carried_bytes > DELTA_BYTES // 2, "they fetch")
    links.cut(fin=True)
    until_now(lambda: any(_files(made, "work")), "they train")
    links.cut()
    until_now(lambda: any(_files(made, "spool")), "they have spooled")
    links.cut(fin=True)
    links.gateway.set(cut_after=DELTA_BYTES // 2, fin=True)
    until_now(lambda: made.client.runs.show(run.id).run.version != base, "it is merged", 60.0)
    links.cut()
    links.heal()
    assert links.gateway.tally.cuts - before.cuts >= 2 * (3 + 2), "each delta and base came in pieces"
    return _outcome(made, run)


def _frozen(made: Fleet, base: str) -> Outcome:
    """Nobody hears that the connections are dead: both ends find out, and the deltas go on from where they were."""
    links = _links(made)
    links.gateway.set(slow=2e6)
    run = _started(made, base)
    until_now(lambda: any(_files(made, "spool")), "a delta is spooled")
    links.freeze()
    words = ("no answer within 2 s", "no connection to the broker")
    before = [_count(made, line) for line in words]
    until_now(lambda: all(_count(made, w) > n for w, n in zip(words, before, strict=True)), "both silences are noticed")
    links.thaw()
    links.heal()
    return _outcome(made, run)


def _spoilt(made: Fleet, base: str) -> Outcome:
    """TLS ends a connection of which a bit was flipped; nothing of it is believed."""
    links = _links(made)
    before = sum(link.tally.flipped for link in links.both)
    for link in links.both:
        link.set(corrupt=DELTA_BYTES // 2)
    run = _started(made, base)
    until_now(lambda: sum(link.tally.flipped for link in links.both) >= before + 3, "bits are flipped")
    links.heal()
    return _outcome(made, run)


def _without_broker(made: Fleet, base: str) -> Outcome:
    """The broker is killed when a round's tasks are out, and comes back only after the deltas are in."""
    assert made.mosquitto is not None
    run = _started(made, base)
    until_now(lambda: bool(phases := _phases(made, run)) and all(phases), "they have heard what they are asked")
    made.mosquitto.kill()
    until_now(lambda: made.client.runs.show(run.id).run.version != base, "the deltas are merged all the same")
    made.mosquitto.start()
    return _outcome(made, run)


def _repeated_and_reordered(made: Fleet, base: str) -> Outcome:
    broker = _links(made).broker
    broker.set(duplicate=0.6, reorder=0.6)
    broker.cut()  # so that registrations pass it too
    found = _outcome(made, _started(made, base))
    for _ in range(20):  # two packets must come close to each other, which is chance
        if broker.tally.duplicated > 5 and broker.tally.reordered > 0:
            break
        assert _outcome(made, _started(made, base)) == found
    assert broker.tally.duplicated > 5 and broker.tally.reordered > 0, broker.tally
    broker.heal()
    return found


def _refused_by_digest(made: Fleet, base: str) -> Outcome:
    """A bit of a delta is flipped: its SHA-256 is not the announced one, and it is sent again."""
    gateway = _links(made).gateway
    gateway.set(slow=2e6)
    run = _started(made, base)
    until_now(lambda: any(_files(made, "spool")), "a delta is spooled")
    before = _count(made, "the bytes were damaged")
    gateway.set(corrupt=DELTA_BYTES // 8)
    until_now(lambda: _count(made, "the bytes were damaged") > before, "a delta is refused by its digest")
    gateway.heal()
    return _outcome(made, run)


def _killed_with_its_broker(made: Fleet, base: str) -> Outcome:
    """The embedded broker dies with the control plane in mid-round; both come back on their ports."""
    run = _started(made, base)
    until_now(lambda: bool(_phases(made, run)), "they are asked")
    made.control.kill()
    made.deaths.clear()
    found = _outcome(made, run)
    assert made.deaths == ["control plane"]
    return found


def _prepared(made: Fleet) -> str:
    """Add the boxes with data of their own, and the model; give its first version."""
    for number, box in enumerate(BOXES):
        save_noise(made.folder / box, SIDE, examples=16, seed=number)
        made.add(box, NOISE_TOML, env=SETTINGS)
    made.wait_registered()
    save_wide_model(made.folder / "wide.onnx", SIDE)
    return made.client.models.import_file(made.folder / "wide.onnx", loss="mse").version.id


def _started(made: Fleet, base: str) -> Run:
    made.wait_registered()
    return made.client.runs.start(
        model="wide",
        dataset="noise",
        rounds=1,
        epochs=EPOCHS,
        base=base,
        seed=7,
        learning_rate=10.0,
        reproducible=True,
    )


def _outcome(made: Fleet, run: Run) -> Outcome:
    detail = made.finish(run)
    return digests_of(made, detail), states_of(detail)


def _links(made: Fleet) -> Links:
    assert made.links is not None
    return made.links


def _phases(made: Fleet, run: Run) -> list[str | None]:
    return [task.phase for found in made.client.runs.show(run.id).rounds for task in found.tasks]


def _files(made: Fleet, folder: str) -> list[Path]:
    return [path for box in made.boxes for path in (box.folder / "state" / folder).iterdir()]


def _carried(links: Links) -> int:
    return links.gateway.tally.carried_bytes


def _count(made: Fleet, words: str) -> int:
    return sum(agent.log.read_text().count(words) for agent in made.agents.values())
