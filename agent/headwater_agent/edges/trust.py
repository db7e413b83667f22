"""Whose orders this box obeys: the control plane's keys, pinned at enrolment, and those that they vouch for later."""

import logging
from collections.abc import Callable

from headwater_wire import signing
from headwater_wire.v1 import fleet_pb2 as fleet
from headwater_wire.v1 import gateway_pb2 as gateway

_log = logging.getLogger(__name__)


class Trust:
    """The pinned keys. `remember` is called with other ones, once one of them vouches for those."""

    def __init__(self, keys: signing.Keys, remember: Callable[[signing.Keys], None]) -> None:
        self._keys = dict(keys)
        self._known = signing.spelled(keys)
        self._remember = remember

    def read(self, signed: fleet.SignedOrder) -> fleet.Order:
        """Give an order that is signed; raise `Forged` or `Malformed`."""
        return signing.read_order(signed, self._keys)

    def learn(self, signed: gateway.SignedKeys) -> None:
        """Take the keys over that one of ours vouches for; raise `Forged` or `Malformed`.

        To be told what we know already, by whomever, changes nothing and needs no proof.
        """
        if signed.keys == self._known:
            return
        self.replace(signing.read_keys(signed, self._keys))

    def replace(self, keys: signing.Keys) -> None:
        """Take keys over that came with a certificate: the root vouches for whoever told them."""
        if dict(keys) != self._keys:
            _log.info("the control plane signs with other keys from now on: %s", ", ".join(sorted(keys)))
            self._remember(keys)
            self._keys, self._known = dict(keys), signing.spelled(keys)


class Gullible(Trust):
    """Believes everybody: for an agent without an identity, which speaks with its own machine only."""

    def __init__(self) -> None:
        super().__init__({}, lambda _: None)

    def read(self, signed: fleet.SignedOrder) -> fleet.Order:
        """Give an order, whoever signed it; raise `Malformed`."""
        return signing.parse_order(signed)

    def learn(self, signed: gateway.SignedKeys) -> None:
        """Need no keys."""
