"""Looking the box's datasets over: in the child, and only when a declaration or a file has changed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from headwater_wire.messages import DatasetCard

from headwater_agent.core.events import Event, Surveyed
from headwater_agent.core.session import DatasetFact
from headwater_agent.ports import Died, Downlink, Journal, Survey, Worker
from headwater_agent.training.protocol import Broke, DatasetConfig, Inspect, Inspected, Refused

INSPECT_S = 1800.0  # of a file as large as a box may have
INSPECT_LIVES = 3  # of the agent, or of the whole box, that looking at a dataset may have cost
LOOK_S = 10.0  # at what the file system tells, which is in memory or a moment away
NOT_YET = "it is still being looked at"
_SILENT = "its storage does not answer: is what it lies on mounted, and its server there?"
_log = logging.getLogger(__name__)


@dataclass
class Surveyor:
    """Knows the datasets as they were inspected last. `fingerprint` reads no data, only what the file system tells.

    On a mount whose server is gone it never ends. The other datasets go on then, and at most one call a dataset waits.
    """

    datasets: tuple[DatasetConfig, ...]
    fingerprint: Callable[[DatasetConfig], str]
    journal: Journal
    worker: Worker
    link: Downlink
    deliver: Callable[[Event], Awaitable[None]]
    _found: dict[str, Survey] = field(default_factory=dict)
    _begun: dict[str, Survey] = field(default_factory=dict)  # what is being looked at, or was when the agent died
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)
    _looks: "dict[str, asyncio.Future[str]]" = field(default_factory=dict)

    async def recall(self) -> None:
        """Begin with what was found in an earlier life."""
        known = {survey.card.name: survey for survey in await self.journal.surveys()}
        now = await self._fingerprints()
        same = {name: known[name] for name in now if name in known and known[name].fingerprint == now[name]}
        self._begun = {name: survey for name, survey in same.items() if 0 < survey.tries < INSPECT_LIVES}
        self._found = {name: survey for name, survey in same.items() if name not in self._begun}
        for name, survey in self._found.items():
            if survey.tries:
                _log.warning("dataset %s can't be used: %s", name, survey.card.problem)

    def facts(self) -> tuple[DatasetFact, ...]:
        """Say what the machine must know: nothing stands against a dataset that was not inspected yet."""
        return tuple(
            DatasetFact(config.name, found.fingerprint, found.card.problem, found.card.examples)
            if (found := self._found.get(config.name))
            else DatasetFact(config.name)
            for config in self.datasets
        )

    def examples(self, dataset: str) -> int | None:
        """Count a dataset's examples; None: it was not inspected yet, or can't be used."""
        found = self._found.get(dataset)
        return None if found is None or found.card.problem else found.card.examples

    def cards(self) -> tuple[DatasetCard, ...]:
        """Describe the datasets to the control plane."""
        return tuple(
            found.card if (found := self._found.get(config.name)) else DatasetCard(config.name, 0, problem=NOT_YET)
            for config in self.datasets
        )

    def again(self) -> None:
        """Look soon whether something has changed."""
        self._wanted.set()

    def anew(self) -> None:
        """Look soon, also at what was given up since looking at it kept ending the agent."""
        self._found = {name: survey for name, survey in self._found.items() if not survey.tries}
        self._wanted.set()

    async def run(self) -> None:
        """Look now, and whenever `again` or `anew` is called, until cancelled."""
        while True:
            self._wanted.clear()
            await self._look()
            await self._wanted.wait()

    async def _look(self) -> None:
        now = await self._fingerprints()
        for config in self.datasets:
            found = self._found.get(config.name)
            if found is None or found.fingerprint != now[config.name]:
                if now[config.name]:
                    card = await self._counted(config, now[config.name])
                else:
                    card = DatasetCard(config.name, 0, problem=_SILENT)
                    _log.warning("dataset %s can't be used: %s", config.name, _SILENT)
                self._found[config.name] = Survey(now[config.name], card)
                await self._remember()
                await self.deliver(Surveyed(self.facts()))
                await self.link.announce()

    async def _counted(self, config: DatasetConfig, fingerprint: str) -> DatasetCard:
        """Inspect, and count that before, so that no file ends the agent at each start for ever."""
        before = self._begun.get(config.name)
        tries = 1 + (before.tries if before and before.fingerprint == fingerprint else 0)
        lost = f"the agent died {tries} times while it looked at this: not again until the data change, or a reload"
        begun = Survey(fingerprint, DatasetCard(config.name, 0, problem=lost), tries)
        self._begun[config.name] = begun
        await self._remember()
        try:
            card = await self._inspect(config)
        except asyncio.CancelledError:  # the agent stops in good order: no failed try
            self._begun[config.name] = replace(begun, tries=tries - 1)
            await asyncio.shield(self._remember())
            raise
        del self._begun[config.name]
        return card

    async def _remember(self) -> None:
        begun = {name: survey for name, survey in self._begun.items() if survey.tries}
        await self.journal.save_surveys(tuple({**self._found, **begun}.values()))

    async def _inspect(self, config: DatasetConfig) -> DatasetCard:
        card = await examine(self.worker, config)
        if card.problem:
            _log.warning("dataset %s can't be used: %s", config.name, card.problem)
        else:
            _log.info("dataset %s: %d examples", config.name, card.examples)
        return card

    async def _fingerprints(self) -> dict[str, str]:
        found = await asyncio.gather(*map(self._fingerprint, self.datasets))
        return {config.name: one for config, one in zip(self.datasets, found, strict=True)}

    async def _fingerprint(self, config: DatasetConfig) -> str:
        """Look at one; "": nobody answers."""
        look = self._looks.get(config.name) or asyncio.ensure_future(asyncio.to_thread(self.fingerprint, config))
        self._looks[config.name] = look
        done, _ = await asyncio.wait({look}, timeout=LOOK_S)
        if not done:
            return ""
        del self._looks[config.name]
        return look.result()


async def examine(worker: Worker, config: DatasetConfig) -> DatasetCard:
    """Have the worker read a dataset's schema and count; what keeps it from being used stands in the card."""
    try:
        async with asyncio.timeout(INSPECT_S):
            reply = await worker.run(Inspect(config), lambda step: None)
    except TimeoutError:
        problem = f"looking at it took longer than {INSPECT_S:g} s: does its storage answer?"
        return DatasetCard(config.name, 0, problem=problem)
    except Died as error:
        return DatasetCard(config.name, 0, problem=f"inspecting it ended the worker: {error}"[:500])
    match reply:
        case Inspected(card):
            return card
        case Refused(reason) | Broke(reason):
            return DatasetCard(config.name, 0, problem=reason[:500])
    return DatasetCard(config.name, 0, problem=f"inspecting it ended with {reply!r}"[:500])
