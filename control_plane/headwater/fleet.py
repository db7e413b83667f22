"""Devices and rollouts, by the SDK."""

import time
from collections.abc import Iterator, Mapping

from headwater.errors import Unfinished
from headwater.records import Device, DeviceDetail, Rollout, RolloutDetail
from headwater.rights import Invite, NewInvite, Standing
from headwater.transport import Transport

_POLL_S = 0.5


class Devices:
    """`client.devices`"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, labels: Mapping[str, str] | None = None) -> tuple[Device, ...]:
        """List the devices that have all of `labels`, by id."""
        query = [("label", f"{key}={value}") for key, value in (labels or {}).items()]
        return self._transport.get_all(Device, "/v1/devices", query)

    def invite(
        self,
        device: str = "",
        *,
        labels: Mapping[str, str] | None = None,
        uses: int = 1,
        ttl_s: float = 3600.0,
        host: str = "",
    ) -> NewInvite:
        """Make an invitation to enrol a box: its `token` is the line to paste there. `device`: the only id it is for.

        `host` is how the box reaches the control plane; "": by its configured name, else as this client does.
        """
        body = {"device": device, "labels": dict(labels or {}), "uses": uses, "ttl_s": ttl_s, "host": host}
        return self._transport.post(NewInvite, "/v1/invites", body)

    def invites(self) -> tuple[Invite, ...]:
        """List the invitations, newest first."""
        return self._transport.get_all(Invite, "/v1/invites")

    def uninvite(self, invite: str) -> Invite:
        """Withdraw an invitation, by its id: it admits nobody any more. Whom it let in stays."""
        return self._transport.post(Invite, f"/v1/invites/{invite}/withdraw")

    def disable(self, device: str, reason: str = "") -> Standing:
        """Shut a device out now: its connections end, its tasks and unmerged deltas are dropped."""
        return self._transport.post(Standing, f"/v1/devices/{device}/disable", {"reason": reason})

    def enable(self, device: str) -> Standing:
        """Let a device in again, with the certificate it has."""
        return self._transport.post(Standing, f"/v1/devices/{device}/enable")

    def show(self, device: str) -> DeviceDetail:
        """Read one, with its open tasks, its installs and why it is not training."""
        return self._transport.get(DeviceDetail, f"/v1/devices/{device}")


class Rollouts:
    """`client.rollouts`"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def start(self, version: str, *, to: Mapping[str, str] | None = None) -> Rollout:
        """Send a version to the devices that have all labels of `to` (none: all of them)."""
        return self._transport.post(Rollout, "/v1/rollouts", {"version": version, "labels": dict(to or {})})

    def list(self, model: str | None = None) -> tuple[Rollout, ...]:
        """List them, oldest first."""
        return self._transport.get_all(Rollout, "/v1/rollouts", [("model", model)] if model else ())

    def show(self, rollout: str) -> RolloutDetail:
        """Read one, with each device's install."""
        return self._transport.get(RolloutDetail, f"/v1/rollouts/{rollout}")

    def cancel(self, rollout: str) -> Rollout:
        """Stop it; what is installed stays."""
        return self._transport.post(Rollout, f"/v1/rollouts/{rollout}/cancel")

    def watch(self, rollout: str, *, timeout_s: float | None = None) -> Iterator[RolloutDetail]:
        """Give the rollout as it is and each time it changes, until it has ended; raise `Unfinished` after a time."""
        deadline = time.monotonic() + timeout_s if timeout_s is not None else None
        last = None
        while True:
            detail = self.show(rollout)
            if detail != last:
                yield detail
            if detail.rollout.final:
                return
            last = detail
            if deadline is not None and time.monotonic() >= deadline:
                raise Unfinished(
                    f"{rollout} has not ended in the time given: it goes on, and offline devices come later"
                )
            time.sleep(_POLL_S)

    def wait(self, rollout: str, *, timeout_s: float | None = None) -> RolloutDetail:
        """Wait until it has ended and return it."""
        *_, detail = self.watch(rollout, timeout_s=timeout_s)
        return detail
