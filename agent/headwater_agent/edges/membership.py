"""This box's place in the fleet while the agent runs: what it proves itself by, whom it obeys, renewed in time."""

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from random import random
from typing import Protocol

import grpc
from headwater_wire.ids import DeviceId

from headwater_agent.config import Address, Config
from headwater_agent.core import renewal
from headwater_agent.edges.identity import Identity, NotEnrolled, Vault, place, tls
from headwater_agent.edges.trust import Gullible, Trust

_LOOK_EVERY_S = 3600.0  # the wall clock may jump, so a wait of weeks is taken in pieces
_log = logging.getLogger(__name__)


class Membership(Protocol):
    """What the connections need to know."""

    device: DeviceId
    broker: Address
    gateway: Address
    trust: Trust

    @property
    def ends(self) -> datetime | None:
        """Say until when the certificate holds; None: there is none."""

    def mqtt_tls(self) -> ssl.SSLContext | None:
        """Give what a connection to the broker proves itself by; None: no TLS, on loopback."""

    def grpc_credentials(self) -> grpc.ChannelCredentials | None:
        """Likewise, to the gateway."""

    async def keep(self, renewed: Callable[[], Awaitable[None]]) -> None:
        """Renew the certificate in time, until cancelled; tell whenever there is another."""

    def look_again(self) -> None:
        """Renew soon: the control plane signs with a key that we don't know."""


class Member:
    """An enrolled box."""

    def __init__(self, vault: Vault, identity: Identity, config: Config) -> None:
        self._vault = vault
        self._identity = identity
        self._soon = asyncio.Event()
        known = identity.control_plane
        self.device = identity.device
        self.broker = config.control_plane.broker or place(known.broker)
        self.gateway = config.control_plane.gateway or place(known.gateway)
        self.trust = Trust(identity.keys, vault.pin)

    @property
    def ends(self) -> datetime:
        """Say until when the certificate holds."""
        return self._identity.ends

    def mqtt_tls(self) -> ssl.SSLContext:
        """Give what a connection to the broker proves itself by."""
        return tls(self._identity.control_plane.root, self._vault.pem)

    def grpc_credentials(self) -> grpc.ChannelCredentials:
        """Likewise, to the gateway."""
        known = self._identity
        return grpc.ssl_channel_credentials(known.control_plane.root.encode(), known.key_pem, known.chain_pem)

    def look_again(self) -> None:
        """Renew soon."""
        self._soon.set()

    async def keep(self, renewed: Callable[[], Awaitable[None]]) -> None:
        """Renew from half life on; a box that was off for long finds that overdue, and begins with it."""
        failures = 0
        while True:
            await self._wait(failures)
            self._soon.clear()
            from headwater_agent.edges import enrolment  # only now: it brings ten megabytes

            try:
                fresh = await enrolment.renew(self._identity)
                await asyncio.to_thread(self._vault.keep, fresh)
                self.trust.replace(fresh.keys)
            except (enrolment.NoCertificate, OSError) as error:  # OSError: the disk is full
                failures += 1
                _log.warning("the certificate, good until %s, was not renewed: %s", self._until(), error)
                continue
            failures = 0
            self._identity = fresh
            _log.info("a new certificate, good until %s", self._until())
            await renewed()
            await self._at_most(_LOOK_EVERY_S)  # by a clock that is months fast the new one is due for renewal too

    async def _wait(self, failures: int) -> None:
        """Wait until the next attempt is due, or wanted."""
        begins, ends = self._identity.begins.timestamp(), self._identity.ends.timestamp()
        chance = random()  # noqa: S311 (jitter, no secret)
        if failures:
            pause_s = renewal.again_in_s(ends, time.time(), failures=failures, chance=chance)
            await self._at_most(pause_s)
            return
        while (due_s := renewal.due_in_s(begins, ends, time.time(), chance=chance)) > 0 and not self._soon.is_set():
            await self._at_most(min(due_s, _LOOK_EVERY_S))

    async def _at_most(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._soon.wait()
        except TimeoutError:
            return

    def _until(self) -> str:
        return f"{self._identity.ends:%Y-%m-%d}"


class Outsider:
    """A box without an identity, beside its control plane on one machine: nothing is proved."""

    def __init__(self, config: Config) -> None:
        told = config.control_plane
        assert told.broker is not None and told.gateway is not None, "insecure: both have defaults"
        self.device = config.agent.id
        self.broker = told.broker
        self.gateway = told.gateway
        self.trust: Trust = Gullible()
        self.ends = None

    def mqtt_tls(self) -> None:
        """Have no TLS."""

    def grpc_credentials(self) -> None:
        """Have no TLS."""

    def look_again(self) -> None:
        """Have nothing to renew."""

    async def keep(self, renewed: Callable[[], Awaitable[None]]) -> None:
        """Have nothing to renew."""
        await asyncio.Event().wait()


def membership(config: Config) -> Membership:
    """Say what this box is in the fleet; raise `NotEnrolled`."""
    if config.control_plane.insecure:
        return Outsider(config)
    vault = Vault(folder(config))
    identity = vault.load()
    if config.agent.named and config.agent.id != identity.device:
        raise NotEnrolled(
            f"agent.id is {config.agent.id!r}, but this box was enrolled as {identity.device!r}: take agent.id out of "
            "the configuration, or enrol this box again"
        )
    return Member(vault, identity, config)


def folder(config: Config) -> Path:
    """Say where the identity is."""
    return config.agent.state_dir / "identity"
