"""The engines by name. Each is imported only when it is chosen: they cost memory and start-up time."""

from headwater_agent.training.engine import Engine

NAMES = ("portable", "native", "constant")


def engine(name: str) -> Engine:
    """Give the engine called `name` (one of NAMES)."""
    match name:
        case "portable":
            from headwater_agent.training.engines.portable import PortableEngine

            return PortableEngine()
        case "native":
            from headwater_agent.training.engines.native import NativeEngine

            return NativeEngine()
        case "constant":
            from headwater_agent.training.engines.constant import ConstantEngine

            return ConstantEngine()
        case _:
            raise ValueError(f"there is no training engine {name!r}; choose one of {', '.join(NAMES)}")
