"""The hours in which a box may train: windows of its local week, by the clock on the wall."""

from dataclasses import dataclass

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Moment:
    """A local time as a wall shows it: the weekday, from Monday = 0 on, and the minute of the day."""

    weekday: int
    minute: int

    def __str__(self) -> str:
        return f"{_DAYS[self.weekday]} {self.minute // 60:02}:{self.minute % 60:02}"


@dataclass(frozen=True, slots=True)
class Window:
    """From one minute of a day up to, without it, another; one that does not end later ends on the next day."""

    days: frozenset[int]
    start: int
    end: int

    def holds(self, moment: Moment) -> bool:
        """Say whether a moment is in it. The hour that a clock skips in spring is in none, that of autumn in twice."""
        today = moment.weekday in self.days
        if self.start < self.end:
            return today and self.start <= moment.minute < self.end
        yesterday = (moment.weekday - 1) % 7 in self.days
        return (today and moment.minute >= self.start) or (yesterday and moment.minute < self.end)


@dataclass(frozen=True, slots=True)
class Hours:
    """Windows, with how they were spelled; none: always."""

    windows: tuple[Window, ...] = ()
    spelled: tuple[str, ...] = ()

    def hold(self, moment: Moment) -> bool:
        """Say whether a moment is in one of them."""
        return not self.windows or any(window.holds(moment) for window in self.windows)


def parse(spelled: tuple[str, ...]) -> Hours:
    """Read windows such as "22:00-06:00", "Mon-Fri 22:00-06:00" and "Sat,Sun 00:00-24:00"; raise `ValueError`."""
    return Hours(tuple(_window(text) for text in spelled), spelled)


def _window(text: str) -> Window:
    *days, span = text.split() or [""]
    ends = span.split("-")
    if len(days) > 1 or len(ends) != 2:
        raise ValueError(f'{text!r} is no window such as "Mon-Fri 22:00-06:00"')
    start, end = (_minute(end, text) for end in ends)
    if start == _DAY_MINUTES:
        raise ValueError(f"{text!r} begins at 24:00: write 00:00 of the next day")
    return Window(_days(days[0], text) if days else frozenset(range(7)), start, end)


def _minute(text: str, of: str) -> int:
    hour, _, minute = text.partition(":")
    if not (len(hour) == len(minute) == 2 and (hour + minute).isascii() and (hour + minute).isdigit()):
        raise ValueError(f"{of!r} has a time that is not spelled as 06:30 is")
    minutes = int(hour) * 60 + int(minute)
    if int(minute) > 59 or minutes > _DAY_MINUTES:
        raise ValueError(f"{of!r} has a time beyond 24:00")
    return minutes


def _days(text: str, of: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        ends = part.split("-")
        if len(ends) > 2 or any(end not in _DAYS for end in ends):
            raise ValueError(f"{of!r} has days that are not spelled as Mon, Sat,Sun or Mon-Fri are")
        first, last = _DAYS.index(ends[0]), _DAYS.index(ends[-1])
        found.update((first + day) % 7 for day in range((last - first) % 7 + 1))
    return frozenset(found)
