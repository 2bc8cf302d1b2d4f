"""The plan document: its whole language, as models. What it means is compiled by :mod:`stages.compile`."""

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from stages.actions import AnyAction
from stages.checks import Approval, Check, HttpRequest
from stages.criteria import AnyCriterion
from stages.criteria.threshold import Threshold
from stages.flag_spec import FlagChange, FlagSpec
from stages.kinds import AnyStage
from stages.kinds.base import AnyBake, Names, Question, RollbackSection
from stages.values import Bound, Duration, Environments, Json, Name, Part, Percentage, SecretRef, TextOrSecret, Words
from stages.windows import Window

API_VERSION = "stagedrollout.io/v1alpha1"


class BasicAuth(Part):
    username: TextOrSecret
    password: SecretRef


class Prometheus(Part):
    """A server that answers the Prometheus HTTP API. *scrape_interval* says how fresh its samples can be."""

    url: str
    timeout: Duration = 5.0
    scrape_interval: Duration = 15.0
    headers: dict[str, TextOrSecret] = Field(default_factory=dict)
    bearer: SecretRef | None = None
    basic: BasicAuth | None = None


class SourceSection(Part):
    prometheus: Prometheus | None = None
    database: TextOrSecret | None = None


class Commands(Part):
    dir: str | None = None
    vars: dict[str, TextOrSecret] = Field(default_factory=dict)
    timeout: Duration = 300.0
    image: str | None = None
    service_account: str | None = None


class Kubernetes(Part):
    context: str | None = None
    namespace: str | None = None


class Hold(Part):
    """How long an inconclusive hold may last, and what comes then."""

    deadline: Duration = 86400.0
    then: Literal["escalate", "rollback"] = "escalate"


class Gate(Part):
    """Criteria that must hold before a step is left, judged every look."""

    every: Duration = Field(default=15.0, gt=0)
    alpha: float | None = Field(default=None, gt=0, lt=1)
    warmup: Duration = 0.0
    criteria: tuple[AnyCriterion, ...] = Field(min_length=1)
    on_fail: Literal["rollback", "pause"] = "rollback"
    hold: Hold = Hold()
    environments: Environments = ()


class DisableAction(Part):
    """``{disable: FLAG}``: switch a flag off and pin it so."""

    disable: str


class SetAction(Part):
    """``{set: {FLAG: {...}}}``: set keys of flags and pin them."""

    set: dict[str, FlagChange] = Field(min_length=1)


def _trigger_action_kind(value: Any) -> str:
    if isinstance(value, DisableAction | SetAction):
        return "disable" if isinstance(value, DisableAction) else "set"
    if isinstance(value, dict):
        return next((name for name in ("disable", "set") if name in value), "action")
    return "action"


TriggerAction = Annotated[
    Annotated[DisableAction, Tag("disable")] | Annotated[SetAction, Tag("set")] | Annotated[AnyAction, Tag("action")],
    Discriminator(_trigger_action_kind),
]


class TriggerQuestion(Part):
    question: str
    by: tuple[str, ...] = ()


class EscalationStep(Part):
    after: Duration
    channels: tuple[str, ...] = Field(min_length=1)
    repeat: Duration | None = Field(default=None, gt=0)


def _rollback_word(value: Any) -> Any:
    """``action: rollback`` is short for ``then: rollback``."""
    if isinstance(value, dict) and "action" in value:
        if value["action"] != "rollback":
            raise ValueError("action is only short for a rollback; other actions are a list under actions")
        rest = {key: entry for key, entry in value.items() if key != "action"}
        return {"then": "rollback", **rest}
    return value


class Trigger(Threshold):
    """A criterion watched during the whole run, with actions of its own."""

    fail: Bound | None = None
    actions: tuple[TriggerAction, ...] = ()
    then: Literal["hold", "continue", "rollback"] = "hold"
    by_hand: bool = False
    every: Duration = Field(default=15.0, gt=0)
    severity: Literal["low", "medium", "high", "critical"] = "medium"
    notify: tuple[str, ...] = ()
    escalation: tuple[EscalationStep, ...] = ()
    runbook: str | None = None
    rearm: Duration = 600.0
    arm_from: str | None = None
    ask: TriggerQuestion | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return _rollback_word(value)

    @model_validator(mode="after")
    def _some_bound(self) -> Self:
        if self.by_hand:
            if self.kind or self.fail is not None or self.pass_ is not None or self.expect is not None:
                raise ValueError("a trigger that is fired by hand has nothing to measure; leave its query out")
            return self
        self.measures_one_thing()
        if self.expect is None and self.fail is None and self.pass_ is None:
            raise ValueError("a trigger needs fail (or pass, or expect), to say when it fires")
        if self.expect is not None and (self.fail is not None or self.pass_ is not None):
            raise ValueError("expect asks for a yes or no; pass and fail are bounds for a number: use one of the two")
        return self

    @model_validator(mode="after")
    def _question_before_rollback(self) -> Self:
        if self.ask is not None and self.then != "rollback":
            raise ValueError("ask is the question before a rollback; it needs then: rollback")
        return self


class WatchPhaseSection(Part):
    name: Name
    from_: Duration = Field(default=0.0, alias="from")
    to: Duration
    gate: Names = ()
    checks: tuple[Check, ...] = ()
    every: Duration | None = Field(default=None, gt=0)
    on_fail: Literal["rollback", "pause"] = "rollback"

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.to <= self.from_:
            raise ValueError("a phase of the watch ends after it begins")
        return self


AnyWatch = Duration | tuple[WatchPhaseSection, ...]


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


NewsWord = Literal["started", "stage", "rollback_started", "promoted", "rolled_back", "stopped", "rollback_failed"]


class News(Part):
    when: tuple[NewsWord, ...] = Field(min_length=1)
    channels: tuple[str, ...] = Field(min_length=1)


class Webhook(Part):
    url: TextOrSecret
    headers: dict[str, TextOrSecret] = Field(default_factory=dict)


class Channel(Part):
    """Where news goes: exactly one service."""

    webhook: Webhook | None = None
    slack: dict[str, Json] | None = None
    teams: dict[str, Json] | None = None
    email: dict[str, Json] | None = None
    pagerduty: dict[str, Json] | None = None
    opsgenie: dict[str, Json] | None = None
    apprise: TextOrSecret | None = None

    @model_validator(mode="after")
    def _one_service(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("a channel names exactly one service, such as webhook")
        return self


class Notify(Part):
    channels: dict[str, Channel] = Field(default_factory=dict)
    escalation: tuple[EscalationStep, ...] = ()
    news: tuple[News, ...] = ()
    severity: dict[Literal["low", "medium", "high", "critical"], tuple[str, ...]] = Field(default_factory=dict)


class EnvironmentSection(Part):
    name: Name
    values: dict[str, str | int | float | bool] = Field(default_factory=dict)
    percentages: tuple[Percentage, ...] | None = None
    bake: AnyBake | None = None
    watch: AnyWatch | None = None
    sign_off: Approval | Literal["none"] | None = None
    checks: tuple[Check, ...] = ()
    approval: Approval | None = None
    window: Window | None = None
    prometheus: Prometheus | None = None
    kubernetes: Kubernetes | None = None
    database: TextOrSecret | None = None

    @model_validator(mode="after")
    def _rising(self) -> Self:
        levels = self.percentages
        if levels is not None and (not levels or any(b <= a for a, b in pairwise(levels))):
            raise ValueError("the percentages of an environment rise from step to step, and there is at least one")
        return self


class Metadata(Part):
    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
    namespace: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


def _without_extensions(value: Any) -> Any:
    """``x-...`` keys under ``spec`` are a home for YAML anchors and mean nothing."""
    if isinstance(value, dict):
        return {key: entry for key, entry in value.items() if not (isinstance(key, str) and key.startswith("x-"))}
    return value


class PlanSpec(Part):
    owner: str | None = None
    description: str | None = None
    links: dict[str, str] | tuple[str, ...] = ()
    contacts: dict[str, str] | tuple[str, ...] = ()
    prometheus: Prometheus | None = None
    sources: dict[str, SourceSection] = Field(default_factory=dict)
    commands: Commands = Commands()
    kubernetes: Kubernetes | None = None
    database: TextOrSecret | None = None
    flags: dict[str, FlagSpec] = Field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    approval: Approval | None = None
    window: Window | None = None
    triggers: tuple[Trigger, ...] = ()
    gates: dict[str, Gate] = Field(default_factory=dict)
    stages: tuple[AnyStage, ...] = Field(min_length=1)
    environments: tuple[EnvironmentSection, ...] = ()
    watch: AnyWatch = 0.0
    sign_off: Approval | None = None
    rollback: RollbackSection = RollbackSection()
    success: tuple[SuccessCriterion, ...] = ()
    follow_up: tuple[FollowUp, ...] = ()
    notify: Notify = Notify()
    deletionPolicy: Literal["keep", "rollback"] = "keep"  # noqa: N815 - the name that a Kubernetes user writes


class StagedRollout(Part):
    apiVersion: Literal["stagedrollout.io/v1alpha1"]  # noqa: N815 - Kubernetes' own name
    kind: Literal["StagedRollout"]
    metadata: Metadata
    spec: Annotated[PlanSpec, BeforeValidator(_without_extensions)]


class Round(Part):
    name: Name
    at: str | None = None
    days: tuple[str, ...] = ()
    cron: str | None = None
    checks: tuple[Check, ...] = Field(min_length=1)


class ScheduledChecksSpec(Part):
    timezone: str = "UTC"
    rounds: tuple[Round, ...] = Field(min_length=1)
    notify: Notify = Notify()
    prometheus: Prometheus | None = None
    database: TextOrSecret | None = None
    commands: Commands = Commands()


class ScheduledChecks(Part):
    apiVersion: Literal["stagedrollout.io/v1alpha1"]  # noqa: N815 - Kubernetes' own name
    kind: Literal["ScheduledChecks"]
    metadata: Metadata
    spec: ScheduledChecksSpec


__all__ = ["Question", "ScheduledChecks", "StagedRollout"]
