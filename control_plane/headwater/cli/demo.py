"""headwater demo"""

import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from headwater.cli.output import out
from headwater.errors import HeadwaterError

_NEEDED = ("numpy", "onnx", "onnxruntime", "fastapi", "aiomqtt", "grpc")


class NotInstalled(HeadwaterError):
    """The demo needs both sides on this machine."""


class Unwritable(HeadwaterError):
    """The model could not be put there: better said now than after the training."""


def demo(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of training.")] = 15,
    devices: Annotated[int, typer.Option(min=3, max=50, help="Agents, each with 4 of the 10 digits.")] = 5,
    data: Annotated[Path | None, typer.Option(help="MNIST: a folder of its IDX files. Else 1,797 digits.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running afterwards, to look around.")] = False,
    to: Annotated[Path, typer.Option(help="Where model.onnx is put.")] = Path("demo-output"),
) -> None:
    """Run a whole Headwater on this machine: digits that stay on five devices make one model for all."""
    if missing := [name for name in _NEEDED if not find_spec(name)]:
        raise NotInstalled(f"the demo needs {', '.join(missing)}: pip install 'headwater[agent,control]'")
    _stop_like_ctrl_c()
    try:
        wins = _run(rounds, devices, data, keep, to)
    except KeyboardInterrupt:
        out.print("\nstopped: nothing is left running")
        raise typer.Exit(130) from None
    if not wins:
        out.print("[red]the merged model does not beat every device's own:[/] more --rounds may help")
        raise typer.Exit(1)


def _run(rounds: int, devices: int, data: Path | None, keep: bool, to: Path) -> bool:
    from headwater.client import Client
    from headwater.demo import problem, processes, story, table

    posed = problem.pose(data, devices)
    _make_folder(to)
    with ExitStack() as stack:
        state = Path(tempfile.mkdtemp(prefix="headwater-demo-"))
        stack.callback(shutil.rmtree, state, ignore_errors=True)
        running = stack.enter_context(processes.all_stopped([]))
        fleet = story.start(posed, devices, state, running, out)
        client = stack.enter_context(Client(fleet.endpoints.http))
        federated = story.train(client, posed, rounds, state, out)
        exported = client.versions.export(federated.run.version, to / "model.onnx")
        others = story.compare(client, posed, rounds, federated.run.spec.base, fleet, out)
        installed = story.roll_out(client, federated.run.version, fleet, exported, out)
        result = story.tell(client, posed, federated, others, fleet, exported, installed, state)
        out.print()
        out.print(table.picture(result))
        out.print(f"the merged model, checked with plain onnxruntime: [bold]{exported.resolve()}[/]", soft_wrap=True)
        if keep:
            _linger(fleet.endpoints.http, state, running)
    return result.wins


def _linger(url: str, state: Path, running: list) -> None:  # type: ignore[type-arg]
    out.print(f"\nStill running; in another terminal:\n  export HEADWATER_URL={url}")
    if sys.prefix != sys.base_prefix:
        out.print(f"  source {Path(sys.prefix) / 'bin/activate'}", soft_wrap=True)
    for command in ("device list", "run list", "version list digits", "rollout list", "device show box-1"):
        out.print(f"  headwater {command}")
    out.print(
        f"API page {url}/docs, boxes and logs in {state}\nCtrl-C stops everything and removes that folder.",
        soft_wrap=True,
    )
    signal.pause()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unwritable(f"can't make the folder {folder}: {error.strerror}") from error


def _stop_like_ctrl_c() -> None:
    """Let SIGTERM clean up as Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
