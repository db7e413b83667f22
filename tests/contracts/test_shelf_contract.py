"""What every implementation of the port `Shelf` promises: run on the folder and on the fake."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from headwater_agent.edges.models import FolderShelf
from headwater_agent.ports import Shelf
from headwater_wire.ids import ModelName, VersionId

from tests.fakes.agent_bundle import blob
from tests.fakes.agent_ports import MemoryShelf

M, OTHER = ModelName("m"), ModelName("other")
Current = Callable[[ModelName], bytes]


@dataclass
class Target:
    """A shelf, and how a box's application reads the current version of a model."""

    shelf: Shelf
    fetched: Path
    current: Current

    async def put(self, number: int, model: ModelName = M) -> Path:
        """Shelve a version whose content is its name."""
        self.fetched.write_bytes(content(number, model))
        return await self.shelf.put(model, version(number, model), self.fetched)

    async def install(self, number: int, model: ModelName = M) -> None:
        """Shelve and activate one."""
        await self.put(number, model)
        await self.shelf.activate(model, version(number, model))

    async def found(self, *numbers: int, model: ModelName = M) -> list[int]:
        """List which of these versions are here, whole."""
        return [n for n in numbers if await self.shelf.find(model, version(n, model), blob(content(n, model)))]


def version(number: int, model: ModelName = M) -> VersionId:
    """Name one."""
    return VersionId(f"{model}-{number}")


def content(number: int, model: ModelName = M) -> bytes:
    """Say what a version's file holds."""
    return f"the model {model}, version {number}".encode()


def folder(root: Path) -> Target:
    """The real one: applications open MODEL/current/model.onnx."""
    models = root / "models"
    return Target(
        FolderShelf(models), root / "fetched", lambda model: (models / model / "current/model.onnx").read_bytes()
    )


def memory(root: Path) -> Target:
    """The fake."""
    shelf = MemoryShelf()
    return Target(shelf, root / "fetched", lambda model: shelf.versions[model, shelf.current[model]].read_bytes())


@pytest.fixture(params=[folder, memory])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    """Each implementation, empty."""
    make: Callable[[Path], Target] = request.param
    return make(tmp_path)


async def test_a_version_is_taken_over_and_found(target: Target) -> None:
    """Its file is moved, not copied, and given as often as asked; nothing is current by that."""
    place = await target.put(1)
    assert not target.fetched.exists() and place.read_bytes() == content(1)
    for _ in range(2):
        assert await target.shelf.find(M, version(1), blob(content(1))) == place


async def test_what_is_not_here_is_not_found(target: Target) -> None:
    """Neither another version nor another model, nor this one with other bytes than wanted."""
    assert await target.found(1) == []
    await target.put(1)
    assert await target.found(2) == []
    assert await target.found(1, model=OTHER) == []
    assert await target.shelf.find(M, version(1), blob(b"other")) is None


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(content(1)[:-1])], ids=["gone", "cut"])
async def test_what_is_not_whole_is_not_found(target: Target, damage: Callable[[Path], None]) -> None:
    """Whatever a disk did to it, it is fetched anew and takes the damaged one's place."""
    damage(await target.put(1))
    assert await target.found(1) == []
    await target.install(1)
    assert await target.found(1) == [1]
    assert target.current(M) == content(1)


async def test_the_current_version_and_the_one_before_it_are_kept(target: Target) -> None:
    """Older ones are removed, as are those that were shelved and never activated."""
    for number in (1, 2, 3):
        await target.install(number)
        assert target.current(M) == content(number)
    assert await target.found(1, 2, 3) == [2, 3]
    await target.put(4)
    await target.install(5)
    assert await target.found(1, 2, 3, 4, 5) == [3, 5]


async def test_going_back_needs_no_fetch(target: Target) -> None:
    """The version before is activated again; the one that was current is then the one before."""
    for number in (1, 2):
        await target.install(number)
    await target.shelf.activate(M, version(1))
    assert target.current(M) == content(1)
    assert await target.found(1, 2) == [1, 2]
    await target.install(3)
    assert await target.found(1, 2, 3) == [1, 3]


async def test_activating_twice_changes_nothing(target: Target) -> None:
    """A crash after it, and it happens again: the version before stays the one before."""
    for number in (1, 2, 2):
        await target.install(number)
    assert target.current(M) == content(2)
    assert await target.found(1, 2) == [1, 2]


async def test_models_leave_each_other_alone(target: Target) -> None:
    """What is installed of the one removes nothing of the other."""
    await target.install(1, OTHER)
    for number in (1, 2, 3):
        await target.install(number)
    assert (target.current(M), target.current(OTHER)) == (content(3), content(1, OTHER))
    assert await target.found(1, model=OTHER) == [1]
