"""Checks: one-off go/no-go questions, and what is expected of their answers.

A check names one source (a command, a script, an HTTP call, SQL, PromQL, a file, an environment variable, a person)
and, with ``expect``, what the answer must look like. Checks are safe to repeat; what has consequences is an action.
"""

from collections import Counter
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from stages.values import Age, Bound, Duration, Environments, Json, Name, Part, SecretRef, TextOrSecret, Words

SOURCES = ("command", "script", "http", "sql", "health", "query", "file", "env", "manual")


class Health(StrEnum):
    """What a database says of itself: seconds, or a share (``"> 80%"``)."""

    LONGEST_LOCK_WAIT = "longest_lock_wait"
    LONGEST_TRANSACTION = "longest_transaction"
    REPLICATION_LAG = "replication_lag"
    DEAD_TUPLES = "dead_tuples"
    CONNECTIONS = "connections"


class NumberExpectation(Part):
    number: Bound


def _is_number(value: Any) -> str:
    is_bound = isinstance(value, NumberExpectation) or (isinstance(value, dict) and set(value) == {"number"})
    return "number" if is_bound else "value"


JsonExpectation = Annotated[
    Annotated[NumberExpectation, Tag("number")] | Annotated[Json, Tag("value")], Discriminator(_is_number)
]


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
    age: Age | None = None
    json_: dict[str, JsonExpectation] | None = Field(default=None, alias="json")


class HttpRequest(Part):
    """One HTTP request. ``status`` is what counts as answered well (any 2xx if none is named)."""

    url: str
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    headers: dict[str, TextOrSecret] = Field(default_factory=dict)
    bearer: SecretRef | None = None
    json_: Json | None = Field(default=None, alias="json")
    body: str | None = None
    status: int | tuple[int, ...] | None = None
    timeout: Duration = Field(default=10.0, gt=0)
    value: str | None = None

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if "json_" in self.model_fields_set and self.body is not None:
            raise ValueError("a request has json or body, not both")
        return self

    @property
    def statuses(self) -> tuple[int, ...]:
        if self.status is None:
            return tuple(range(200, 300))
        return (self.status,) if isinstance(self.status, int) else self.status


class Source(Part):
    """Where an answer comes from. Exactly one of the fields of ``SOURCES`` is given."""

    command: Words | None = None
    script: str | None = None
    http: HttpRequest | None = None
    sql: str | None = None
    health: Health | None = None
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
        for name, owners in _BELONGS.items():
            if name in self.model_fields_set and given[0] not in owners:
                raise ValueError(f"{name} belongs to {' and '.join(owners)}, not to {given[0]}")


_BELONGS: dict[str, tuple[str, ...]] = {
    "database": ("sql", "health"),
    "source": ("query", "sql", "health"),
    "dir": ("command", "script"),
    "vars": ("command", "script"),
    "by": ("manual",),
    "optional": ("manual",),
}
"""Fields that only some sources know: with another they would be ignored, and are refused instead."""

_EXPECTED_OF: dict[str, tuple[str, ...]] = {
    "exit": ("command", "script"),
    "stdout": ("command", "script"),
    "rows": ("sql", "query"),
    "size": ("file",),
    "age": ("file",),
}


class Retries(Part):
    every: Duration = Field(default=15.0, gt=0)
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
        if self.manual is not None and "expect" in self.model_fields_set:
            raise ValueError("a person answers a manual check; there is nothing else to expect")
        for name in sorted(self.expect.model_fields_set):
            owners = _EXPECTED_OF.get(name, SOURCES)
            if self.kind not in owners:
                raise ValueError(f"expect.{name} belongs to {' and '.join(owners)}, not to {self.kind}")
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
        if self.on_timeout == "rollback" and self.timeout is None:
            raise ValueError("on_timeout needs a timeout, after which it happens")
        return self

    def satisfied(self, approvers: tuple[tuple[str, tuple[str, ...]], ...]) -> bool:
        """Whether these *approvers*, pairs of a distinct name and its groups, are enough."""
        if self.all_of:
            return _distinct_cover(self.all_of, approvers) and len(approvers) >= self.count
        return sum(1 for who in approvers if is_one_of(self.any_of, who)) >= self.count

    def roles(self, approvers: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[str | None, ...]:
        """As which of the names and groups each of the *approvers* counts: of ``all_of``, each entry needs a person of
        its own. None: as none of them."""
        if self.all_of:
            taken = _cover(self.all_of, approvers)
            return tuple(taken.get(index) for index in range(len(approvers)))
        return tuple(next((entry for entry in self.any_of if is_one_of((entry,), who)), None) for who in approvers)

    def missing(self, approvers: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[str, ...]:
        """Whose yes is needed beside that of the *approvers*, as people read it; empty if they are enough."""
        counted = [role for role in self.roles(approvers) if role is not None]
        left = tuple((Counter(self.all_of) - Counter(counted)).elements())
        more = self.count - len(left) - (len(approvers) if self.all_of else len(counted))
        if more <= 0:
            return left
        named = self.any_of + self.all_of
        if more == 1 and len(named) == 1:
            return (*left, named[0])
        return (*left, f"{more} of {', '.join(named)}")

    def accepts(self, name: str, groups: tuple[str, ...]) -> bool:
        return is_one_of(self.any_of + self.all_of, (name, groups))


def is_one_of(wanted: tuple[str, ...], who: tuple[str, tuple[str, ...]]) -> bool:
    name, groups = who
    return any(entry == name or entry in groups for entry in wanted)


def _distinct_cover(wanted: tuple[str, ...], approvers: tuple[tuple[str, tuple[str, ...]], ...]) -> bool:
    """Whether every entry of *wanted* can be given an approver of its own."""
    return len(_cover(wanted, approvers)) == len(wanted)


def _cover(wanted: tuple[str, ...], approvers: tuple[tuple[str, tuple[str, ...]], ...]) -> dict[int, str]:
    """By the index of an approver the entry of *wanted* that he is given, for as many entries as can have one of their
    own (augmenting paths; both sides are small)."""
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

    for entry in wanted:
        place(entry, set())
    return taken
