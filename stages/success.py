"""What a change was made for, and what is left to do afterwards."""

from typing import Literal, Self

from pydantic import Field, model_validator

from stages.checks import HttpRequest
from stages.statistics.window_mean import Mean
from stages.values import Bound, Duration, Name, Part, TextOrSecret, Words


class Level(Part):
    """What a value was over a window: its mean, with the standard error of that and its degrees of freedom (0 of both
    where they can't be told), and the interval in which it lies 19 times of 20."""

    value: float
    error: float = 0.0
    freedom: float = 0.0
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, mean: Mean) -> Self:
        low, high = mean.interval or (None, None)
        return cls(value=mean.value, error=mean.error, freedom=mean.freedom, low=low, high=high)

    @property
    def mean(self) -> Mean:
        return Mean(self.value, self.error, self.freedom)


class SuccessCriterion(Part):
    """What the change was made for; judged when its window is full, also after the end."""

    name: Name
    query: str | None = None
    sql: str | None = None
    command: Words | None = None
    http: HttpRequest | None = None
    manual: str | None = None
    by: tuple[str, ...] = ()
    database: TextOrSecret | None = None
    source: str | None = None
    window: Duration | None = None
    after: Duration | None = None
    improves: Bound | None = None
    is_: Bound | None = Field(default=None, alias="is")
    better: Literal["lower", "higher"] = "higher"

    @model_validator(mode="after")
    def _complete(self) -> Self:
        given = [name for name in ("query", "sql", "command", "http", "manual") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("a success criterion names exactly one of query, sql, command, http, manual")
        if self.manual is None and (self.improves is None) == (self.is_ is None):
            raise ValueError("a success criterion says either improves or is")
        if self.manual is not None and (self.improves is not None or self.is_ is not None):
            raise ValueError("a person judges a manual success criterion; improves and is are for numbers")
        if self.improves is not None and self.window is None:
            raise ValueError("improves compares two windows; say how long they are with window")
        if "better" in self.model_fields_set and self.improves is None:
            raise ValueError("better says in which direction a value improves; it goes with improves")
        return self

    @property
    def due_seconds(self) -> float:
        """How long after the end of the last stage it can be judged."""
        return self.after if self.after is not None else self.window or 0.0


class FollowUp(Part):
    name: Name
    manual: str
    by: tuple[str, ...] = ()
    due: Duration | None = None
    when: Literal["promoted", "rolled_back"] = "promoted"
