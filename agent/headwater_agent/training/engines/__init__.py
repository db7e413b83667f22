"""The engines by name. Each is imported only when it is chosen: they cost memory and start-up time."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater_agent.training.engine import Engine

NAMES = ("portable", "native", "constant")
MEMORY = ("normal", "small")
_PIECE = 8  # examples at once in small memory


def engine(name: str, memory: str = "normal") -> "Engine":
    """Give the engine called `name` (one of NAMES); with `memory` "small" the portable one is slower and frugal."""
    match name:
        case "portable":
            from headwater_agent.training.engines.portable import PortableEngine

            return PortableEngine(_PIECE if memory == "small" else None)
        case "native":
            from headwater_agent.training.engines.native import NativeEngine

            return NativeEngine()
        case "constant":
            from headwater_agent.training.engines.constant import ConstantEngine

            return ConstantEngine()
        case _:
            raise ValueError(f"there is no training engine {name!r}; choose one of {', '.join(NAMES)}")
