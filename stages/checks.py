"""Checks: one-off go/no-go questions, and what is expected of their answers.

A check names one source (a command, a script, an HTTP call, SQL, PromQL, a file, an environment variable, a person)
and, with ``expect``, what the answer must look like. Checks are safe to repeat; what has consequences is an action.
"""

from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from stages.values import Bound, Duration, Environments, Json, Name, Part, SecretRef, TextOrSecret

SOURCES = ("command", "script", "http", "sql", "query", "file", "env", "manual")


class NumberExpectation(Part):
    number: Bound


class Expect(Part):
    """What an answer must be; all that is given must hold. ``exit`` is 0 unless said otherwise."""

    exit: int | Literal["any"] | None = None
    number: Bound | None = None
    stdout: str | None = None
    contains: str | tuple[str, ...] | None = None
    lacks: str | tuple[str, ...] | None = None
    rows: int | Bound | None = None
    duration: Bound | None = None
    size: Bound | None = None
    age: str | None = None
    json_: dict[str, NumberExpectation | Json] | None = Field(default=None, alias="json")


class HttpRequest(Part):
    """One HTTP request. ``status`` is what counts as answered well (any 2xx if none is named)."""

    url: str
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    headers: dict[str, TextOrSecret] = Field(default_factory=dict)
    bearer: SecretRef | None = None
    json_: Json | None = Field(default=None, alias="json")
    body: str | None = None
    status: int | tuple[int, ...] | None = None
    timeout: Duration = 10.0
    value: str | None = None

    @property
    def statuses(self) -> tuple[int, ...]:
        if self.status is None:
            return tuple(range(200, 300))
        return (self.status,) if isinstance(self.status, int) else self.status


class Source(Part):
    """Where an answer comes from. Exactly one of the fields of ``SOURCES`` is given."""

    command: tuple[str, ...] | None = None
    script: str | None = None
    http: HttpRequest | None = None
    sql: str | None = None
    query: str | None = None
    file: str | None = None
    env: str | None = None
    database: TextOrSecret | None = None
    source: str | None = None
    dir: str | None = None
    vars: dict[str, TextOrSecret] = Field(default_factory=dict)
    timeout: Duration | None = None

    @property
    def kind(self) -> str:
        return next((name for name in SOURCES if getattr(self, name, None) is not None), "")

    def _check_one_source(self, allowed: tuple[str, ...]) -> None:
        given = [name for name in allowed if getattr(self, name, None) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"exactly one of {', '.join(allowed)} is expected; found {found}")


class Retries(Part):
    every: Duration = 15.0
    for_: Duration = Field(alias="for")


class Check(Source):
    """A go/no-go question with its expected answer."""

    name: Name = ""
    manual: str | None = None
    by: tuple[str, ...] = ()
    expect: Expect = Field(default_factory=Expect)
    retries: Retries | None = None
    required: bool = True
    optional: bool = False
    environments: Environments = ()

    @model_validator(mode="before")
    @classmethod
    def _name_after_source(cls, value: Any) -> Any:
        if isinstance(value, dict) and not value.get("name"):
            kind = next((name for name in SOURCES if value.get(name) is not None), None)
            if kind is not None:
                return {**value, "name": _label(kind, value[kind])}
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        self._check_one_source(SOURCES)
        return self


def _label(kind: str, source: Any) -> str:
    text = " ".join(map(str, source)) if isinstance(source, list | tuple) else source
    if isinstance(source, dict):
        text = source.get("url", "")
    return f"{kind}: {str(text).strip()[:80]}"


class Standing(StrEnum):
    """How a check was answered."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"  # the question could not be asked


class Approval(Part):
    """Who must say yes before an entry, or before the watch ends."""

    any_of: tuple[str, ...] = ()
    all_of: tuple[str, ...] = ()
    count: int = Field(default=1, ge=1)
    timeout: Duration | None = None
    on_timeout: Literal["hold", "rollback"] = "hold"
    self_approval: bool = False

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if bool(self.any_of) == bool(self.all_of):
            raise ValueError("an approval names either any_of or all_of, with at least one group or name")
        return self

    def satisfied(self, approvers: tuple[tuple[str, tuple[str, ...]], ...]) -> bool:
        """Whether these *approvers*, pairs of a distinct name and its groups, are enough."""
        if self.all_of:
            return _distinct_cover(self.all_of, approvers) and len(approvers) >= self.count
        return sum(1 for who in approvers if is_one_of(self.any_of, who)) >= self.count

    def accepts(self, name: str, groups: tuple[str, ...]) -> bool:
        return is_one_of(self.any_of + self.all_of, (name, groups))


def is_one_of(wanted: tuple[str, ...], who: tuple[str, tuple[str, ...]]) -> bool:
    name, groups = who
    return any(entry == name or entry in groups for entry in wanted)


def _distinct_cover(wanted: tuple[str, ...], approvers: tuple[tuple[str, tuple[str, ...]], ...]) -> bool:
    """Whether every entry of *wanted* can be given an approver of its own (augmenting paths; both sides are small)."""
    taken: dict[int, str] = {}

    def place(entry: str, seen: set[int]) -> bool:
        for index, who in enumerate(approvers):
            if index in seen or not is_one_of((entry,), who):
                continue
            seen.add(index)
            if index not in taken or place(taken[index], seen):
                taken[index] = entry
                return True
        return False

    return all(place(entry, set()) for entry in wanted)
