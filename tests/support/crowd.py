"""Many agents in one process: the agent's own core, loop and mTLS connections, over a disk and a worker in memory."""

import asyncio
import json
import logging
import re
import resource
import ssl
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from headwater_agent.core.events import Connected, Event
from headwater_agent.core.session import Box, DatasetFact, Session
from headwater_agent.core.telling import needed, progress, sync_request
from headwater_agent.edges.identity import place, tls
from headwater_agent.edges.link import Link
from headwater_agent.edges.trust import Trust
from headwater_agent.edges.uplink import _OPTIONS, GrpcUplink
from headwater_agent.effects import Effects
from headwater_agent.ports import Vitals
from headwater_agent.shell import Shell
from headwater_control.edges import ca
from headwater_control.edges.keyring import Keyring
from headwater_wire.ids import DeviceId
from headwater_wire.messages import Column, DatasetCard, Hello, Inventory, SyncAnswer, SyncRequest
from headwater_wire.signing import keys_of
from headwater_wire.v1 import gateway_pb2 as pb

from tests.fakes.agent_ports import MemoryCache, MemoryJournal, MemoryShelf, MemorySpool, ScriptedWorker

CARD = DatasetCard("noise", 100, (Column("x", "float32", (4,)), Column("label", "float32", (4,))))
_ALONE = (("grpc.use_local_subchannel_pool", 1),)  # else the channels of one process would share what each box has
_AWAY = re.compile(r"no connection to the broker .*?(\(.*\))")


@dataclass(frozen=True, slots=True)
class Where:
    """A control plane to come to, and its data directory, whose authority issues the certificates."""

    data_dir: str
    mqtt: str  # host:port
    grpc: str
    first: int
    count: int


class Papers:
    """Certificates of a control plane's own authority. One key serves all: what differs is whom it is for."""

    def __init__(self, data_dir: Path, folder: Path) -> None:
        now = datetime.now(UTC)
        self._authority = ca.embedded(data_dir / "ca", now)
        self._folder = folder
        key = ec.generate_private_key(ec.SECP256R1())
        self._key = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        self._csr = request.public_bytes(serialization.Encoding.DER)
        signed = Keyring(data_dir / "keys", now).signer(now).keys()
        self.trust = keys_of(pb.KeySet.FromString(signed.keys))

    def of(self, device: DeviceId) -> tuple[ssl.SSLContext, grpc.ChannelCredentials]:
        """Issue one; give it as MQTT and as gRPC want it."""
        chain = self._authority.device(device, self._csr, datetime.now(UTC)).chain
        root = self._authority.root_pem
        pem = self._folder / f"{device}.pem"
        pem.write_bytes(self._key + chain)
        return tls(root.decode(), pem), grpc.ssl_channel_credentials(root, self._key, chain)


class _Uplink(GrpcUplink):
    """Tells of each Sync that was answered."""

    synced: Callable[[], None]

    async def sync(self, request: SyncRequest) -> SyncAnswer:
        answer = await super().sync(request)
        self.synced()
        return answer


class Agent:
    """One box. `admitted_s`, of the monotonic clock: when it was connected, heard and had synced since `forget`."""

    def __init__(self, device: DeviceId, where: Where, papers: Papers, folder: Path) -> None:
        self.device = device
        self.admitted_s = 0.0
        self.admitted = asyncio.Event()
        self._connected = False
        trust = Trust(papers.trust, lambda _: None)
        context, credentials = papers.of(device)
        self._uplink = _Uplink(
            lambda: grpc.aio.secure_channel(where.grpc, credentials, options=(*_OPTIONS, *_ALONE)), device, trust
        )
        self._uplink.synced = self._synced
        journal = MemoryJournal()
        self._shell = Shell(Session(Box(device, (DatasetFact(CARD.name, "1", examples=100),))), journal)
        self._link = Link(
            place(where.mqtt),
            device,
            journal=journal,
            registrar=self,
            vitals=self._vitals,
            deliver=self._deliver,
            trust=trust,
            tls=lambda: context,
        )
        self._effects = Effects(
            uplink=self._uplink,
            cache=MemoryCache(folder),
            spool=MemorySpool(folder),
            worker=ScriptedWorker(wrote=b""),
            shelf=MemoryShelf(),
            link=self._link,
            journal=journal,
            datasets={},
            request=lambda: sync_request(
                self._shell.session,
                epoch=self._link.epoch,
                hello_hash=self._link.hello_hash,
                hello=self._link.unknown,
            ),
            needed=lambda ended: needed(self._shell.session, ended),
            wanted=lambda bundle: bundle.step.blobs,
        )

    async def run(self) -> None:
        """Be a box until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._shell.run(self._effects))
            tasks.create_task(self._link.run())

    def forget(self) -> None:
        """Wait to be admitted anew."""
        self._connected = False
        self.admitted.clear()

    async def hello(self, epoch: int) -> Hello:
        """Tell what it is."""
        return Hello(epoch, Inventory(hostname=self.device, cpus=1), datasets=(CARD,), engines=("portable",))

    def _vitals(self) -> Vitals:
        session = self._shell.session
        return Vitals(session.revision, progress(session, self._effects.live), session.heartbeat_s)

    async def _deliver(self, event: Event) -> None:
        if isinstance(event, Connected):
            self._connected = True
        await self._shell.deliver(event)

    def _synced(self) -> None:
        if self._connected and not self.admitted.is_set():
            self.admitted_s = time.monotonic()
            self.admitted.set()


class _Tally(logging.Handler):
    """Counts what the agents complain of, but for a control plane that is away."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.counted: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        away = _AWAY.search(said)
        self.counted[f"no connection to the broker {away[1]}" if away else said[-120:]] += 1


async def crowd(where: Where) -> None:
    """Be so many boxes, told by lines on standard input: each is answered once all have been admitted, with when."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(where.count))  # paho connects in threads: no box waits for another
    tally = _Tally()
    logging.getLogger().addHandler(tally)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    with tempfile.TemporaryDirectory() as folder:
        papers = Papers(Path(where.data_dir), Path(folder))
        numbers = range(where.first, where.first + where.count)
        agents = [Agent(DeviceId(f"box-{number:05}"), where, papers, Path(folder)) for number in numbers]
        running = [asyncio.create_task(agent.run()) for agent in agents]
        while await lines.readline():
            for agent in agents:
                await agent.admitted.wait()
            told = {"admitted_s": [agent.admitted_s for agent in agents], "said": dict(tally.counted)}
            tally.counted.clear()
            for agent in agents:
                agent.forget()
            print(json.dumps(told), flush=True)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(crowd(Where(**json.loads(sys.argv[1]))))
