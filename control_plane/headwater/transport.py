"""HTTP to the control plane: requests in, records or errors out."""

import json
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import httpx

from headwater.credentials import is_private
from headwater.decode import decode
from headwater.errors import (
    Conflict,
    Forbidden,
    HeadwaterError,
    Invalid,
    NotFound,
    Unauthenticated,
    Unexpected,
    Unreachable,
    Untrusted,
)

T = TypeVar("T")
Query = Sequence[tuple[str, str]]
OnBytes = Callable[[int, int], None]  # (so far, in all)

_CHUNK = 256 * 1024
_HEAVY_S = 900.0  # an import proves that the graph trains before it answers
_ERRORS: dict[int, type[HeadwaterError]] = {
    400: Invalid,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: Invalid,
    422: Invalid,
    429: Unauthenticated,
}


class Transport:
    """One connection pool to one control plane."""

    def __init__(self, url: str, timeout_s: float, token: str = "", ca_pem: str = "") -> None:
        self.url = url.rstrip("/")
        # No proxy from the environment: it would see the token, or be asked for what is on this machine.
        self._http = httpx.Client(
            base_url=self.url,
            timeout=httpx.Timeout(timeout_s, connect=5.0),
            trust_env=False,
            headers=_proof(self.url, token) if token else {},
            verify=_trusting(ca_pem) if self.url.lower().startswith("https:") else True,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, kind: type[T], path: str, query: Query = ()) -> T:
        """Read one record."""
        return decode(kind, self._json("GET", path, query))

    def get_all(self, kind: type[T], path: str, query: Query = ()) -> tuple[T, ...]:
        """Read a list of records."""
        return tuple(decode(kind, item) for item in self._json("GET", path, query))

    def post(self, kind: type[T], path: str, body: dict[str, Any] | None = None) -> T:
        """Ask for a change; return what it made of the thing."""
        _refuse_no_numbers(body or {})
        return decode(kind, self._json("POST", path, json_body=body))

    def send_file(self, kind: type[T], path: str, file: Path, query: Query, on_bytes: OnBytes | None) -> T:
        """Stream a file up; raise `Invalid` naming it if it can't be worked with."""
        opened, size = _open(file)

        def chunks() -> Iterator[bytes]:
            sent = 0
            while chunk := opened.read(_CHUNK):
                yield chunk
                sent += len(chunk)
                if on_bytes:
                    on_bytes(sent, size)

        headers = {"content-type": "application/octet-stream", "content-length": str(size)}
        with opened, self._mapped():
            answer = self._http.post(
                path,
                params=list(query),
                content=chunks(),
                headers=headers,
                timeout=httpx.Timeout(_HEAVY_S, connect=5.0),
            )
        try:
            return decode(kind, _body(answer))
        except Invalid as error:
            if error.fields:  # what is wrong is not the file
                raise
            raise Invalid(f"{file}: {error}") from error

    @contextmanager
    def stream(self, path: str, read_timeout_s: float) -> Iterator[httpx.Response]:
        """Open an answer of unknown length; raise `Unreachable` if it breaks."""
        with (
            self._mapped(),
            self._http.stream("GET", path, timeout=httpx.Timeout(read_timeout_s, connect=5.0)) as answer,
        ):
            if answer.is_error:
                answer.read()
                raise _problem(answer)
            yield answer

    def _json(self, method: str, path: str, query: Query = (), json_body: dict[str, Any] | None = None) -> Any:
        with self._mapped():
            answer = self._http.request(method, path, params=list(query), json=json_body)
        return _body(answer)

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except (httpx.TransportError, httpx.InvalidURL) as error:
            if distrust := _distrust(error):
                raise Untrusted(self.url, distrust) from error
            raise Unreachable(self.url, str(error) or type(error).__name__) from error


def _proof(url: str, token: str) -> dict[str, str]:
    if not is_private(url):
        raise Invalid(f"the token is sent over https, or to this machine, and {url} is neither: others could read it")
    if not (token.isascii() and token.isprintable()):
        raise Invalid("the token is damaged: copy all of it, from hw_ to its end")
    return {"authorization": f"Bearer {token}"}


def _trusting(ca_pem: str) -> ssl.SSLContext:
    """Trust that authority only; without one, those that this machine trusts."""
    try:
        return ssl.create_default_context(cadata=ca_pem or None)
    except (ssl.SSLError, ValueError) as error:
        raise Invalid(f"the certificate of the control plane's authority is no PEM: {error}") from error


def _distrust(error: BaseException | None) -> str:
    """Say what is wrong with the server's certificate, if that is why there is no connection."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__
    return ""


def _open(file: Path) -> tuple[BinaryIO, int]:
    try:
        size = file.stat().st_size
        opened = file.open("rb")
    except OSError as error:
        raise Invalid(f"can't read {file}: {error.strerror}") from error
    if not size:
        opened.close()
        raise Invalid(f"{file} is empty")
    return opened, size


def _refuse_no_numbers(body: dict[str, Any]) -> None:
    """Raise `Invalid` for NaN and infinity, which JSON can't say."""
    bad = [(name, value) for name, value in body.items() if isinstance(value, float) and not isfinite(value)]
    if bad:
        fields = tuple((name, f"{value} is no finite number") for name, value in bad)
        raise Invalid("; ".join(f"{name}: {problem}" for name, problem in fields), fields)


def _body(answer: httpx.Response) -> Any:
    if answer.is_error:
        raise _problem(answer)
    try:
        return answer.json()
    except json.JSONDecodeError as error:
        raise Unexpected(
            f"{answer.url} answered with something that is not JSON: is that the control plane?"
        ) from error


def _problem(answer: httpx.Response) -> HeadwaterError:
    """Make an error of an RFC 9457 problem."""
    try:
        problem = answer.json()
        sentence = str(problem.get("detail") or problem["title"])
        fields = tuple((str(item["field"]), str(item["problem"])) for item in problem.get("errors", ()))
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
        sentence, fields = f"the server answered {answer.status_code} {answer.reason_phrase} to {answer.url}", ()
    kind = _ERRORS.get(answer.status_code, Unexpected)
    return Invalid(sentence, fields) if kind is Invalid else kind(sentence)
