"""Whether a dataset has grown enough since a delta was made of it last."""

from collections.abc import Iterator
from dataclasses import replace

from headwater_wire.messages import DatasetCard

from headwater_agent.core.session import Seen, Session


def noted(session: Session, dataset: str) -> Session:
    """Remember how many examples a dataset had when a delta was made of it."""
    fact = session.dataset(dataset)
    if not session.box.min_new_examples or fact is None or fact.examples is None:
        return session
    others = tuple(seen for seen in session.trained if seen.dataset != dataset)
    return replace(session, trained=(*others, Seen(dataset, fact.examples)))


def objection(session: Session, dataset: str) -> str:
    """Say why nothing new can be learned from a dataset; nothing, if enough of it is new, or nobody knows."""
    fact = session.dataset(dataset)
    return _objection(session, dataset, fact.examples if fact else None)


def _objection(session: Session, dataset: str, examples: int | None) -> str:
    before = next((seen.examples for seen in session.trained if seen.dataset == dataset), None)
    if before is None or examples is None or examples < before:  # fewer: it was replaced
        return ""
    new, wanted = examples - before, session.box.min_new_examples
    if new >= wanted:
        return ""
    return f"it has {new} new examples since its last training, and {wanted} are wanted (conditions.min_new_examples)"


def told(session: Session, cards: tuple[DatasetCard, ...]) -> tuple[DatasetCard, ...]:
    """Describe the datasets with that: one that has too little new is not to be asked for."""
    return tuple(_told(session, cards))


def _told(session: Session, cards: tuple[DatasetCard, ...]) -> Iterator[DatasetCard]:
    for card in cards:  # a card's own count: the session hears of it a moment later
        yield card if card.problem else replace(card, problem=_objection(session, card.name, card.examples))
