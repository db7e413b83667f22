"""Looks a configuration's datasets over, as the running agent would, and tells a person what it finds."""

from collections.abc import Callable

from headwater_wire.messages import DatasetCard

from headwater_agent.config import Config
from headwater_agent.edges.children import warm_worker, worker_command
from headwater_agent.edges.enclosure import enclosure_of
from headwater_agent.survey import examine


async def look_over(config: Config, say: Callable[[str], None]) -> bool:
    """Tell of each dataset, a line each; return whether all can be used."""
    fine, how = True, config.training
    command = worker_command(how.engine, how.memory)
    enclosure = enclosure_of(config)
    async with warm_worker(command, idle_s=how.worker_idle_s, nice=how.nice, enclosure=enclosure) as worker:
        for dataset in config.datasets:
            card = await examine(worker, dataset)
            say(described(card))
            fine = fine and not card.problem
    return fine


def described(card: DatasetCard) -> str:
    """Say what a dataset holds, or what is wrong with it."""
    if card.problem:
        problem = card.problem.removeprefix(f"dataset {card.name!r}").lstrip(": ")
        return f"dataset {card.name}: {problem}"
    schema = ", ".join(f"{column.name}: {column.dtype}{list(column.shape)}" for column in card.columns)
    told = f"dataset {card.name}: {card.examples} examples of {schema}"
    if any(column.name == "label" for column in card.columns):
        return told
    return f"{told} (no column is named label: to train, a model needs one)"
