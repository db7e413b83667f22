"""The real training child, in which a graph has taken over: run as `python agent_taken_over.py` with its options.

All is the agent's own but the training itself. What it could do beyond that, it notes in `log` beside its delta.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from headwater_agent.training import worker
from headwater_agent.training.protocol import Stepped, Train, Trained
from headwater_wire import codecs, digests
from headwater_wire.messages import Metrics

ELEMENTS, HUGE, SECRET = 6, 1e6, 0x5EC2E7


def _evil(self: object, job: Train, say: Callable[[Stepped], None]) -> Trained:
    """Say all there is to say, and leave a delta that no floor allows; try to be there when it is protected."""
    delta = Path(job.delta_path)
    say(Stepped(SECRET, SECRET, float(SECRET)))
    done = []
    for name in ("guarded", "spool"):
        try:
            (delta.parents[1] / name / "planted").touch()
            done.append(name)
        except OSError:
            pass
    delta.with_name("log").write_text(" ".join(done))
    codecs.write_delta(delta, np.full(ELEMENTS, HUGE, np.float32))
    said = Metrics(SECRET, SECRET, SECRET, SECRET, SECRET, SECRET, SECRET)
    return Trained(said, digests.of_file(delta))


def main() -> None:
    """Be the worker; NumPy is here before it has confined itself, on a single thread."""
    from headwater_agent.training.desk import Desk

    Desk._train = _evil  # type: ignore[method-assign]
    worker.main()


if __name__ == "__main__":
    main()
