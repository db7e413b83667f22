"""The SDK's door: `headwater.Client`."""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from headwater import credentials
from headwater.audit import Audit
from headwater.errors import Invalid
from headwater.fleet import Devices, Rollouts
from headwater.keys import Keys
from headwater.models import Models, Versions
from headwater.records import Health
from headwater.rights import WhoAmI
from headwater.runs import Runs
from headwater.tokens import Tokens
from headwater.transport import Transport

DEFAULT_URL = "http://127.0.0.1:8080"


class Client:
    """A control plane, by nouns: `models`, `versions`, `devices`, `runs`, `rollouts`, `audit`, `tokens`, `keys`.

    Every error is a HeadwaterError.

    >>> with headwater.Client() as client:
    ...     run = client.runs.start(model="digits", dataset="digits", rounds=5)
    ...     print(client.runs.wait(run.id).run.version)
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        ca: Path | str | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        """Speak to `url`, else HEADWATER_URL, else where `headwater login` was last, else this machine's default port.

        `token`, else HEADWATER_TOKEN, else the login's says who we are; it is sent over https or to this machine only.
        The server must be of the authority in the PEM file `ca`, else HEADWATER_CA, else the login's, else of one that
        this machine trusts. Connects on first use; raises `Invalid` for what can't be used.
        """
        logins = credentials.load()
        url = url or os.environ.get("HEADWATER_URL") or logins.current or DEFAULT_URL
        login = logins.login(url)
        token = token if token is not None else os.environ.get("HEADWATER_TOKEN") or login.token
        file = ca or os.environ.get("HEADWATER_CA")
        self._transport = Transport(url, timeout_s, token.strip(), certificate(file) if file else login.ca_pem)
        self.models = Models(self._transport)
        self.versions = Versions(self._transport)
        self.devices = Devices(self._transport)
        self.runs = Runs(self._transport)
        self.rollouts = Rollouts(self._transport)
        self.audit = Audit(self._transport)
        self.tokens = Tokens(self._transport)
        self.keys = Keys(self._transport)

    @property
    def url(self) -> str:
        """Say where the control plane is taken to be."""
        return self._transport.url

    def health(self) -> Health:
        """Ask whether the control plane is ready, and which part is not."""
        return self._transport.get(Health, "/v1/health")

    def whoami(self) -> WhoAmI:
        """Ask whom the control plane takes us for, and what we may do."""
        return self._transport.get(WhoAmI, "/v1/whoami")

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def certificate(ca: Path | str) -> str:
    """Read a PEM file; raise `Invalid`."""
    try:
        return Path(ca).read_text(encoding="ascii")
    except OSError as error:
        raise Invalid(f"can't read the certificate {ca}: {error.strerror}") from error
    except ValueError as error:
        raise Invalid(f"{ca} is no certificate in PEM") from error
