"""What a box tells of itself."""

from pathlib import Path

import pytest
from headwater_agent.config import Config, load
from headwater_agent.edges.inventory import LocalRegistrar
from headwater_agent.settings import BadSetting
from headwater_agent.training import confinement


def configured(folder: Path, training: str) -> Config:
    """Read a configuration with these lines in its section [training]."""
    file = folder / "agent.toml"
    file.write_text(f'[agent]\nid = "box-1"\nstate_dir = "."\n[training]\n{training}\n')
    return load(file, {})


@pytest.mark.parametrize(
    ("training", "mode", "missing"),
    [
        ("", "preferred", confinement.lacking()),
        ('confinement = "required"', "required", confinement.lacking()),
        ('confinement = "off"', "off", confinement.PARTS),
    ],
)
async def test_a_hello_says_what_the_worker_does_without(
    tmp_path: Path, training: str, mode: str, missing: tuple[str, ...]
) -> None:
    """What the kernel lacks, or all of it where the owner wants none."""
    config = configured(tmp_path, training)
    assert config.training.confinement == mode
    assert (await LocalRegistrar(config, tuple).hello(1)).unconfined == missing


def test_another_mode_is_a_mistake(tmp_path: Path) -> None:
    """Named with its line."""
    with pytest.raises(BadSetting, match=r"agent.toml:5: training.confinement is 'none'; choose one of required, pref"):
        configured(tmp_path, 'confinement = "none"')
