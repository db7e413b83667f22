"""Drives every running run: lead it, look, decide, apply, wait for the next bell or deadline."""

from headwater_control.service.world import World


class Coordinator:
    """One per process; each run is led by one of them, through a lease with a fencing token."""

    def __init__(self, world: World, holder: str) -> None:
        self._world = world
        self._holder = holder

    @property
    def ready(self) -> bool:
        """Say whether the loop advanced recently."""
        raise NotImplementedError

    async def run(self) -> None:
        """Coordinate until cancelled."""
        raise NotImplementedError
