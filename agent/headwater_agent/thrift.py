"""What a training may use of the box beside time and memory: threads, and disk for its checkpoints."""

from dataclasses import dataclass, replace
from pathlib import Path

from headwater_wire.messages import Plan

from headwater_agent.training.protocol import Checkpoints


@dataclass(frozen=True, slots=True)
class Thrift:
    """As [training] says it. A 0 sets no limit, or asks for no checkpoints."""

    max_threads: int = 0
    checkpoint_every_s: float = 60.0
    checkpoint_every_steps: int = 0
    keep_free_bytes: int = 0  # of the disk

    def of(self, plan: Plan) -> Plan:
        """Give a plan with no more threads than the box spares; one that leaves them to the box gets all of these."""
        if not self.max_threads or 0 < plan.threads <= self.max_threads:
            return plan
        return replace(plan, threads=self.max_threads)

    def checkpoints(self, folder: Path) -> Checkpoints | None:
        """Say how to keep them in a folder; None: not at all."""
        if not self.checkpoint_every_s and not self.checkpoint_every_steps:
            return None
        return Checkpoints(str(folder), self.checkpoint_every_s, self.checkpoint_every_steps, self.keep_free_bytes)
