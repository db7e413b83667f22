"""A client of a TLS broker by hand: what a well-behaved library would not do, and all at once."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

REFUSED = None  # by the TLS handshake
WELCOME = 0  # MQTT 5.0, 3.2.2.2
PATIENCE_S = 10.0
_HELLO = b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03abc"  # MQTT 5.0, 3.1: a clean start, as "abc"


async def knock(
    port: int,
    context: ssl.SSLContext,
    *,
    ticket: ssl.SSLSession | None = None,
    keep: list[ssl.SSLSession] | None = None,
) -> int | None:
    """Connect, and say hello; give the broker's reason code, or None if it does not get so far."""
    raw = await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port), PATIENCE_S)
    return await asyncio.to_thread(knock_on, raw, context, ticket, [] if keep is None else keep)


def knock_on(
    raw: socket.socket, context: ssl.SSLContext, ticket: ssl.SSLSession | None, keep: list[ssl.SSLSession]
) -> int | None:
    """Do so on a connection that is open already, and note the TLS session in `keep`."""
    with raw:
        try:
            with context.wrap_socket(raw, server_hostname="localhost", session=ticket) as secure:
                secure.sendall(_HELLO)
                answer = secure.recv(64)
                if secure.session is not None:
                    keep.append(secure.session)
        except (ssl.SSLError, ConnectionError):
            return REFUSED
    return answer[3] if answer else REFUSED


def last_words(port: int, context: ssl.SSLContext, sent: bytes) -> bytes:
    """Come in, send something, and give what the broker answers before it hangs up."""
    raw = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    with raw, context.wrap_socket(raw, server_hostname="localhost") as secure:
        secure.sendall(_HELLO)
        assert secure.recv(64)[3] == WELCOME
        secure.sendall(sent)
        answer = secure.recv(64)
        assert answer == b"" or secure.recv(64) == b"", "it does not hang up"
    return answer


def shown(port: int, context: ssl.SSLContext) -> bytes | None:
    """Give the certificate that the broker shows."""
    raw = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    with raw, context.wrap_socket(raw, server_hostname="localhost") as secure:
        return secure.getpeercert(binary_form=True)


@contextmanager
def insisting(port: int, context: ssl.SSLContext, inside: list[float]) -> Iterator[None]:
    """Come back as fast as can be, in a thread, while the context lasts; note each moment of being inside."""
    done = threading.Event()
    thread = threading.Thread(target=_insist, args=(port, context, inside, done))
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(PATIENCE_S)


def _insist(port: int, context: ssl.SSLContext, inside: list[float], done: threading.Event) -> None:
    while not done.is_set():
        with (
            suppress(ssl.SSLError, ConnectionError),
            socket.create_connection(("127.0.0.1", port), PATIENCE_S) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as secure,
        ):
            secure.sendall(_HELLO)
            welcomed = secure.recv(64)
            secure.settimeout(0.02)
            while welcomed and not done.is_set():
                inside.append(time.monotonic())
                with suppress(TimeoutError):
                    welcomed = secure.recv(64)
