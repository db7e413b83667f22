"""The SDK's door: `headwater.Client`."""

import os
from types import TracebackType
from typing import Self

from headwater.audit import Audit
from headwater.fleet import Devices, Rollouts
from headwater.models import Models, Versions
from headwater.records import Health
from headwater.runs import Runs
from headwater.transport import Transport

DEFAULT_URL = "http://127.0.0.1:8080"


class Client:
    """A control plane, by nouns: `models`, `versions`, `devices`, `runs`, `rollouts`, `audit`.

    Every error is a HeadwaterError.

    >>> with headwater.Client() as client:
    ...     run = client.runs.start(model="digits", dataset="digits", rounds=5)
    ...     print(client.runs.wait(run.id).run.version)
    """

    def __init__(self, url: str | None = None, *, timeout_s: float = 30.0) -> None:
        """Speak to `url`, else to HEADWATER_URL, else to this machine's default port. Connects on first use."""
        self._transport = Transport(url or os.environ.get("HEADWATER_URL") or DEFAULT_URL, timeout_s)
        self.models = Models(self._transport)
        self.versions = Versions(self._transport)
        self.devices = Devices(self._transport)
        self.runs = Runs(self._transport)
        self.rollouts = Rollouts(self._transport)
        self.audit = Audit(self._transport)

    @property
    def url(self) -> str:
        """Say where the control plane is taken to be."""
        return self._transport.url

    def health(self) -> Health:
        """Ask whether the control plane is ready, and which part is not."""
        return self._transport.get(Health, "/v1/health")

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
