"""What this box tells of itself: hardware, labels, datasets, engines."""

import os
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from platform import python_version

from headwater_wire.messages import Condition, DatasetCard, Hello, Inventory

from headwater_agent.config import Config
from headwater_agent.training.confinement import unconfined


class LocalRegistrar:
    """The `Registrar` port; `cards` gives the datasets as they were inspected last, `conditions` how the box stands."""

    def __init__(
        self,
        config: Config,
        cards: Callable[[], tuple[DatasetCard, ...]],
        conditions: Callable[[], tuple[Condition, ...]] = tuple,
    ) -> None:
        self._config = config
        self._cards = cards
        self._conditions = conditions

    async def hello(self, epoch: int) -> Hello:
        """Look, and tell."""
        return Hello(
            epoch=epoch,
            inventory=look(self._config.agent.state_dir),
            labels=self._config.agent.labels,
            datasets=self._cards(),
            engines=(self._config.training.engine,),
            unconfined=unconfined(self._config.training.confinement),
            conditions=self._conditions(),
        )


def look(state_dir: Path) -> Inventory:
    """Describe this machine."""
    system = os.uname()
    pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return Inventory(
        hostname=socket.gethostname(),
        machine=system.machine,
        system=f"{system.sysname} {system.release}",
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=pages * page_bytes,
        disk_free_bytes=shutil.disk_usage(state_dir).free,
        agent_version=agent_version(),
        python_version=python_version(),
    )


def agent_version() -> str:
    """Tell the installed version; nothing if there is none, as for a folder on PYTHONPATH.

    The folder's name says it ("Recording installed projects", packaging.python.org); importlib.metadata reads the
    same, and is a megabyte that an idle agent would keep.
    """
    for folder in sys.path:
        for found in Path(folder).glob("headwater-*.dist-info"):
            return found.name.removeprefix("headwater-").removesuffix(".dist-info")
    return ""
