"""The agent's console: a Unix socket in its state_dir, for root and the agent's own user; one JSON object a line."""

import asyncio
import json
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from headwater_agent.ports import AgentError

SOCKET = "agent.sock"
LINE_BYTES = 4096  # of a request
ANSWER_BYTES = 4 << 20
_PATIENCE_S = 10.0
_AT_ONCE = 8
_PEER = struct.Struct("3i")  # pid, uid, gid: struct ucred of unix(7)
_PATH_BYTES = 100  # sun_path holds 108

Request = dict[str, Any]
Answer = Callable[[Request], Awaitable[Any]]


class NobodyThere(AgentError):
    """No agent answers in this state_dir."""


class Refused(AgentError):
    """The agent said no, in a sentence."""


class Hangs(Refused):
    """The agent is there and says nothing; what it was asked for may still happen once it goes on."""


@asynccontextmanager
async def console(state: Path, answer: Answer, users: frozenset[int] | None = None) -> AsyncIterator[None]:
    """Answer whoever may ask, until the context ends. `answer` raises `Refused` or ValueError for what can't be.

    `users` may ask, by their ids: root and our own, unless it is said.

    The caller holds the state_dir for itself: a socket that lies there is a dead agent's.
    """
    busy: set[asyncio.Task[None]] = set()
    may_ask = users if users is not None else frozenset({0, os.geteuid()})

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a connection is served in a task"
        busy.add(task)
        try:
            if len(busy) <= _AT_ONCE and _user(writer.get_extra_info("socket")) in may_ask:
                await _converse(reader, writer, answer)
        except (OSError, TimeoutError, ValueError):  # gone, silent, or a line without end
            pass
        finally:
            busy.discard(task)
            writer.close()

    with _bound(state) as listening:
        server = await asyncio.start_unix_server(serve, sock=listening, limit=LINE_BYTES)
        try:
            yield
        finally:
            server.close()
            for task in busy:
                task.cancel()
            with suppress(OSError):
                (state / SOCKET).unlink()


def ask(state: Path, request: Request, *, patience_s: float = _PATIENCE_S) -> Any:
    """Ask the running agent; raise `NobodyThere`, `Hangs`, or `Refused` with its sentence."""
    line = json.dumps(request).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel, _short(state) as path:
            channel.settimeout(patience_s)
            channel.connect(path)
            channel.sendall(line)
            with channel.makefile("rb") as file:
                told = file.readline(ANSWER_BYTES)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NobodyThere(f"no agent runs in {state}") from error
    except PermissionError as error:
        raise Refused(f"{state / SOCKET} is for root and the agent's own user: run this as one of them") from error
    except (TimeoutError, BlockingIOError) as error:  # it does not even accept: so many have asked already
        raise Hangs(f"the agent in {state} does not answer within {patience_s:g} s") from error
    except OSError as error:
        raise Refused(f"the agent in {state} does not answer: {error}") from error
    try:
        reply = json.loads(told)
        if reply["ok"]:
            return reply["answer"]
        raise Refused(str(reply["error"]))
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(f"the agent in {state} ended the conversation: is it another user's?") from error


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
    while True:
        async with asyncio.timeout(_PATIENCE_S):
            line = await reader.readline()
            if not line.endswith(b"\n"):
                return
            try:
                request = json.loads(line)
                if not isinstance(request, dict):
                    raise ValueError("a request is a JSON object")
                reply = {"ok": True, "answer": await answer(request)}
            except (ValueError, RecursionError, AgentError, OSError) as error:
                reply = {"ok": False, "error": str(error)}
            writer.write(json.dumps(reply).encode() + b"\n")
            await writer.drain()


def _user(channel: socket.socket) -> int:
    """Say who is on the other side: the kernel knows (SO_PEERCRED), whatever the socket file's mode became."""
    uid: int = _PEER.unpack(channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))[1]
    return uid


@contextmanager
def _bound(state: Path) -> Iterator[socket.socket]:
    """Bind a socket of mode 0600: nobody can connect before it listens, which is after that."""
    with suppress(FileNotFoundError):
        (state / SOCKET).unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as listening:
        with _short(state) as path:
            listening.bind(path)
        (state / SOCKET).chmod(stat.S_IRUSR | stat.S_IWUSR)
        yield listening


@contextmanager
def _short(state: Path) -> Iterator[str]:
    """Name the socket so that the name fits: a long one by its folder's descriptor."""
    path = str(state / SOCKET)
    if len(os.fsencode(path)) <= _PATH_BYTES:
        yield path
        return
    folder = os.open(state, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET}"
    finally:
        os.close(folder)
