"""Says what a training engine would run on, as JSON: `python -m headwater_agent.training.providers ENGINE`."""

import json
import sys

from headwater_wire.telemetry import tell_nobody

from headwater_agent.training.engines import engine


def main() -> None:
    """Import what the engine needs, and tell of it; an engine that can't be had is told as a problem."""
    told: dict[str, object] = {"problem": "", "runtime": "", "providers": []}
    try:
        tell_nobody()
        import onnxruntime

        told |= {"runtime": onnxruntime.__version__, "providers": list(onnxruntime.get_available_providers())}
        engine(sys.argv[1])
    except Exception as error:  # a broken installation raises what it likes
        told["problem"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    print(json.dumps(told))


if __name__ == "__main__":
    main()
