"""The fault proxy does what it says, and nothing else."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faults.__main__ import main
from tests.faults.commands import obey
from tests.faults.faults import Faults, changed
from tests.faults.packets import Packets
from tests.faults.proxy import Proxy, proxy
from tests.support.waiting import until

PACKETS = st.lists(
    st.builds(
        lambda kind, body: bytes([kind << 4 | (2 if kind == 3 else 0)]) + _varint(len(body)) + body,
        st.sampled_from([1, 3, 3, 3, 4, 12]),
        st.binary(max_size=200),
    )
)


async def test_what_is_carried_is_the_same_bytes_at_the_speed_that_was_asked_for() -> None:
    """Without faults every byte arrives; a slow link carries no more than it says, with its latency before."""
    async with _echo() as (running, connect):
        reader, writer = await connect()
        data = bytes(range(256)) * 4000
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        running.set(Faults(slow=200_000, latency_s=0.05, jitter_s=0.01))
        began_s = asyncio.get_running_loop().time()
        writer.write(bytes(20_000))
        assert await reader.readexactly(20_000) == bytes(20_000)
        assert asyncio.get_running_loop().time() - began_s > 2 * (20_000 / 200_000) / 2 + 2 * 0.05
        writer.write_eof()
        assert await reader.read() == b""
        await until(lambda: running.tally.live == 0, "the end is passed on")


async def test_a_cut_is_hard_or_in_good_order() -> None:
    """RST is an error to whoever reads, FIN an end; after so many bytes it comes by itself."""
    async with _echo() as (running, connect):
        reader, writer = await connect()
        writer.write(b"hello")
        await reader.readexactly(5)
        assert running.cut() == 1
        with pytest.raises(ConnectionResetError):
            await reader.read()
        reader, writer = await connect()
        writer.write(b"hello")
        await reader.readexactly(5)
        assert running.cut(fin=True) == 1
        assert await reader.read() == b""
        running.set(Faults(cut_after=30_000))
        reader, writer = await connect()
        writer.write(bytes(100_000))
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(100_000)
        assert running.tally.cuts == 3


async def test_a_frozen_link_accepts_and_forwards_nothing_until_it_thaws() -> None:
    """Nobody hears an end; what was sent meanwhile comes after it."""
    async with _echo() as (running, connect):
        old, old_writer = await connect()
        old_writer.write(b"1")
        assert await old.readexactly(1) == b"1"
        running.set(Faults(frozen=True))
        new, new_writer = await connect()
        old_writer.write(b"2")
        new_writer.write(b"3")
        await until(lambda: running.tally.live == 2, "it is accepted")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await asyncio.wait([asyncio.ensure_future(end.read(1)) for end in (old, new)])
        assert running.tally.carried_bytes == 2
    async with _echo(Faults(frozen=True)) as (running, connect):
        reader, writer = await connect()
        writer.write(b"4")
        running.set(Faults())
        assert await reader.readexactly(1) == b"4"


async def test_bits_are_flipped_about_as_often_as_was_asked_for() -> None:
    """Each flip is one bit; the length stays."""
    async with _echo(Faults(corrupt=10_000)) as (running, connect):
        reader, writer = await connect()
        writer.write(bytes(400_000))
        came = await reader.readexactly(400_000)
        wrong = sum(byte.bit_count() for byte in came)
        assert 0 < wrong <= running.tally.flipped
        assert 40 <= running.tally.flipped <= 160, "two directions of 400 kB"


@given(PACKETS, st.data(), st.integers(0, 9))
def test_packets_are_repeated_and_reordered_whole(packets: list[bytes], data: st.DataObject, seed: int) -> None:
    """However the bytes come, each packet passes at least once; only PUBLISH comes twice, or behind its successor."""
    stream, faults = b"".join(packets), Faults(duplicate=0.5, reorder=0.5)
    made, passed = Packets(Random(seed)), b""
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        passed += made.feed(stream[:size], faults)
        stream = stream[size:]
    passed += made.release()
    found = list(_split(passed))
    again = [packet for packet in found if packet[0] & 0x08]
    assert len(again) == made.duplicated
    once = [packet for packet in found if not packet[0] & 0x08]
    assert sorted(once) == sorted(packets)
    assert [p for p in once if p[0] >> 4 != 3] == [p for p in packets if p[0] >> 4 != 3]
    if not made.reordered:
        assert [p for p in once if p[0] >> 4 == 3] == [p for p in packets if p[0] >> 4 == 3]


async def test_a_person_may_say_it_in_words() -> None:
    """A command changes one fault; nonsense is told, with what may be said; packets need MQTT."""
    async with _echo() as (running, _):
        assert "slow 64000.0" in obey(running, "slow 64kB/s\n")
        assert "latency_s 0.1" in obey(running, "latency 100ms")
        assert obey(running, "heal") == "no faults"
        assert obey(running, "cut").startswith("cut 0")
        assert "connections 0" in obey(running, "status")
        for line in ("slow fast", "melt", "wobble 3"):
            with pytest.raises(ValueError, match=r"is no|there is no fault"):
                obey(running, line)
        with pytest.raises(ValueError, match="--mqtt"):
            obey(running, "duplicate 0.5")
    assert changed(Faults(), "cut-after", "1MB").cut_after == 1_000_000


def test_the_command_line_tells_its_port_and_obeys() -> None:
    """It prints where it listens, answers commands, and ends at `quit`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "--to", "127.0.0.1:9", "--slow", "1kB/s"],
        input="status\nfreeze\nnonsense\nquit\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith("127.0.0.1:")
    assert lines[1].startswith("slow 1000.0; connections 0")
    assert lines[2:] == ["slow 1000.0, frozen True", "'nonsense' is no command: `help` lists them"]


@pytest.mark.parametrize("said", ["", "slow 5k\nquit\nstatus\n"], ids=["nothing", "a file"])
def test_its_input_may_be_a_file(tmp_path: Path, said: str) -> None:
    """From a script, or /dev/null: it carries on until it is told to end, or killed."""
    orders = tmp_path / "orders"
    orders.write_text(said)
    command = [sys.executable, "-m", "tests.faults", "--to", "127.0.0.1:9"]
    with (
        (orders if said else Path("/dev/null")).open() as input_,
        subprocess.Popen(
            command, stdin=input_, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        ) as run,
    ):
        assert run.stdout is not None
        assert run.stdout.readline().startswith("127.0.0.1:")
        if said:
            assert run.stdout.readline() == "slow 5000.0\n"
            assert run.wait(30) == 0
        else:
            run.terminate()
            assert run.wait(30) == -signal.SIGTERM


@pytest.mark.parametrize("wrong", [["--listen", "127.0.0.1:99999"], ["--to", "127.0.0.1:65536"], ["--slow", "5x"]])
def test_what_makes_no_sense_is_told_in_a_sentence(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """By exit code 2, as of any other command line."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit, match="2"):
        patch.setattr("sys.argv", ["faults", "--to", "127.0.0.1:9", *wrong])
        main()
    assert f"{wrong[1]!r} is no a" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spelled", "a_second"),
    [("300", 300), ("5b", 5), ("5k", 5e3), ("64kB/s", 64e3), ("5m", 5e6), ("1.5MB", 1.5e6), ("2g", 2e9), ("2GB", 2e9)],
)
def test_an_amount_is_read_with_and_without_its_b(spelled: str, a_second: float) -> None:
    """As people write it."""
    assert changed(Faults(), "slow", spelled).slow == a_second


Connect = Callable[[], "asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]"]


@asynccontextmanager
async def _echo(faults: Faults | None = None) -> AsyncIterator[tuple[Proxy, Connect]]:
    """Run a proxy before a server that says everything again."""
    opened: list[asyncio.StreamWriter] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            return
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with proxy("127.0.0.1", server.sockets[0].getsockname()[1], faults=faults) as running:

        async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
            opened.append(writer)
            return reader, writer

        yield running, lambda: asyncio.ensure_future(connect())
        for writer in opened:
            writer.transport.abort()
    server.close()


def _split(stream: bytes) -> list[bytes]:
    found = []
    while stream:
        length, place = 0, 1
        while True:
            length |= (stream[place] & 0x7F) << 7 * (place - 1)
            place += 1
            if stream[place - 1] < 0x80:
                break
        found.append(stream[: place + length])
        stream = stream[place + length :]
    return found


def _varint(number: int) -> bytes:
    return bytes([number]) if number < 0x80 else bytes([number & 0x7F | 0x80, number >> 7])
