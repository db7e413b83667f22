"""headwater keys …"""

import typer

from headwater.cli.options import AsJson, Url, connect
from headwater.cli.output import as_json, out

app = typer.Typer(
    no_args_is_help=True,
    help="The keys that sign what devices are told to do.",
    epilog="Example: headwater keys rotate",
)


@app.callback()
def keys() -> None:
    """The keys that sign what devices are told to do."""


@app.command("rotate", epilog="Example: headwater keys rotate")
def rotate(json: AsJson = False, url: Url = None) -> None:
    """Make the next key. Devices hear of it now; it signs after a week, and the old one is accepted for another."""
    with connect(url) as client:
        made = client.keys.rotate()
    if json:
        as_json(made)
    else:
        out.print(f"{made.key} signs from next week on", markup=False)
