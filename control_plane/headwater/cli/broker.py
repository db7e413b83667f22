"""headwater broker-config"""

import sys
from pathlib import Path
from typing import Annotated

import typer


def config(
    to: Annotated[Path, typer.Option("--to", help="The folder for mosquitto's files.")],
    listen: Annotated[str, typer.Option(help="host:port where mosquitto is to listen.")] = "0.0.0.0:8883",
    name: Annotated[
        list[str] | None, typer.Option(help="A name or address under which devices reach it; may be repeated.")
    ] = None,
    group: Annotated[str, typer.Option(help="mosquitto's group, if it runs as another user than this.")] = "",
    plugin: Annotated[str, typer.Option(help="Where mosquitto_dynamic_security.so is (default: looked for).")] = "",
    file: Annotated[Path | None, typer.Option("--config", help="The TOML file of `headwater serve`.")] = None,
    data_dir: Annotated[str | None, typer.Option(help="And its data directory (default: headwater-data).")] = None,
) -> None:
    """Write configuration, ACL and certificate for mosquitto as the broker. It may be run again at any time."""
    try:
        from headwater_control.broker_config import Wanted, run

        code = run(file, {"data_dir": data_dir}, Wanted(to, listen, tuple(name or ()), group, plugin))
    except ModuleNotFoundError as error:
        sys.stderr.write(f"error: this needs {error.name}, which is not here: pip install 'headwater[control]'\n")
        raise typer.Exit(1) from error
    raise typer.Exit(code)
