"""The agent's console: who may ask, and that nothing that is said there harms the agent."""

import asyncio
import json
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from headwater_agent.edges.console import LINE_BYTES, SOCKET, NobodyThere, Refused, ask, console
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


async def echo(request: dict[str, Any]) -> Any:
    """Answer with what was asked."""
    if request.get("ask") == "no":
        raise ValueError("it can't be done: ask for something else")
    return request


async def asked(state: Path, request: dict[str, Any]) -> Any:
    """Ask from a thread."""
    return await asyncio.to_thread(ask, state, request)


@pytest.mark.parametrize("folder", ["state", "x" * 200], ids=["short", "longer than a socket's name may be"])
async def test_a_question_is_answered(tmp_path: Path, folder: str) -> None:
    """In any folder; a refusal is a sentence; the socket is its owner's alone, and gone at the end."""
    state = tmp_path / folder
    state.mkdir()
    (state / SOCKET).touch()  # a dead agent's
    async with console(state, echo):
        assert await asked(state, {"ask": "how", "n": 1}) == {"ask": "how", "n": 1}
        with pytest.raises(Refused, match="ask for something else"):
            await asked(state, {"ask": "no"})
        assert stat.S_IMODE((state / SOCKET).stat().st_mode) == 0o600
    with pytest.raises(NobodyThere):
        await asked(state, {"ask": "how"})


async def test_a_stranger_gets_no_answer(tmp_path: Path) -> None:
    """Whatever the socket's file allows: the kernel says who asks."""
    async with console(tmp_path, echo, users=frozenset({os.geteuid() + 1})):
        with pytest.raises(Refused, match=r"ended the conversation|does not answer"):
            await asked(tmp_path, {"ask": "how"})


def said(state: Path, *lines: bytes) -> list[Any]:
    """Say lines on one connection; give what is answered until the other side hangs up, or all is answered."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(10)
        channel.connect(str(state / SOCKET))
        try:
            channel.sendall(b"".join(lines))
            channel.shutdown(socket.SHUT_WR)
            with channel.makefile("rb") as file:
                return [json.loads(line) for line in file]
        except ConnectionError:
            return []


async def test_several_questions_may_be_asked_one_after_the_other(tmp_path: Path) -> None:
    """A line each; nonsense is answered, and the next line is heard."""
    async with console(tmp_path, echo):
        replies = await asyncio.to_thread(said, tmp_path, b'{"ask": 1}\n', b"nonsense\n", b"[]\n", b'{"ask": 2}\n')
    assert [reply["ok"] for reply in replies] == [True, False, False, True]


async def test_a_line_without_end_is_not_kept(tmp_path: Path) -> None:
    """It is hung up on, and the next caller is answered."""
    async with console(tmp_path, echo):
        assert await asyncio.to_thread(said, tmp_path, b"x" * (4 * LINE_BYTES)) == []
        assert await asked(tmp_path, {}) == {}


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_whatever_is_said_the_console_lives_on(tmp_path: Path, lines: list[bytes]) -> None:
    """Any bytes: each line gets an answer or none, and then a question gets its own."""

    async def converse() -> None:
        async with console(tmp_path, echo):
            await asyncio.to_thread(said, tmp_path, *(line + b"\n" for line in lines))
            assert await asked(tmp_path, {"ask": "still there?"}) == {"ask": "still there?"}

    asyncio.run(converse())
