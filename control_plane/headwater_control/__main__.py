"""Starts the control plane: settings in, exit code out."""

import argparse
import gc
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from headwater_wire import durable, logs

from headwater_control.config import BadSetting, Settings, load
from headwater_control.files import allow_many
from headwater_control.ports import Busy, Damaged

if TYPE_CHECKING:
    from headwater_control.datadir import Endpoints

_log = logging.getLogger(__name__)


def run(config: Path | None, flags: Mapping[str, object]) -> int:
    """Serve until told to stop; return the exit code.

    2 is for a setting, or what it names and does not answer, and for a damaged database; 1 for a disk or database that
    refuses.

    Either says so in one sentence on stderr; where a disk's refusal was met is shown with log_level debug.
    """
    data = Path()
    gc.disable()  # loading makes lasting objects only: to look through them again and again is a fifth of the start
    try:
        settings = load(config, os.environ, flags)
        data = settings.data_path
        with _log_written(settings.log_level):
            _serve(settings)
    except (BadSetting, Damaged, OSError, Busy, ExceptionGroup) as error:
        first = _first(error)
        if isinstance(first, BadSetting | Damaged):
            sys.stderr.write(f"headwater serve: {first}\n")
            return 2
        if not (isinstance(first, Busy) or (isinstance(first, OSError) and durable.refused(first))):
            raise
        sys.stderr.write(f"headwater serve: {_refused(first, data)}\n")
        return 1
    finally:
        gc.enable()
    return 0


def _serve(settings: Settings) -> None:
    allow_many()
    # Children are execed, so gRPC need not care for forks; and what fails in it we say ourselves.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Not before the settings are known to be good: these take most of the start-up time.
    import uvloop
    from headwater_wire.allocator import keep_freed_chunks

    from headwater_control.server import Ready, serve

    def ready(now: Ready) -> None:
        gc.freeze()
        gc.enable()
        sys.stdout.write(_told(now.endpoints, settings.data_path))
        if now.first_token:
            sys.stdout.write(_first_login(now.door, now.fingerprint, now.first_token))
        sys.stdout.flush()

    keep_freed_chunks()
    uvloop.run(serve(settings, ready))


def _told(at: "Endpoints", data: Path) -> str:
    enrol = f"  enrolment {at.enrol}" if at.enrol else ""
    return f"headwater is ready: {at.http}  gRPC {at.grpc}  {at.mqtt}{enrol}  data {data}\n"


def _first_login(url: str, fingerprint: str, token: str) -> str:
    return (
        "\nThe first admin token is shown only now:\n"
        f"  {token}\n"
        "Whoever administers this fleet logs in with it:\n"
        f"  headwater login {url} --ca-fingerprint sha256:{fingerprint}\n\n"
    )


@contextmanager
def _log_written(level: str) -> Iterator[None]:
    """Write our own lines from `level` on, and those of the libraries only if something is wrong."""
    with logs.written():
        logging.getLogger("headwater_control").setLevel(level.upper())
        logging.getLogger("grpc._cython.cygrpc").addFilter(_not_gone)
        try:
            yield
        except (OSError, Busy, ExceptionGroup) as error:
            _log.debug("where it was", exc_info=error)
            raise


def _not_gone(record: logging.LogRecord) -> bool:
    """Leave out what gRPC says, with a trace, when a caller is gone before its answer: it calls again."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__name__ != "ExecuteBatchError"


def _refused(error: OSError | Busy, data: Path) -> str:
    if isinstance(error, Busy):
        return f"{error}; nothing acknowledged is lost: see to the database, and start it again"
    return f"{error.strerror}, in {error.filename or data}: make room there, or look after its disk, and start it again"


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="headwater_control", description="What `headwater serve` runs.")
    parser.add_argument("--config", type=Path)
    sys.exit(run(parser.parse_args().config, {}))
