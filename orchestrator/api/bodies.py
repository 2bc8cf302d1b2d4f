"""What is received and what is promised: the bodies of the HTTP interface."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator, model_validator

from orchestrator.core.commands import Command
from orchestrator.core.events import PlanDocument
from stages.flag_spec import FlagChange
from stages.values import Part

Text = Annotated[str, Field(max_length=4000)]
Why = Annotated[str, Field(max_length=4000, pattern=r"\S", description="Why: it goes into the journal.")]
EnvironmentName = Annotated[str, Field(min_length=1, max_length=200)]
NO_REASON = "no reason given"
MOST_LETTERS = 4000
LAST_SEQ = (1 << 63) - 1
"""Of a journal: what a store can count to."""


def can_be_kept(value: Any) -> Any:
    """Raises ValueError for a text that not every store could keep, or not every reader be shown."""
    if isinstance(value, str) and ("\0" in value or (not value.isascii() and _has_half_a_pair(value))):
        raise ValueError("a text has no NUL and no half of a surrogate pair")
    return value


def _has_half_a_pair(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)


# --- received ---------------------------------------------------------------------------------------------------------


class Received(Part):
    """The framework looks at these when the routes are made, so they can't be built later, when first used."""

    model_config = ConfigDict(defer_build=False)

    _texts_can_be_kept = field_validator("*")(can_be_kept)


class SubmissionBody(Received):
    """A plan as `rollout start` sends it: read, expanded for each environment and checked where it lies."""

    plan: Annotated[str, Field(description="metadata.name of the plan")]
    digest: Annotated[str, Field(description="SHA-256 over documents and files, hexadecimal")]
    documents: Annotated[tuple[PlanDocument, ...], Field(min_length=1)]
    files: dict[str, str] = Field(default_factory=dict, description="path as written in the plan -> text")
    directory: Annotated[
        str | None, Field(description="The plan's folder. Taken from whoever runs the controller alone.")
    ] = None
    supersede: Annotated[str | None, Field(description="The active run whose targets this plan takes over.")] = None
    reason: Text = ""


class ValidationBody(Received):
    """A plan as it is written, and what it is written with."""

    text: Annotated[str, Field(description="the YAML")]
    file: Annotated[str, Field(description="what the problems call it")] = "plan.yaml"
    variables: dict[str, str] = Field(default_factory=dict, description="values of ${NAME}")
    sets: tuple[str, ...] = Field(default=(), description="as with --set: a.b=c")
    files: dict[str, str] = Field(default_factory=dict, description="path as written in the plan -> text")


class FlagPatch(FlagChange):
    """Keys that are set; what is not named stays as it is. Parameters and targets are merged by key."""

    model_config = ConfigDict(defer_build=False)

    reason: Why

    _reason_can_be_kept = field_validator("reason")(can_be_kept)

    @model_validator(mode="after")
    def _changes_something(self) -> FlagPatch:
        if not self.change.keys:
            known = ", ".join(FlagChange.model_fields)
            raise ValueError(f"nothing is changed; give at least one of {known}")
        return self

    @property
    def change(self) -> FlagChange:
        return FlagChange.model_construct(**{name: getattr(self, name) for name in FlagChange.model_fields})


class CommandBody(Command):
    """What is asked of a run; `command` says which of the others count."""

    model_config = ConfigDict(defer_build=False)

    @field_validator("*")
    @classmethod
    def _texts_can_be_kept(cls, value: Any) -> Any:
        if isinstance(value, str) and len(value) > MOST_LETTERS:
            raise ValueError(f"a text of at most {MOST_LETTERS} characters is expected")
        return can_be_kept(value)


class KillBody(Received):
    """May be left out altogether: a kill switch must work in a hurry."""

    environment: Annotated[EnvironmentName | None, Field(description="Left out: all environments.")] = None
    run: Annotated[str | None, Field(description="Only the flags of this run's plan.")] = None
    owner: Annotated[str | None, Field(description="Only the flags of plans with this owner.")] = None
    include_permanent: Annotated[bool, Field(description="Permanent flags too, which are passed by otherwise.")] = False
    reason: Text = NO_REASON

    @model_validator(mode="after")
    def _one_scope(self) -> Self:
        if self.run is not None and self.owner is not None:
            raise ValueError("run and owner: give one of the two")
        return self


class LiftBody(Received):
    environment: Annotated[EnvironmentName | None, Field(description="Left out: the latch of all environments.")] = None
    key: Annotated[str | None, Field(description="Only this flag is let go.")] = None
    reason: Why
    confirm: Annotated[bool, Field(description="Without it, only what would happen is answered.")] = False


Name = Annotated[str, Field(min_length=1, max_length=200)]


class TokenBody(Received):
    name: Annotated[Name, Field(description="Who bears it: goes into the journal with whatever is done by it.")]
    role: Literal["viewer", "operator", "approver", "admin"]
    groups: Annotated[tuple[Name, ...], Field(max_length=50, description="For approvals.")] = ()
    expires: Annotated[AwareDatetime | None, Field(description="Left out: it holds until it is revoked.")] = None
    environment: Annotated[
        EnvironmentName | None, Field(description="Whose flags an application reads with it, unless it names another.")
    ] = None

    @field_validator("name", "groups")
    @classmethod
    def _can_be_shown(cls, value: Any) -> Any:
        for text in (value,) if isinstance(value, str) else value:
            if not text.isprintable() or text != text.strip():
                raise ValueError("must be printable, without blanks around it")
        return value


class BlockBody(Received):
    """Whom, or which token, of the provider: exactly one of them."""

    subject: Annotated[Name | None, Field(description="`sub` of the provider's tokens: all of them.")] = None
    token_id: Annotated[Name | None, Field(description="`jti` of one of them.")] = None
    reason: Why
    expires: Annotated[AwareDatetime | None, Field(description="Left out: until it is revoked.")] = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.subject is None) == (self.token_id is None):
            raise ValueError("exactly one of subject and token_id is expected")
        return self


class RevocationBody(Received):
    reason: Why


# --- answered ---------------------------------------------------------------------------------------------------------


class Answered(BaseModel):
    """More fields may come with a later version; these stay."""

    model_config = ConfigDict(extra="allow")


class Error(Answered):
    error: Annotated[str, Field(description="The kind of refusal, such as NotFound, Refused, Forbidden.")]
    message: Annotated[str, Field(description="One sentence for a person.")]
    problems: list[dict[str, Any]] | None = None


class Started(Answered):
    run: str
    started: Annotated[bool, Field(description="False: an active run of the same plan was there and is the answer.")]
    warnings: Annotated[list[str], Field(description="Of the SQL that the plan's own migrator would run.")]


class Accepted(Answered):
    run: str
    command: str
    accepted: Literal[True]
    seq: int
    run_started: Annotated[str | None, Field(description="A rollback of an ended run is a run of its own.")]


class Who(Answered):
    name: str
    role: str
    groups: list[str]


class Me(Who):
    csrf: Annotated[
        str | None,
        Field(description="Of a session: what `X-CSRF-Token` is to be, to change something. Of a token: null."),
    ]


class Offered(Answered):
    """A command with its arguments, as it is sent to `commands`."""

    command: str
    item: str | None
    stage: str | None
    flag: str | None
    pin: str | None
    target: str | None
    taken_as: str
    trigger: str | None
    with_schema: bool
    not_applicable: bool
    what: Annotated[str, Field(description="what it does, in words")]
    refused: Annotated[str | None, Field(description="Why it would be refused now; null: it would be accepted.")]
    returns: Annotated[list[str], Field(description="Of a rollback: what comes back.")]
    stays: Annotated[list[str], Field(description="Of a rollback: what does not, and why.")]


class Offers(Answered):
    actor: Who
    commands: list[Offered]


class Asked(Answered):
    """Something that a person is asked: an approval, a question, a check or step by hand, a sign-off, a follow-up."""

    run: str
    plan: str
    environment: str
    stage: str | None
    item: str
    kind: str
    text: str
    by: Annotated[list[str], Field(description="Who may answer: names and groups; empty: whoever has the role.")]
    since: str
    until: str | None
    approved_by: Annotated[list[str], Field(description="Who has approved already, where several must.")]
    rejected: Annotated[
        dict[str, str] | None, Field(description="`{by, reason}` of who rejected it last: it may still be approved.")
    ]
    author: Annotated[
        str | None, Field(description="Who started the run, and may not approve it unless the plan lets him.")
    ]
    answers: Annotated[
        list[Offered], Field(description="What you could answer, or why not; empty where your role never may.")
    ]


class TokenShown(Answered):
    id: str
    name: str
    role: str
    groups: list[str]
    environment: str | None
    created: str
    by: str
    expires: str | None
    state: Literal["live", "expired", "revoked"]
    revoked: dict[str, str] | None


class TokenMade(TokenShown):
    secret: Annotated[str, Field(description="The token itself. Nobody can be told again.")]


class Noted(Answered):
    seq: int
    time: str
    what: Literal[
        "token.created",
        "token.revoked",
        "provider.blocked",
        "frozen",
        "unfrozen",
        "scheduled",
        "unscheduled",
        "refused",
    ]
    by: str
    detail: dict[str, str | int | None]


class RunStatus(Answered):
    """Where a run stands. Lists leave out what needs the whole journal (holds, gate, next, ...)."""

    run: str
    plan: str
    digest: str
    seq: Annotated[int | None, Field(description="The number of its newest event.")] = None
    phase: Literal["checking", "running", "watching", "rolling_back", "ended"]
    leg: str | None = None
    outcome: Literal["promoted", "rolled_back", "stopped", "rollback_failed"] | None
    environment: str
    stage: str | None
    step: str | None
    percentages: dict[str, float] | None = None
    holds: list[dict[str, Any]] | None = None
    gate: dict[str, Any] | None = None
    next: dict[str, Any] | None = None
    waiting: list[dict[str, Any]] | None = None
    exceptions: list[str] | None = None
    frozen: Annotated[
        list[dict[str, Any]] | None, Field(description="Freezes that stand over environments of the plan.")
    ] = None
    started: str | None
    ended: str | None
    controller: Annotated[
        str | None, Field(description="Where several controllers share the store: which one acts for it.")
    ] = None
    kept: Annotated[
        dict[str, Any] | None,
        Field(description="`{since, entries, head, setting, sentence}`: since then only its report is kept."),
    ] = None
    kept_since: Annotated[str | None, Field(description="In lists: the same, as a time.")] = None


class Entry(Answered):
    seq: int
    time: str
    type: str
    by: str
    reason: str
    data: dict[str, Any]


class Course(Answered):
    run: str
    seq: int
    exposure: Annotated[
        list[dict[str, Any]],
        Field(description="`{environment, flag, points: [[time, percentage]]}`, each until the next."),
    ]
    marks: Annotated[list[dict[str, Any]], Field(description="`{seq, time, type, what}`: what to mark beside them.")]
    entries: Annotated[
        list[dict[str, Any]],
        Field(
            description="Newest first: `{seq, time, type, by, reason, what}`, `what` null where only machines need it."
        ),
    ]
    has_earlier: bool


class Report(Answered):
    status: RunStatus
    history: list[Entry]
    report: Annotated[dict[str, Any], Field(description="What `rollout report --format json` prints.")]


class FlagShown(Answered):
    key: str
    environment: str
    state: Literal["enabled", "disabled"]
    killed: bool
    percentage: float
    targets: dict[str, list[str]]
    parameters: dict[str, Any]
    variants: dict[str, Any]
    default_variant: str
    version: str
    run: Annotated[str | None, Field(description="The active run that moves this flag.")]
    pinned: bool


class FlagChanged(Answered):
    version: str
    at: str
    by: str
    reason: str
    run: Annotated[str | None, Field(description="The run that made the change, if one did.")]
    changed: Annotated[dict[str, Any], Field(description="Fields that are others than in the version before.")]


class Valid(Answered):
    plan: str
    digest: str
    environments: list[str]
    warnings: list[dict[str, Any]]


class Foreseen(Valid):
    findings: Annotated[
        list[dict[str, Any]],
        Field(description="`{level, where, sentence}`: what the plan would meet, and what gates can see."),
    ]


class Latched(Answered):
    environment: str
    by: str
    reason: str
    at: str


class Lifted(Answered):
    lifted: bool
    would_return: Annotated[dict[str, float], Field(description="environment/key -> the percentage it returns to")]


Responses = dict[int | str, dict[str, Any]]


def refusals(*statuses: int) -> Responses:
    """For the OpenAPI page: what a route may answer beside success."""
    words = {
        400: "The request can't be understood",
        401: "A valid token is needed",
        403: "The token's role, or the person, may not do this",
        404: "There is no such thing",
        409: "It makes no sense now; the message says what would work",
        410: "Only the report of this run is kept",
        413: "The body is too large",
        422: "The request, or the plan in it, is not valid; `problems` lists what is wrong",
        429: "Too often: `Retry-After` says when to come again",
        503: "The store can't be used now",
    }
    return {status: {"model": Error, "description": words[status]} for status in (401, 403, *statuses, 422, 429, 503)}
