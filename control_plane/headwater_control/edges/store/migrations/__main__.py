"""Write the next revision: `python -m headwater_control.edges.store.migrations "what changes"`."""

import sys
import tempfile
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

from headwater_control.edges.store.migrate import config


def main() -> int:
    """Compare a database at the newest revision with the tables in the code."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        engine = sa.create_engine(f"sqlite:///{Path(folder) / 'empty.db'}")
        with engine.begin() as connection:
            settings = config(connection)
            command.upgrade(settings, "head")
            head = ScriptDirectory.from_config(settings).get_current_head() or "0"
            command.revision(settings, sys.argv[1], autogenerate=True, rev_id=f"{int(head) + 1:04d}")
        engine.dispose()
    return 0


if __name__ == "__main__":
    sys.exit(main())
