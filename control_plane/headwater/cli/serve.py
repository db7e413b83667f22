"""headwater serve"""

import sys
from pathlib import Path
from typing import Annotated

import typer


def serve(
    config: Annotated[Path | None, typer.Option("--config", help="A TOML file; the keys are these options.")] = None,
    data_dir: Annotated[str | None, typer.Option(help="Where everything is kept (default: headwater-data).")] = None,
    http: Annotated[str | None, typer.Option(help="host:port for operators (default: 127.0.0.1:8080).")] = None,
    grpc: Annotated[str | None, typer.Option(help="host:port for devices (default: 127.0.0.1:8090).")] = None,
    enrol: Annotated[str | None, typer.Option(help="host:port where boxes enrol (default: 127.0.0.1:8091).")] = None,
    mqtt: Annotated[str | None, typer.Option(help="host:port of the broker (default: 127.0.0.1:8883).")] = None,
    broker: Annotated[str | None, typer.Option(help='"embedded", or mqtts://host:port (default: embedded).')] = None,
    names: Annotated[str | None, typer.Option(help="How others reach it, by comma: for its certificate.")] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="No TLS and no tokens: on loopback only.")] = False,
    admin_token_file: Annotated[
        str | None, typer.Option(help="Put the first admin token there instead of printing it.")
    ] = None,
    database: Annotated[str | None, typer.Option(help="postgresql://… (default: SQLite in the data dir).")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error (default: info).")] = None,
) -> None:
    """Run the control plane: HTTP API, gRPC gateway, MQTT broker, coordinator. Port 0 takes a free one."""
    flags = {
        "data_dir": data_dir, "http": http, "grpc": grpc, "mqtt": mqtt, "broker": broker, "database": database,
        "log_level": log_level, "enrol": enrol, "names": names, "insecure": insecure or None,
        "admin_token_file": admin_token_file,
    }  # fmt: skip
    try:
        from headwater_control.__main__ import run

        code = run(config, flags)
    except ModuleNotFoundError as error:
        sys.stderr.write(f"error: serving needs {error.name}, which is not here: pip install 'headwater[control]'\n")
        raise typer.Exit(1) from error
    raise typer.Exit(code)
