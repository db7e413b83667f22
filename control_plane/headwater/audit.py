"""The audit log, by the SDK."""

from headwater.records import AuditEntry, AuditVerdict
from headwater.transport import Transport


class Audit:
    """`client.audit`"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, after: int | None = None, limit: int = 100) -> tuple[AuditEntry, ...]:
        """List up to `limit` (at most 1000) entries numbered above `after` (None: the newest), oldest first."""
        query = [("limit", str(limit))] + ([("after", str(after))] if after is not None else [])
        return self._transport.get_all(AuditEntry, "/v1/audit", query)

    def verify(self) -> AuditVerdict:
        """Have the control plane check that no entry was changed, taken out or put in."""
        return self._transport.get(AuditVerdict, "/v1/audit/verify")
