"""TLS for what the control plane serves and connects to: contexts for asyncio, credentials for gRPC, kept fresh."""

import logging
import ssl
from collections.abc import Sequence
from datetime import datetime
from typing import Never

import grpc

from headwater_control.edges.ca import Authority, Leaf
from headwater_control.issuing import issued
from headwater_control.ports import CantIssue, Clock

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 3600.0


class ServerTls:
    """The servers' certificate. It is issued anew at half its life, for all that use it, without a restart."""

    def __init__(self, authority: Authority, hosts: Sequence[str], clock: Clock) -> None:
        self._authority = authority
        self._hosts = tuple(hosts)
        self._clock = clock
        self._leaf = authority.server(self._hosts, clock.now())
        self._contexts: list[ssl.SSLContext] = []

    def context(self, *, clients: bool) -> ssl.SSLContext:
        """Make a context; with `clients` only devices, and the control plane itself, get through a handshake."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._leaf.load(context)
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # our issuer vouches, not all that its root does
            context.load_verify_locations(cadata=self._authority.client_anchors.decode("ascii"))
        self._contexts.append(context)
        return context

    def credentials(self, *, clients: bool) -> grpc.ServerCredentials:
        """Make credentials for a gRPC server; `clients` as above."""
        used = self._leaf

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal used
            if used is self._leaf:  # gRPC swaps what it is given, without a lock: at every handshake, it would abort()
                return None
            used = self._leaf
            return self._configuration(clients)

        credentials: grpc.ServerCredentials = grpc.dynamic_ssl_server_credentials(
            self._configuration(clients),
            renewed,  # type: ignore[arg-type]  # None: no change, says the documentation; the stubs don't
            require_client_authentication=clients,
        )
        return credentials

    async def run(self) -> Never:
        """Renew in time, until cancelled."""
        while True:
            await self._clock.sleep(_LOOK_EVERY_S)
            try:
                await self.renew_if_due(self._clock.now())
            except (ValueError, CantIssue, OSError) as error:
                # An issuer that has ended, or is away, or no room to load what it issued: what is there goes on.
                log.error("the servers' certificate, good until %s, can't be renewed: %s", self._leaf.ends, error)

    async def renew_if_due(self, now: datetime) -> bool:
        """Issue a new certificate if the present one is past half its life; say whether that was so."""
        if not self._leaf.due(now):
            return False
        leaf = await issued(self._authority.server, self._hosts, now)
        for context in self._contexts:
            leaf.load(context)
        self._leaf = leaf
        log.info("the servers have a new certificate, until %s", f"{self._leaf.ends:%Y-%m-%d}")
        return True

    def _configuration(self, clients: bool) -> grpc.ServerCertificateConfiguration:
        anchors = self._authority.client_anchors if clients else None
        return grpc.ssl_server_certificate_configuration([(self._leaf.key, self._leaf.chain)], anchors)


class ClientTls:
    """The certificates of the control plane's own connections to a broker, one by name, kept until half their life."""

    def __init__(self, authority: Authority, clock: Clock) -> None:
        self._authority = authority
        self._clock = clock
        self._leaves: dict[str, Leaf] = {}

    async def context(self, name: str) -> ssl.SSLContext:
        """Make what a connection needs that comes as `name`, to a broker that the root vouches for."""
        now = self._clock.now()
        known = self._leaves.get(name)
        if known is None or known.due(now):
            try:
                known = self._leaves[name] = await issued(self._authority.control, name, now)
            except (ValueError, CantIssue) as error:  # as for the servers
                if known is None or now >= known.ends:
                    raise CantIssue(str(error)) from error
                log.warning("the certificate of %s, good until %s, can't be renewed: %s", name, known.ends, error)
        context = ssl.create_default_context(cadata=self._authority.root_pem.decode("ascii"))
        known.load(context)
        return context
