"""Generate the stubs beside their .proto files; `--check` says whether the committed ones are current."""

import argparse
import filecmp
import shutil
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
PACKAGE = Path("headwater_wire") / "v1"
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py")


def generate(out: Path) -> None:
    """Write the stubs of every .proto below ROOT to the same places below `out`."""
    sources = sorted(str(path.relative_to(ROOT)) for path in (ROOT / PACKAGE).glob("*.proto"))
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    includes = [f"-I{ROOT}", f"-I{well_known}"]
    both = ["protoc", *includes, f"--python_out={out}", f"--pyi_out={out}", *sources]
    services = [source for source in sources if "service " in (ROOT / source).read_text()]
    if protoc.main(both) or protoc.main(["protoc", *includes, f"--grpc_python_out={out}", *services]):
        sys.exit("protoc failed: its message stands above")


def stale(fresh: Path) -> list[str]:
    """Name the generated files that differ from the committed ones, are missing, or should not be there."""
    made = {path.name for pattern in GENERATED for path in (fresh / PACKAGE).glob(pattern)}
    kept = {path.name for pattern in GENERATED for path in (ROOT / PACKAGE).glob(pattern)}
    different = {
        name for name in made & kept if not filecmp.cmp(fresh / PACKAGE / name, ROOT / PACKAGE / name, shallow=False)
    }
    return sorted(different | (made ^ kept))


def main() -> None:
    """Generate in place, or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a committed stub is not current")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        if arguments.check:
            if names := stale(fresh):
                sys.exit(f"stubs are not current: {', '.join(names)}: run `make protos` and commit")
            return
        for pattern in GENERATED:
            for path in (fresh / PACKAGE).glob(pattern):
                shutil.copyfile(path, ROOT / PACKAGE / path.name)


if __name__ == "__main__":
    main()
