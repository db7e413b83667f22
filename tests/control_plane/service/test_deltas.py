"""What becomes of a delta: exactly one is taken per task, and each refusal has its reason where a person looks."""

from dataclasses import replace

import pytest
from headwater_control.core.runs import RunSpec, TaskRecord, TaskState
from headwater_control.service import deltas, runs
from headwater_control.service.errors import NotFound
from headwater_control.service.world import World
from headwater_wire import digests
from headwater_wire.errors import DigestMismatch
from headwater_wire.ids import Digest, TaskId
from headwater_wire.messages import Evaluated, Receipt, ReceiptKind, Task, TaskReport

from tests.control_plane.service.driver import step
from tests.fakes.memory_blobs import MemoryBlobs
from tests.fakes.offload import BAD
from tests.fakes.world import METRICS, MODEL, Box


async def asked(world: World) -> tuple[Box, Task]:
    """Give a box and its open task."""
    box = await Box(world, "box-1").register()
    run = await runs.start(world, RunSpec(MODEL, "digits", rounds=1))
    await step(world, run.id)
    return box, (await box.sync()).tasks[0]


async def stored(world: World, task: Task) -> TaskRecord:
    """Read a task's row."""
    async with world.store.read() as tx:
        record = await tx.tasks.get(task.id)
    assert record is not None
    return record


async def test_a_second_upload_gets_the_first_digest(world: World) -> None:
    """Whatever bytes come later, the first committed delta counts, and the receipt names it."""
    box, task = await asked(world)
    first = await box.upload(task, b"first")
    second = await box.upload(task, b"second")
    assert first == second == Receipt(ReceiptKind.COMMITTED, digests.of_bytes(b"first").digest)
    assert (await stored(world, task)).bytes_up == len(b"first")


async def test_two_uploads_at_the_same_time_commit_one_delta(world: World) -> None:
    """When both were offered before either was sent, the one committed first counts for both."""
    box, task = await asked(world)
    offers = [(box.offer(task, data), data) for data in (b"first", b"second")]
    receipts = []
    expected = [await deltas.offer(world, offer) for offer, _ in offers]
    for (offer, data), wanted in zip(offers, expected, strict=True):
        assert isinstance(wanted, deltas.Expected)
        async with world.blobs.stage(f"{task.id}-{data.decode()}", offer.delta) as staging:
            await staging.write(data)
            receipts.append(await deltas.commit(world, offer, wanted, staging))
    assert receipts[0] == receipts[1] == Receipt(ReceiptKind.COMMITTED, digests.of_bytes(b"first").digest)


async def test_a_delta_that_comes_too_late_leaves_nothing_behind(world: World) -> None:
    """Its run was cancelled while its bytes came: the receipt says so, and they are deleted."""
    box, task = await asked(world)
    offer = box.offer(task, b"late")
    wanted = await deltas.offer(world, offer)
    assert isinstance(wanted, deltas.Expected)
    async with world.blobs.stage(task.id, offer.delta) as staging:
        await staging.write(b"late")
        await runs.cancel(world, task.run)
        assert (await deltas.commit(world, offer, wanted, staging)).kind is ReceiptKind.CANCELLED
    assert await world.blobs.size(offer.delta.digest) is None


async def test_a_delta_that_is_not_finite_fails_the_task(world: World) -> None:
    """The receipt and the task say why; nothing is stored."""
    box, task = await asked(world)
    receipt = await box.upload(task, BAD)
    assert (receipt.kind, receipt.reason) == (ReceiptKind.REFUSED, "element 2 is not finite")
    record = await stored(world, task)
    assert (record.state, record.reason) == (TaskState.FAILED, "delta refused: element 2 is not finite")
    assert isinstance(world.blobs, MemoryBlobs)
    assert BAD not in world.blobs.objects.values()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"codec": "zip"}, "coded as zip"),
        ({"delta": replace(digests.of_bytes(b"x"), size=10**9)}, "has 1000000000 bytes"),
        ({"delta": digests.of_bytes(b"")}, "has 0 bytes"),
        ({"metrics": replace(METRICS, examples=0)}, "no examples"),
        ({"metrics": replace(METRICS, train_loss=float("nan"))}, "not finite"),
        ({"metrics": replace(METRICS, holdout_correct=5)}, "contradict"),
        ({"metrics": replace(METRICS, holdout_absolute_error=float("inf"))}, "not finite"),
        ({"metrics": replace(METRICS, holdout_absolute_error=-1.0)}, "contradict"),
    ],
    ids=["codec", "too long", "empty", "no examples", "NaN loss", "impossible score", "endless error", "error below 0"],
)
async def test_an_offer_without_sense_is_refused_unseen(world: World, change: dict[str, object], said: str) -> None:
    """Before any byte is sent, the task fails with the reason."""
    box, task = await asked(world)
    receipt = await deltas.offer(world, replace(box.offer(task, b"data"), **change))  # type: ignore[arg-type]
    assert isinstance(receipt, Receipt)
    assert receipt.kind is ReceiptKind.REFUSED
    assert said in receipt.reason
    assert said in (await stored(world, task)).reason


async def test_a_delta_from_another_device_changes_nothing(world: World) -> None:
    """It is refused, and the task stays open for the one that was asked."""
    box, task = await asked(world)
    thief = await Box(world, "box-2").register()
    assert (await thief.upload(task)).kind is ReceiptKind.REFUSED
    assert (await stored(world, task)).state is TaskState.OPEN
    assert (await box.upload(task)).kind is ReceiptKind.COMMITTED


async def test_a_delta_for_an_unknown_task_is_refused(world: World) -> None:
    """The agent may then delete it."""
    box, task = await asked(world)
    receipt = await box.upload(replace(task, id=TaskId("task-of-yore")))
    assert receipt == Receipt(ReceiptKind.REFUSED, reason="there is no task task-of-yore")


async def test_a_delta_where_a_score_was_asked_is_refused(world: World) -> None:
    """An evaluate-only task takes no delta."""
    box, task = await asked(world)
    await box.upload(task)
    await step(world, task.run)
    score = (await box.sync()).tasks[0]
    assert not score.plan.train
    assert "only a score" in (await box.upload(score)).reason


async def test_no_delta_is_acknowledged_for_a_task_that_has_told_its_score(world: World) -> None:
    """Whoever offers one then has nothing of it on our disk: a receipt must not say so."""
    box, task = await asked(world)
    await box.upload(task)
    await step(world, task.run)
    score = (await box.sync()).tasks[0]
    await box.sync(TaskReport(score.id, Evaluated(METRICS)))
    assert (await stored(world, score)).state is TaskState.SUCCEEDED
    assert await box.upload(score) == Receipt(
        ReceiptKind.REFUSED, reason="it offered a delta where only a score was asked for"
    )


async def test_damaged_bytes_leave_the_task_open(world: World) -> None:
    """A wrong digest is no verdict on the training: the bytes are to be sent again."""
    box, task = await asked(world)
    offer = box.offer(task, b"what was trained")
    wanted = await deltas.offer(world, offer)
    assert isinstance(wanted, deltas.Expected)
    async with world.blobs.stage(task.id, offer.delta) as staging:
        await staging.write(b"what was 7rained")
        with pytest.raises(DigestMismatch):
            await deltas.commit(world, offer, wanted, staging)
    assert (await stored(world, task)).state is TaskState.OPEN
    assert (await box.upload(task, b"what was trained")).kind is ReceiptKind.COMMITTED


async def test_a_blob_goes_only_to_who_needs_it(world: World) -> None:
    """A device with an open task may fetch bundle, graph and base; another one, or a stranger's digest, may not."""
    box, task = await asked(world)
    other = await Box(world, "box-2").register()
    for blob in (task.bundle, task.base):
        assert await deltas.may_fetch(world, box.id, blob.digest) == task.id
        with pytest.raises(NotFound):
            await deltas.may_fetch(world, other.id, blob.digest)
    with pytest.raises(NotFound):
        await deltas.may_fetch(world, box.id, Digest("0" * 64))


async def test_bytes_sent_are_counted_for_the_task(world: World) -> None:
    """What a device fetches for a task stands in the round's figures."""
    _, task = await asked(world)
    await deltas.fetched(world, task.id, 7)
    await deltas.fetched(world, task.id, 5)
    view = await runs.show_run(world, task.run)
    assert view.rounds[0].metrics.bytes_down == 12
