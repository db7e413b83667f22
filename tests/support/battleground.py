"""Where attacks on mosquitto take place: a broker as an operator sets it up, devices, and the control plane's part."""

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiomqtt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from headwater_control.core.identity import Certificate, Standing
from headwater_control.edges.ca import Authority
from headwater_control.edges.ca.authority import key_pem
from headwater_control.edges.clock import SystemClock
from headwater_control.edges.mosquitto import Bouncer, Kicker, RevocationList
from headwater_control.link import Link
from headwater_control.service.revocation import worthless
from headwater_control.service.roll import Roll
from headwater_control.tls import ClientTls
from headwater_wire.ids import DeviceId
from headwater_wire.topics import control_filter

from tests.fakes.memory_store import MemoryStore
from tests.support.secure_mosquitto import SecureMosquitto
from tests.support.waiting import until


@dataclass
class Ground:
    """A broker, the authority it believes, and the control plane's roll of who is shut out."""

    broker: SecureMosquitto
    authority: Authority
    folder: Path
    store: MemoryStore
    roll: Roll

    @property
    def link(self) -> Link:
        """The control plane's way in."""
        return Link("127.0.0.1", self.broker.port, tls=ClientTls(self.authority, SystemClock()).context)

    async def enrol(self, device: DeviceId) -> ssl.SSLContext:
        """Give a device its certificate."""
        context, record = certified(self.authority, device, self.authority.root_pem)
        async with self.store.write() as tx:
            await tx.members.save(Standing(device, record.issued_at))
            await tx.members.certify(record)
        return context

    async def shut_out(self, device: DeviceId, *, out: bool = True) -> None:
        """Disable a device, or enable it again."""
        now = datetime.now(UTC)
        async with self.store.write() as tx:
            await tx.members.save(Standing(device, now, disabled_at=now if out else None))
        await self.roll.look(self.store, now)

    @asynccontextmanager
    async def bouncing(self) -> AsyncIterator[None]:
        """Let the control plane keep the broker informed while the context lasts."""
        clock = SystemClock()
        bouncer = Bouncer(
            RevocationList(self.broker.folder, self.authority.revoked, self.broker.reload),
            Kicker(self.link),
            lambda: worthless(self.store, clock.now()),
            clock,
        )
        self.roll.on_bar(bouncer.cut)
        self.roll.on_change(bouncer.changed)
        signs = ("as control:bouncer", "Reloading config")
        before = [self.broker.log.count(sign) for sign in signs]
        task = asyncio.create_task(bouncer.run())
        for sign, count in zip(signs, before, strict=True):
            await until(lambda: self.broker.log.count(sign) > count, sign)  # noqa: B023 (awaited in the loop)
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def client(self, device: str, context: ssl.SSLContext, will: aiomqtt.Will | None = None) -> aiomqtt.Client:
        """Make a client as an agent would."""
        return aiomqtt.Client(
            "127.0.0.1",
            self.broker.port,
            identifier=device,
            tls_context=context,
            protocol=aiomqtt.ProtocolVersion.V5,
            will=will,
        )

    @asynccontextmanager
    async def gate(self, heard_by: str | None = None) -> AsyncIterator[list[str]]:
        """Listen as the control plane does; give what it hears: topics, in order."""
        heard: list[str] = []
        async with self.link.connect("gate") as client:
            await client.subscribe(heard_by or control_filter(self.authority.secret("share")), qos=1)
            task = asyncio.create_task(listen(client, heard))
            try:
                yield heard
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError, aiomqtt.MqttError):
                    await task


def certified(
    authority: Authority, device: DeviceId, root: bytes, ago: timedelta = timedelta()
) -> tuple[ssl.SSLContext, Certificate]:
    """Let an authority issue a certificate some time ago; give it, in a context that believes in a root."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    issued = authority.device(device, request.public_bytes(serialization.Encoding.DER), datetime.now(UTC) - ago)
    context = ssl.create_default_context(cadata=root.decode())
    with tempfile.NamedTemporaryFile() as file:
        file.write(key_pem(key) + issued.chain)
        file.flush()
        context.load_cert_chain(file.name)
    return context, issued.record


async def listen(client: aiomqtt.Client, heard: list[str]) -> None:
    """Note the topics of what comes, until the connection breaks."""
    async for message in client.messages:
        heard.append(str(message.topic))  # noqa: PERF401 (each at once, not all at the end)


async def cancelled(*tasks: asyncio.Task[None]) -> None:
    """End tasks, however they end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
