"""Looks whether the control plane can be reached, as a stranger to the running agent: nothing it holds is touched."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import TypeVar

from headwater_wire.ids import DeviceId, Digest

from headwater_agent.config import Address
from headwater_agent.edges.membership import Membership
from headwater_agent.edges.uplink import open_uplink
from headwater_agent.ports import Gone, Unavailable

_CONNECT_S = 5.0
_SECOND_THOUGHTS_S = 0.5  # by TLS 1.3 a server refuses our certificate after its own handshake has ended
_NOBODY_HAS = Digest(sha256(b"headwater-agent doctor").hexdigest())
_T = TypeVar("_T")


class Unreachable(Exception):
    """It can't be reached: why, and whether the clock may be to blame."""


async def in_thread(work: Callable[[], _T]) -> _T:
    """Run in a thread that nobody waits for: a resolver may hang for minutes, and we may not."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def settle(tell: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: we gave up on it
            loop.call_soon_threadsafe(lambda: None if done.done() else tell())

    def run() -> None:
        try:
            result = work()
        except Exception as error:
            settle(lambda failure=error: done.set_exception(failure))  # type: ignore[misc]
        else:
            settle(lambda: done.set_result(result))

    threading.Thread(target=run, daemon=True, name="doctor.probe").start()
    return await done


def resolve(host: str) -> tuple[str, ...]:
    """Give a host's addresses; raise OSError."""
    return tuple(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)))


def knock(address: Address, context: ssl.SSLContext | None, speaks: str = "") -> datetime | None:
    """Connect, and shake hands, to speak a protocol (ALPN); give the end of the server's certificate.

    Raise `Unreachable`. Without a context there is no TLS, nor a certificate.
    """
    try:
        with socket.create_connection((address.host, address.port), _CONNECT_S) as plain:
            if context is None:
                return None
            if speaks:
                context.set_alpn_protocols([speaks])
            with context.wrap_socket(plain, server_hostname=address.host) as channel:
                certificate = channel.getpeercert() or {}
                channel.settimeout(_SECOND_THOUGHTS_S)
                with suppress(TimeoutError):
                    if not channel.recv(1):
                        raise Unreachable("it hangs up: is this box's certificate revoked, or the device disabled?")
                return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
    except ssl.SSLCertVerificationError as error:
        raise Unreachable(f"its certificate is not believed: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise Unreachable(f"it refuses this box's certificate, or is no TLS server: {error.reason or error}") from error
    except OSError as error:
        raise Unreachable(error.strerror or str(error) or type(error).__name__) from error


async def call_gateway(member: Membership) -> None:
    """Ask for a blob that nobody has: the gateway says so, once it knows who asks. Raise `Unreachable`."""
    async with open_uplink(
        member.gateway, DeviceId(member.device), member.trust, member.grpc_credentials, patience_s=_CONNECT_S
    ) as uplink:
        try:
            async for _ in uplink.fetch(_NOBODY_HAS, 0):
                return
        except Gone:
            return
        except Unavailable as error:
            raise Unreachable(str(error)) from error
