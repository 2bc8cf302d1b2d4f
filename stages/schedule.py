"""Scheduled checks: rounds of questions that are asked at their times, outside of any run.

    kind: ScheduledChecks
    spec: {timezone: Europe/Berlin, rounds: [{name: morning, at: "09:00", days: [mon], checks: [...]}]}

They are reviewed, bounded and held against the world as the plan that would ask all of it: a round is a stage of that.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from stages.calendar import check_cron, next_at, next_by_cron
from stages.checks import Check
from stages.notify import Notify
from stages.plan import Commands, Metadata, Prometheus, StagedRollout, without_extensions
from stages.problems import Path
from stages.values import Json, Name, Part, TextOrSecret
from stages.windows import DAYS, Day, TimeOfDay, known_timezone

KIND = "ScheduledChecks"


class Round(Part):
    """Questions asked together: at a time of day, on all days or some, or when a cron expression says."""

    name: Name
    at: TimeOfDay | None = None
    days: tuple[Day, ...] = Field(default=DAYS, min_length=1)
    cron: str | None = Field(default=None, max_length=200)
    checks: tuple[Check, ...] = Field(min_length=1)

    @field_validator("cron")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None:
            check_cron(value)
        return value

    @model_validator(mode="after")
    def _has_a_time(self) -> Self:
        if (self.at is None) == (self.cron is None):
            raise ValueError('a round has at, a time such as "09:00", or cron; one of them')
        if self.cron is not None and "days" in self.model_fields_set:
            raise ValueError("days belong to at; cron names its own")
        return self

    def next_at(self, timezone: str, after: float) -> float | None:
        """When it is asked next, in seconds since the epoch; None if never again."""
        if self.cron is not None:
            return next_by_cron(self.cron, timezone, after)
        assert self.at is not None
        return next_at(self.at, self.days, timezone, after)


class ScheduledChecksSpec(Part):
    timezone: str = "UTC"
    rounds: tuple[Round, ...] = Field(min_length=1, max_length=100)
    notify: Notify = Notify()
    prometheus: Prometheus | None = None
    database: TextOrSecret | None = None
    commands: Commands = Commands()

    _known_timezone = field_validator("timezone")(known_timezone)


class ScheduledChecks(Part):
    apiVersion: Literal["stagedrollout.io/v1alpha1"]  # noqa: N815 - Kubernetes' own name
    kind: Literal["ScheduledChecks"]
    metadata: Metadata
    spec: Annotated[ScheduledChecksSpec, BeforeValidator(without_extensions)]

    def round(self, name: str) -> Round | None:
        return next((one for one in self.spec.rounds if one.name == name), None)


def as_plan(raw: Json) -> StagedRollout:
    """The plan that would ask everything, of a document as JSON: each round is a stage of its checks alone."""
    spec: dict[str, Any] = {
        name: value for name, value in raw["spec"].items() if name not in ("rounds", "timezone")
    }  # fmt: skip
    spec["stages"] = [{"name": one["name"], "kind": "steps", "checks": one["checks"]} for one in raw["spec"]["rounds"]]
    return StagedRollout.model_validate({**raw, "kind": "StagedRollout", "spec": spec})


def path_in_schedule(path: Path) -> Path:
    """Where a part of that plan was written."""
    return ("spec", "rounds", *path[2:]) if path[:2] == ("spec", "stages") else path
