"""What a run came to, in a form that two runs can be compared by."""

from headwater.records import RunDetail

from tests.support.fleet import Fleet


def digests_of(made: Fleet, detail: RunDetail) -> list[str]:
    """Digest each merged version: equal digests are equal bits."""
    return [made.parameters(found.merged) for found in detail.rounds if found.merged]


def states_of(detail: RunDetail) -> list[tuple[str, list[tuple[str, str, int]]]]:
    """What was merged: every device's task once a round, succeeded, with its examples."""
    assert detail.run.state == "completed", detail.run.reason
    return [
        (found.state, [(task.device, task.state, task.metrics.examples if task.metrics else 0) for task in found.tasks])
        for found in detail.rounds
    ]
