"""The command line: headwater-agent enroll | run | status | spool | pause | resume | doctor | check-config | config."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from headwater_wire import durable

from headwater_agent import circumstances, owner
from headwater_agent.config import Config, load
from headwater_agent.edges.inventory import agent_version
from headwater_agent.settings import BadSetting

_EXAMPLE = """\
example, as agent.toml:
  [agent]
  id = "gate-7"
  state_dir = "state"

  [datasets.digits]
  format = "npz"
  path = "digits.npz"

  [datasets.digits.columns.image]
  source = "images"
  shape = [1, 8, 8]

  [datasets.digits.columns.label]
  source = "labels"
  dtype = "int64"

then, with the line that `headwater device invite` has printed:
  headwater-agent check-config --config agent.toml
  headwater-agent enroll --config agent.toml hw1.…
  headwater-agent run --config agent.toml

Any value can be overridden by a variable, such as HEADWATER_TRAINING__NICE.
"""
DEFAULT_FILE = "/etc/headwater/agent.toml"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; exit with 2 if the configuration is wrong, 1 if the agent can't start or use a dataset."""
    options = _parser().parse_args(arguments)
    try:
        config = load(options.config, os.environ)
    except BadSetting as error:
        print(f"headwater-agent: {error}", file=sys.stderr)
        sys.exit(2)
    try:
        try:
            options.command(config, options)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read has had enough, as `head` has
        # docs.python.org/3/library/signal.html#note-on-sigpipe: the flush at exit must not fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def _run(config: Config, options: argparse.Namespace) -> None:
    import asyncio
    import logging

    from headwater_wire import logs
    from headwater_wire.allocator import keep_freed_chunks

    from headwater_agent import credential
    from headwater_agent.daemon import run
    from headwater_agent.ports import AgentError

    logging.getLogger("mqtt").setLevel(logging.WARNING)  # aiomqtt's own
    keep_freed_chunks()
    try:
        with logs.written(options.log_level.upper()):
            if line := credential.invitation(config, os.environ):
                from headwater_agent.enrol import enrol  # only now: it brings ten megabytes

                asyncio.run(enrol(config, line, again=False))
            asyncio.run(run(config, os.environ))
    except (AgentError, OSError, ExceptionGroup) as error:
        if not isinstance(first := _first(error), AgentError | OSError):
            raise
        print(f"headwater-agent: {_told(first, config)}", file=sys.stderr)
        sys.exit(1)


def _first(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _told(error: Exception, config: Config) -> str:
    """Say where, if the system didn't: a disk that refuses to sync names no file."""
    if isinstance(error, OSError) and error.filename is None and durable.refused(error):
        return f"{error.strerror}, in {config.agent.state_dir}: make room there, or look after its disk"
    return str(error)


def _enroll(config: Config, options: argparse.Namespace) -> None:
    import asyncio

    from headwater_agent.enrol import enrol, read_invitation
    from headwater_agent.ports import AgentError

    try:
        identity = asyncio.run(enrol(config, read_invitation(options.invitation), again=options.again))
    except KeyboardInterrupt:
        sys.exit(130)
    except (AgentError, OSError) as error:
        print(f"headwater-agent: {error}", file=sys.stderr)
        sys.exit(1)
    known = identity.control_plane
    print(f"enrolled as {identity.device}, until {identity.ends:%Y-%m-%d} and then renewed by itself")
    print(f"gateway {known.gateway}, broker {known.broker}; start the agent: headwater-agent run")


def _check(config: Config, options: argparse.Namespace) -> None:
    import asyncio

    from headwater_agent.checkup import look_over

    datasets = ", ".join(dataset.name for dataset in config.datasets) or "none"
    print(f"{options.config}: every setting is fine; device {config.agent.id}, datasets: {datasets}", flush=True)
    for line in owner.described(config.policy, tuple(dataset.name for dataset in config.datasets)):
        print(line, flush=True)
    for line in circumstances.described(config.conditions):
        print(line, flush=True)
    try:
        usable = asyncio.run(look_over(config, print))
    except KeyboardInterrupt:
        sys.exit(130)
    if not usable:
        sys.exit(1)


def _show(config: Config, options: argparse.Namespace) -> None:
    for name, value, origin in config.origins:
        print(f"{name} = {value}  # {origin}" if options.origin else f"{name} = {value}")


def _doctor(config: Config, options: argparse.Namespace) -> None:
    from headwater_agent.doctor import diagnose

    try:
        sys.exit(diagnose(config, as_json=options.json))
    except KeyboardInterrupt:
        sys.exit(130)


def _inquire(config: Config, options: argparse.Namespace) -> None:
    from headwater_agent import inquiry
    from headwater_agent.ports import AgentError

    try:
        sys.exit(inquiry.answered(config, options))
    except BrokenPipeError:
        raise
    except (AgentError, OSError, ValueError) as error:
        print(f"headwater-agent: {error}", file=sys.stderr)
        sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headwater-agent",
        description="Trains models where the data is: the agent of one edge box.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"headwater-agent {agent_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = _command(commands, "run", "be the agent, until SIGTERM")
    run.add_argument(
        "--log-level", default="info", choices=("debug", "info", "warning", "error"), help="what is logged (info)"
    )
    run.set_defaults(command=_run)
    enroll = _command(commands, "enroll", "get this box its certificate, by an invitation", values="hw1.… ")
    enroll.add_argument(
        "invitation",
        help="what `headwater device invite` printed; -: read it from standard input, where nobody sees it",
    )
    enroll.epilog = f"{enroll.epilog}\nor, from afar: headwater device invite -q | ssh gate-7 headwater-agent enroll -"
    enroll.formatter_class = argparse.RawDescriptionHelpFormatter
    enroll.add_argument("--again", action="store_true", help="replace the identity that is there")
    enroll.set_defaults(command=_enroll)
    check = _command(commands, "check-config", "say whether the configuration is fine and each dataset can be used")
    check.set_defaults(command=_check)
    _add_inquiries(commands)
    config = commands.add_parser("config", help="look at the configuration").add_subparsers(
        required=True, metavar="COMMAND"
    )
    show = _command(config, "show", "print every value, defaults included", of="config ")
    show.add_argument("--origin", action="store_true", help="say where each value came from")
    show.set_defaults(command=_show)
    return parser


def _add_inquiries(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    inquiries = {
        "status": "say what the running agent is doing, or why it does nothing",
        "spool": "list what waits to be uploaded",
        "pause": "have nothing trained, for a time or until it is resumed, whatever starts anew meanwhile",
        "resume": "end a pause",
        "doctor": "look over all that an agent needs, and say what to do; ends with 1 if something has failed",
    }
    for name, summary in inquiries.items():
        command = _command(commands, name, summary, values="--for 2h " if name == "pause" else "")
        command.add_argument("--json", action="store_true", help="for programs")
        command.set_defaults(command=_doctor if name == "doctor" else _inquire, inquiry=name)
        if name == "pause":
            command.add_argument("--for", dest="span", metavar="TIME", help="such as 90m, 2h or 3d (until `resume`)")
            command.add_argument("--reason", default="", help="what is shown to whoever asks why")


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    summary: str,
    of: str = "",
    values: str = "",
) -> argparse.ArgumentParser:
    example = f"example: headwater-agent {of}{name} {values}--config agent.toml"
    command = commands.add_parser(name, help=summary, description=summary, epilog=example)
    command.add_argument("--config", type=Path, default=Path(DEFAULT_FILE), metavar="FILE", help=f"({DEFAULT_FILE})")
    return command


if __name__ == "__main__":
    main()
