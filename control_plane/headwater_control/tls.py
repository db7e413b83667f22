"""TLS for what the control plane serves and connects to: contexts for asyncio, credentials for gRPC, kept fresh."""

import logging
import ssl
import tempfile
from collections.abc import Sequence
from datetime import datetime
from typing import Never

import grpc

from headwater_control.edges.ca import Authority, Leaf
from headwater_control.ports import Clock

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 3600.0


class ServerTls:
    """The servers' certificate. It is issued anew at half its life, for all that use it, without a restart."""

    def __init__(self, authority: Authority, hosts: Sequence[str], clock: Clock) -> None:
        self._authority = authority
        self._hosts = tuple(hosts)
        self._clock = clock
        self._issued_at = clock.now()
        self._leaf = authority.server(self._hosts, self._issued_at)
        self._contexts: list[ssl.SSLContext] = []

    def context(self, *, clients: bool) -> ssl.SSLContext:
        """Make a context; with `clients` only devices, and the control plane itself, get through a handshake."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        _load(context, self._leaf)
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
                self.renew_if_due(self._clock.now())
            except ValueError as error:  # an issuer that has ended: what is there goes on until its own end
                log.error("the servers' certificate, good until %s, can't be renewed: %s", self._leaf.ends, error)

    def renew_if_due(self, now: datetime) -> bool:
        """Issue a new certificate if the present one is past half its life; say whether that was so."""
        if now < self._issued_at + (self._leaf.ends - self._issued_at) / 2:
            return False
        self._leaf, self._issued_at = self._authority.server(self._hosts, now), now
        for context in self._contexts:
            _load(context, self._leaf)
        log.info("the servers have a new certificate, until %s", f"{self._leaf.ends:%Y-%m-%d}")
        return True

    def _configuration(self, clients: bool) -> grpc.ServerCertificateConfiguration:
        anchors = self._authority.client_anchors if clients else None
        return grpc.ssl_server_certificate_configuration([(self._leaf.key, self._leaf.chain)], anchors)


def client_context(authority: Authority, role: str, now: datetime) -> ssl.SSLContext:
    """Make what a connection of the control plane's own needs to a broker that the root vouches for."""
    context = ssl.create_default_context(cadata=authority.root_pem.decode("ascii"))
    _load(context, authority.control(role, now))
    return context


def _load(context: ssl.SSLContext, leaf: Leaf) -> None:
    """Put key and chain in: the standard library takes them from a file only, which is ours alone and gone at once."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(leaf.key + leaf.chain)
        file.flush()
        context.load_cert_chain(file.name)
