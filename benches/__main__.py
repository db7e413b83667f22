"""Run every bench, each in a process of its own: `python -m benches [NAME …] [OPTIONS of it]`."""

import subprocess
import sys
from pathlib import Path


def names() -> list[str]:
    """List the benches: the modules of this folder."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def main() -> int:
    """Run those asked for, or all; say how many failed."""
    known = names()
    options = next((place for place, word in enumerate(sys.argv) if place and word.startswith("-")), len(sys.argv))
    wanted = sys.argv[1:options] or known
    if unknown := [name for name in wanted if name not in known]:
        print(f"no bench is named {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    failed = 0
    for name in wanted:
        print(f"── {name}", flush=True)
        failed += (
            subprocess.run(
                [sys.executable, "-c", f"from benches.{name} import main; main()", *sys.argv[options:]]
            ).returncode
            != 0
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
