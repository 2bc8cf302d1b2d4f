"""Windows: when forward effects are allowed. Pure: the time is given, as seconds since the epoch in UTC."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Discriminator, Field, PlainSerializer, Tag, field_validator, model_validator

from stages.values import Part

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}")
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _parse_time(value: Any) -> Any:
    if isinstance(value, time):
        return value
    if value == "24:00":
        return time.max
    try:
        return time.fromisoformat(str(value))
    except ValueError as error:
        raise ValueError(f'a time such as "09:00" is expected, not {value!r}') from error


def _write_time(value: time) -> str:
    return "24:00" if value == time.max else value.isoformat(timespec="minutes")


TimeOfDay = Annotated[
    time, BeforeValidator(_parse_time, json_schema_input_type=str), PlainSerializer(_write_time, return_type=str)
]


FIRST_YEAR, LAST_YEAR = 2000, 3000


class Hours(Part):
    """Hours of some days of the week; ``to`` at or before ``from`` runs into the next day."""

    days: tuple[Day, ...] = Field(default=DAYS, min_length=1)
    from_: TimeOfDay = Field(default=time.min, alias="from")
    to: TimeOfDay = time.max

    def contains(self, moment: datetime) -> bool:
        clock = moment.timetz().replace(tzinfo=None)
        if self.from_ < self.to:
            return DAYS[moment.weekday()] in self.days and self.from_ <= clock < self.to
        yesterday = DAYS[(moment.weekday() - 1) % 7]
        return (DAYS[moment.weekday()] in self.days and clock >= self.from_) or (
            yesterday in self.days and clock < self.to
        )


class Freeze(Part):
    """Whole days, both included, or an exact span of time."""

    from_: date | datetime = Field(alias="from")
    to: date | datetime
    reason: str | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not all(FIRST_YEAR <= moment.year <= LAST_YEAR for moment in (self.from_, self.to)):
            raise ValueError(f"a date lies between the years {FIRST_YEAR} and {LAST_YEAR}")
        if self.starts(ZoneInfo("UTC")) >= self.ends(ZoneInfo("UTC")):
            raise ValueError("a span of time ends after it begins")
        return self

    def starts(self, zone: ZoneInfo) -> datetime:
        return _moment(self.from_, zone)

    def ends(self, zone: ZoneInfo) -> datetime:
        if isinstance(self.to, datetime):
            return _moment(self.to, zone)
        return _moment(self.to + timedelta(days=1), zone)


def _moment(value: date | datetime, zone: ZoneInfo) -> datetime:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=zone)
    return datetime.combine(value, time.min, tzinfo=zone)


def _deny_kind(value: Any) -> str:
    """Hours are told by their days, or by a time where a span of time has a date."""
    if isinstance(value, Freeze | Hours):
        return "span" if isinstance(value, Freeze) else "hours"
    if not isinstance(value, dict):
        return "span"
    edges = [str(value[name]) for name in ("from", "to") if name in value]
    is_hours = "days" in value or (bool(edges) and all(_CLOCK.match(edge) for edge in edges))
    return "hours" if is_hours else "span"


AnyDeny = Annotated[Annotated[Freeze, Tag("span")] | Annotated[Hours, Tag("hours")], Discriminator(_deny_kind)]


def known_timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"{value!r} is no time zone; names look like Europe/Berlin") from error
    return value


class Window(Part):
    """Open when no ``deny`` covers the moment and, if there are any ``allow``, one of them does."""

    timezone: str = "UTC"
    allow: tuple[Hours, ...] = ()
    deny: tuple[AnyDeny, ...] = ()

    _known_timezone = field_validator("timezone")(known_timezone)

    def is_open(self, now: float) -> bool:
        zone = ZoneInfo(self.timezone)
        moment = datetime.fromtimestamp(now, UTC).astimezone(zone)
        if any(_denies(entry, moment, zone) for entry in self.deny):
            return False
        return not self.allow or any(hours.contains(moment) for hours in self.allow)

    def why_denied(self, now: float) -> str | None:
        """The reason that the plan gives for what is denied at that moment, if it gives one."""
        zone = ZoneInfo(self.timezone)
        moment = datetime.fromtimestamp(now, UTC).astimezone(zone)
        spans = (entry for entry in self.deny if isinstance(entry, Freeze) and _denies(entry, moment, zone))
        return next((span.reason for span in spans if span.reason), None)

    def opens_at(self, now: float, horizon_days: int = 35) -> float | None:
        """The next moment (seconds since the epoch) at which the window is open, or None within the horizon."""
        if self.is_open(now):
            return now
        edges = sorted(edge for edge in self.edges(now, horizon_days) if edge > now)
        return next((edge for edge in edges if self.is_open(edge)), None)

    def edges(self, now: float, horizon_days: int) -> set[float]:
        """Every moment at which the window may change from closed to open."""
        zone = ZoneInfo(self.timezone)
        today = datetime.fromtimestamp(now, UTC).astimezone(zone).date()
        hours = [*self.allow, *(entry for entry in self.deny if isinstance(entry, Hours))]
        clocks = {time.min} | {entry.from_ for entry in hours} | {entry.to for entry in hours}
        days = [today + timedelta(days=offset) for offset in range(horizon_days + 1)]
        edges = {datetime.combine(day, clock, tzinfo=zone).timestamp() for day in days for clock in clocks}
        return edges | {entry.ends(zone).timestamp() for entry in self.deny if isinstance(entry, Freeze)}


def _denies(entry: Freeze | Hours, moment: datetime, zone: ZoneInfo) -> bool:
    if isinstance(entry, Hours):
        return entry.contains(moment)
    return entry.starts(zone) <= moment < entry.ends(zone)
