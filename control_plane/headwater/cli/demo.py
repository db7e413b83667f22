"""headwater demo"""

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headwater.cli.output import out
from headwater.errors import HeadwaterError

if TYPE_CHECKING:
    from headwater.demo.processes import Endpoints

_LOST_AFTER_S = 2.0
_NEEDED = ("numpy", "onnx", "onnxruntime", "fastapi", "aiomqtt", "cryptography", "grpc")


class NotInstalled(HeadwaterError):
    """The demo needs both sides on this machine."""


class Unwritable(HeadwaterError):
    """The model could not be put there: better said now than after the training."""


class FirstStop:
    """Makes the first signal to stop a KeyboardInterrupt; later ones must not interrupt the clean-up it leads to.

    Where that has not begun after a while, the first was lost (Python ignores what is raised in a finalizer): the next
    one counts.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._over = False
        self._deaf_until = 0.0

    def __call__(self, number: int, frame: object) -> None:
        if not self._over and self._now_s() >= self._deaf_until:
            self._deaf_until = self._now_s() + _LOST_AFTER_S
            raise KeyboardInterrupt

    def listen(self) -> None:
        """Hear Ctrl-C (also where a shell's `&` has had it ignored), SIGTERM, and the end of the terminal."""
        signal.signal(signal.SIGINT, self)
        signal.signal(signal.SIGTERM, self)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup means it
            signal.signal(signal.SIGHUP, self)

    def ignore(self) -> None:
        """Be deaf from now on: what is being cleaned up is to be whole."""
        self._over = True


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
    stop = FirstStop()
    stop.listen()
    try:
        wins = _run(rounds, devices, data, keep, to, stop)
    except KeyboardInterrupt:
        stop.ignore()
        with suppress(OSError):  # the terminal may be gone
            out.print("\nstopped: nothing is left running")
        raise typer.Exit(130) from None
    if not wins:
        out.print("[red]the merged model does not beat every device's own:[/] more --rounds may help")
        raise typer.Exit(1)


def _run(rounds: int, devices: int, data: Path | None, keep: bool, to: Path, stop: FirstStop) -> bool:
    from headwater.demo import problem, processes, story, table

    posed = problem.pose(data, devices)
    _make_folder(to)
    with ExitStack() as stack:
        state = Path(tempfile.mkdtemp(prefix="headwater-demo-"))
        stack.callback(shutil.rmtree, state, ignore_errors=True)
        running = stack.enter_context(processes.all_stopped([]))
        stack.callback(stop.ignore)
        fleet = story.start(posed, devices, state, running, out)
        client = stack.enter_context(fleet.endpoints.client())
        federated = story.train(client, posed, rounds, state, out)
        exported = client.versions.export(federated.run.version, to / "model.onnx")
        others = story.compare(client, posed, rounds, federated.run.spec.base, fleet, out)
        installed = story.roll_out(client, federated.run.version, fleet, exported, out)
        result = story.tell(client, posed, federated, others, fleet, exported, installed, state)
        out.print()
        out.print(table.picture(result))
        out.print(f"the merged model, checked with plain onnxruntime: [bold]{exported.resolve()}[/]", soft_wrap=True)
        if keep:
            _linger(fleet.endpoints, state)
    return result.wins


def _linger(at: "Endpoints", state: Path) -> None:
    out.print("\nStill running; in another terminal:")
    for name, value in at.env.items():
        told = f"$(cat {state / 'control-plane' / 'admin.token'})" if name == "HEADWATER_TOKEN" else value
        out.print(f"  export {name}={told}", soft_wrap=True, markup=False)
    if sys.prefix != sys.base_prefix:
        out.print(f"  source {Path(sys.prefix) / 'bin/activate'}", soft_wrap=True)
    for command in ("device list", "run list", "version list digits", "rollout list", "device show box-1"):
        out.print(f"  headwater {command}")
    out.print(
        f"API page {at.http}/docs, boxes and logs in {state}\nCtrl-C stops everything and removes that folder.",
        soft_wrap=True,
    )
    signal.pause()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unwritable(f"can't make the folder {folder}: {error.strerror}") from error
