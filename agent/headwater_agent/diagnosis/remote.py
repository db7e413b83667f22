"""Checks of what is reached over the network: each asks as a stranger would, and changes nothing there or here."""

import json
import socket
from datetime import UTC, datetime, timedelta

from headwater_agent.config import Address
from headwater_agent.core import findings
from headwater_agent.core.findings import Finding, failed, ok, unknown, warning
from headwater_agent.diagnosis import Patient
from headwater_agent.edges import ledger
from headwater_agent.edges.identity import place
from headwater_agent.edges.probes import Unreachable, call_gateway, in_thread, knock, resolve

_SEE = "see identity"
_REACH = "is the address right, the network up, the port let through by every firewall between?"


async def clock(patient: Patient) -> Finding:
    """Does this box's clock agree with the control plane's?"""
    told = await in_thread(lambda: _told_last(patient))
    running = patient.running
    ahead_s = running["reach"]["clock_ahead_s"] if running else None
    if patient.identity is not None:
        from headwater_agent.edges import enrolment as service

        try:
            before = datetime.now(UTC)
            server_ms = await service.server_time_ms(patient.identity.control_plane)
            now = datetime.now(UTC)
            if server_ms:
                ahead_s = (before + (now - before) / 2).timestamp() - server_ms / 1000
        except service.NoCertificate:
            pass  # told by the check of that port
    return findings.clock(ahead_s, datetime.now(UTC), told)


async def dns(patient: Patient) -> Finding:
    """Have the control plane's names addresses?"""
    hosts = sorted({address.host for address in _addresses(patient)})
    if not hosts:
        return unknown("dns", "no address is known", _SEE)
    found, lost = [], []
    for host in hosts:
        try:
            addresses = await in_thread(lambda host=host: resolve(host))  # type: ignore[misc]
            found.append(host if host in addresses else f"{host} is {', '.join(addresses)}")
        except (OSError, UnicodeError) as error:
            lost.append(f"{host}: {error.strerror if isinstance(error, socket.gaierror) else error}")
    if lost:
        return failed("dns", "; ".join(lost), "is the network up, and a name server set? (resolvectl status)")
    return ok("dns", "; ".join(found))


async def enrolment(patient: Patient) -> Finding:
    """Is the port reached where the certificate is renewed?"""
    if patient.identity is None:
        return unknown("enrolment", "no address is known", _SEE)
    from headwater_agent.edges import enrolment as service

    known = patient.identity.control_plane
    try:
        await service.server_time_ms(known)
    except service.NoCertificate as error:
        return warning("enrolment", str(error), f"the certificate can't be renewed until it is reached: {_REACH}")
    return ok("enrolment", f"{known.enrolment} answers")


async def broker(patient: Patient) -> Finding:
    """Is the broker reached, and does it believe this box? Without logging in: that would end the agent's session."""
    member = patient.member
    if member is None:
        return unknown("broker", "no address is known", _SEE)
    where = f"{member.broker.host}:{member.broker.port}"
    try:
        ends = await in_thread(lambda: knock(member.broker, member.mqtt_tls()))
    except (Unreachable, OSError) as error:
        return failed("broker", f"{where}: {error}", _REACH)
    if patient.running and not patient.running["reach"]["connected"]:
        return warning("broker", f"{where} answers, but the agent is not connected", "its log says why: journalctl")
    return ok("broker", f"{where} answers") if ends is None else _judged("broker", where, ends)


async def gateway(patient: Patient) -> Finding:
    """Does the gateway answer this box's call?"""
    member = patient.member
    if member is None:
        return unknown("gateway", "no address is known", _SEE)
    where = f"{member.gateway.host}:{member.gateway.port}"
    try:
        ends = await in_thread(lambda: knock(member.gateway, member.mqtt_tls(), "h2"))
        await call_gateway(member)
    except (Unreachable, OSError) as error:
        shut = "shut out" in str(error) or "revoked" in str(error)
        advice = "let the operator look: headwater device show; headwater device enable" if shut else _REACH
        return failed("gateway", f"{where}: {error}", advice)
    return ok("gateway", f"{where} answers") if ends is None else _judged("gateway", where, ends)


def _judged(name: str, where: str, ends: datetime) -> Finding:
    return findings.server(name, where, ends, datetime.now(UTC))


def _addresses(patient: Patient) -> list[Address]:
    member, known = patient.member, patient.identity and patient.identity.control_plane
    addresses = [member.broker, member.gateway] if member else []
    return addresses + ([place(known.enrolment)] if known else [])


def _told_last(patient: Patient) -> datetime | None:
    """Read the server's time of the last Sync that the journal knows."""
    path = patient.config.agent.state_dir / "journal.db"
    if not path.exists():
        return None
    rows, _ = ledger.inspect(path)
    try:
        server_ms = int(json.loads(rows["state"])["server_ms"])
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=server_ms) if server_ms else None
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
