"""When something recurs: at a time of some days, or by a cron expression. Pure: the time is given.

What an expression means is APScheduler's to say, but for two things that surprise people. Days of the week count from
Sunday, 0 or 7, as in every other cron. And a time of day that comes twice, in the night when clocks are set back, is
meant once.
"""

from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from apscheduler.triggers.cron import CronTrigger

CRON_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
KEPT: Final = 1024
"""Answers: whoever waits for a round asks for the same again and again."""
_FIELDS: Final = 5
_FARTHEST: Final = timedelta(days=5 * 366)
"""Nothing that recurs is farther away: the 29th of February comes every four years, but for one in a century."""


@lru_cache(KEPT)
def next_at(clock: time, days: tuple[str, ...], timezone: str, after: float) -> float | None:
    """The first time after *after* (seconds since the epoch) at which it is *clock* on one of *days*."""
    from apscheduler.triggers.cron import CronTrigger

    trigger = CronTrigger(hour=clock.hour, minute=clock.minute, day_of_week=",".join(days), timezone=ZoneInfo(timezone))
    found = _next(trigger, after)
    while found is not None and found.fold and _is_repeated(found):
        found = _next(trigger, found.timestamp())
    return found.timestamp() if found is not None else None


@lru_cache(KEPT)
def next_by_cron(expression: str, timezone: str, after: float) -> float | None:
    """The first time after *after* that *expression* names; None if it names none. Raises ValueError."""
    found = _next(_trigger(expression, timezone), after)
    return found.timestamp() if found is not None else None


def check_cron(expression: str) -> None:
    """Raises ValueError, with what is wrong, also for an expression that no day ever meets."""
    begin = datetime(2024, 1, 1, tzinfo=UTC).timestamp()  # a leap year
    if next_by_cron(expression, "UTC", begin) is None:
        raise ValueError(f"{expression!r} names no day that there is")


def _trigger(expression: str, timezone: str) -> "CronTrigger":
    from apscheduler.triggers.cron import CronTrigger

    fields = expression.split()
    if len(fields) != _FIELDS:
        raise ValueError(
            f"{expression!r} is no cron expression: minute, hour, day, month and day of the week are meant"
        )
    minute, hour, day, month, weekday = fields
    if day not in ("*", "?") and weekday not in ("*", "?"):
        raise ValueError(
            f"{expression!r} names days of the month and of the week: to some programs that is either, to others both; "
            "write two rounds"
        )
    try:
        return CronTrigger(
            minute=minute, hour=hour, day=day.replace("?", "*"), month=month, day_of_week=_weekdays(weekday),
            timezone=ZoneInfo(timezone),
        )  # fmt: skip
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{expression!r} is no cron expression: {error}") from None


def _weekdays(field: str) -> str:
    """Names of the days that a field of cron means, which count from Sunday there."""
    if field in ("*", "?"):
        return "*"
    found = [name for part in field.lower().split(",") for name in _of_part(part)]
    return ",".join(dict.fromkeys(found))


def _of_part(part: str) -> list[str]:
    span, _, step = part.partition("/")
    first, dash, last = span.partition("-")
    if span == "*":
        begin, end = 0, 6
    else:
        begin = _number_of(first)
        end = _number_of(last) if dash else (6 if step else begin)
    if end < begin:
        end += 7  # fri-mon
    width = int(step) if step.isdecimal() else 1
    if (step and not step.isdecimal()) or width < 1 or end - begin > 7:
        raise ValueError(f"{part!r} is no day of the week")
    return [CRON_DAYS[number % 7] for number in range(begin, end + 1, width)]


def _number_of(word: str) -> int:
    if word in CRON_DAYS:
        return CRON_DAYS.index(word)
    if word.isdecimal() and int(word) <= 7:
        return int(word)
    raise ValueError(f"{word!r} is no day of the week")


def _next(trigger: "CronTrigger", after: float) -> datetime | None:
    begin = datetime.fromtimestamp(after, UTC) + timedelta(microseconds=1)
    found: datetime | None = trigger.get_next_fire_time(None, begin)
    return found if found is not None and found - begin <= _FARTHEST else None


def _is_repeated(moment: datetime) -> bool:
    """Whether the same time of day was there before, an hour ago as a rule, before clocks were set back."""
    first = moment.replace(fold=0)
    return first.astimezone(UTC) != moment.astimezone(UTC)
