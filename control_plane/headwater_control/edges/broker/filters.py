"""The rules for topic names, topic filters and shared subscriptions (sections 4.7 and 4.8)."""

from dataclasses import dataclass

from headwater_control.edges.broker.reasons import BadPacket, Reason

_SHARE = "$share/"


@dataclass(frozen=True, slots=True)
class Filter:
    """What is subscribed to: `group` is the name of a shared subscription, "" for one of the client's own."""

    text: str
    topic: str
    group: str = ""


def check_topic(topic: str) -> str:
    """Return a topic that can be published to; raise `BadPacket` for wildcards [MQTT-3.3.2-2]. It may be empty."""
    if "+" in topic or "#" in topic:
        raise BadPacket(Reason.TOPIC_NAME_INVALID, f"the topic {topic[:80]!r} contains a wildcard")
    return topic


def parse_filter(text: str) -> Filter:
    """Read a topic filter; raise `BadPacket` if wildcards or the share name stand where they can't."""
    if not text.startswith(_SHARE):
        return Filter(text, _check_levels(text, text))
    group, slash, topic = text[len(_SHARE) :].partition("/")
    if not group or not slash or "+" in group or "#" in group:
        raise BadPacket(Reason.TOPIC_FILTER_INVALID, f"{text[:80]!r} is not $share/NAME/FILTER")
    return Filter(text, _check_levels(topic, text), group)


def _check_levels(topic: str, text: str) -> str:
    if not topic:
        raise BadPacket(Reason.TOPIC_FILTER_INVALID, f"the topic filter {text[:80]!r} is empty")
    if "#" in topic or "+" in topic:
        *first, last = topic.split("/")
        if any("#" in level or ("+" in level and level != "+") for level in first):
            raise BadPacket(
                Reason.TOPIC_FILTER_INVALID, f"{text[:80]!r}: '+' stands for a whole level, '#' stands last"
            )
        if last not in ("#", "+") and ("#" in last or "+" in last):
            raise BadPacket(Reason.TOPIC_FILTER_INVALID, f"{text[:80]!r}: a wildcard stands for a whole level")
    return topic


def matches(topic_filter: str, topic: str) -> bool:
    """Say whether a filter (without its share) covers a topic: the plain reading of section 4.7, for one pair."""
    if topic.startswith("$") and topic_filter[:1] in ("+", "#"):
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        if len(levels) < len(wanted):
            return False
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(w in ("+", level) for w, level in zip(wanted, levels, strict=True))
