"""Effects among fakes, for tests of what each command does."""

from pathlib import Path

from headwater_agent.core import commands as do
from headwater_agent.effects import Effects
from headwater_agent.training import protocol
from headwater_agent.training.protocol import DatasetConfig
from headwater_wire import digests
from headwater_wire.ids import Digest
from headwater_wire.messages import (
    Deployment,
    SyncRequest,
    Task,
)

from tests.fakes.agent_bundle import DATASET, DEVICE, offered
from tests.fakes.agent_gateway import ScriptedGateway
from tests.fakes.agent_ports import MemoryCache, MemoryJournal, MemoryShelf, MemorySpool, QuietLink, ScriptedWorker
from tests.fakes.agent_uplink import ScriptedUplink
from tests.fakes.agent_world import METRICS, deployment

DELTA = b"delta"
DONE = protocol.Trained(METRICS, digests.of_bytes(DELTA))


class Bench:
    """Effects among fakes."""

    def __init__(self, folder: Path) -> None:
        self.uplink, self.worker, self.link = ScriptedUplink(), ScriptedWorker(wrote=DELTA), QuietLink()
        self.cache, self.spool = MemoryCache(folder), MemorySpool(folder)
        self.shelf, self.journal = MemoryShelf(), MemoryJournal()
        gateway = ScriptedGateway()
        self.task = offered(gateway, folder)
        self.cache.blobs.update(gateway.blobs)
        self.needed: frozenset[Digest] = frozenset()
        self.of_install: frozenset[Digest] = frozenset()
        self.effects = Effects(
            uplink=self.uplink,  # type: ignore[arg-type]  # it doesn't fetch: the cache is a fake too
            cache=self.cache,
            spool=self.spool,
            worker=self.worker,
            shelf=self.shelf,
            link=self.link,
            journal=self.journal,
            datasets={DATASET: DatasetConfig(DATASET, "npz", "numbers.npz", ())},
            request=lambda: SyncRequest(DEVICE, self.link.epoch, 7),
            needed=lambda ended: self.needed if ended is None else self.needed - self.of_install,
            wanted=lambda bundle: bundle.step.blobs,
            chance=lambda: 0.0,
        )

    def upload(self, task: Task) -> do.Upload:
        """Ask for the upload of the delta."""
        return do.Upload(task, 1, digests.of_bytes(DELTA), METRICS)

    def deployment(self) -> Deployment:
        """Want a version whose blobs are there."""
        onnx, reference = self.cache.put(b"onnx"), self.cache.put(b"reference")
        wanted = deployment(3)
        return Deployment(
            wanted.device, wanted.rollout, wanted.model, wanted.version, 3, onnx, reference, wanted.tolerance
        )
