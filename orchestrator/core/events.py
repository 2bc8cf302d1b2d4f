"""Events: the facts that a run's journal is made of. State is their fold; nothing else is remembered.

Every event says who or what asked for it (``by``) and why (``reason``). Times are not in the events: the journal notes
when each was appended. An event is never changed once released; new fields get defaults, so that old journals fold.
"""

from typing import Annotated, Literal, Union, get_args

from pydantic import ConfigDict, Field, TypeAdapter

from orchestrator.core.effect import Effect, EffectState, Notice
from stages.checks import Standing
from stages.effects import Operation, TargetKind
from stages.success import Level
from stages.values import Json, Part

CONTROLLER = "controller"


class Event(Part):
    by: str = CONTROLLER
    reason: str = ""

    @property
    def type_name(self) -> str:
        return type(self).__name__


class InheritedTarget(Part):
    """A target as a superseding or a reverse run takes it over from the run before."""

    id: str
    kind: TargetKind
    title: str
    before: Json
    value: Json
    existed: bool
    environment: str
    stage: str
    also: tuple[str, ...] = ()  # other stages that touched it, in order
    undo: Operation | None = None
    touched_at: float | None = None  # when the run before first touched it
    cut_short: bool = False  # the last effect of the run before ended under way: it may stand anywhere between


class PlanDocument(Part):
    """The plan as it was expanded for one environment."""

    environment: str
    plan: dict[str, Json]


class Origin(Part):
    """The object of a cluster that a run was started from, and the state of it: *bundle* names what holds its files."""

    namespace: str
    name: str
    uid: str
    generation: int
    bundle: str | None = None


class RunStarted(Event):
    type: Literal["RunStarted"] = "RunStarted"
    run: str
    plan: str
    digest: str
    documents: tuple[PlanDocument, ...]
    files: dict[str, str] = Field(default_factory=dict)
    directory: str | None = None
    supersedes: str | None = None
    reverses: str | None = None
    inherited: tuple[InheritedTarget, ...] = ()
    with_schema: bool = False
    origin: Origin | None = None
    trusted: bool = False  # handed in by whoever runs the controller, who is free in what his plans name


class LegEntered(Event):
    """The run stands somewhere else now. ``stage`` and ``step`` are indices in the environment's program."""

    type: Literal["LegEntered"] = "LegEntered"
    phase: str
    leg: str | None = None
    environment: str
    stage: int = 0
    step: int = 0
    evidence: Json = None


class CheckAnswered(Event):
    type: Literal["CheckAnswered"] = "CheckAnswered"
    item: str
    name: str
    standing: Standing
    detail: str = ""
    required: bool = True


class WaitingOpened(Event):
    """Somebody is asked for something: kind is approval, manual, sign_off, question or follow_up."""

    type: Literal["WaitingOpened"] = "WaitingOpened"
    item: str
    kind: str
    text: str
    who: tuple[str, ...] = ()
    until: float | None = None
    optional: bool = False
    blocking: bool = True


class WaitingAnswered(Event):
    """One person's answer. ``closes``: the item is decided by it (a reject of an approval is not final)."""

    type: Literal["WaitingAnswered"] = "WaitingAnswered"
    item: str
    answer: Literal["approve", "reject", "not_applicable", "timeout"]
    groups: tuple[str, ...] = ()
    closes: bool = True


class ApprovalWithdrawn(Event):
    """Who had approved takes it back, before enough of them had."""

    type: Literal["ApprovalWithdrawn"] = "ApprovalWithdrawn"
    item: str


class HoldSet(Event):
    type: Literal["HoldSet"] = "HoldSet"
    hold: str
    item: str
    detail: str = ""


class HoldCleared(Event):
    type: Literal["HoldCleared"] = "HoldCleared"
    hold: str
    item: str


class TargetObserved(Event):
    """What a target was before this run touched it; ``existed`` is false for a flag that was not there."""

    type: Literal["TargetObserved"] = "TargetObserved"
    target: str
    kind: TargetKind
    title: str
    environment: str
    stage: str
    value: Json
    existed: bool = True


class EffectRequested(Event):
    """The durable intent: what the shell performs is the outstanding ones of these."""

    type: Literal["EffectRequested"] = "EffectRequested"
    effect: Effect


class EffectFailed(Event):
    """A try that settled nothing (temporary, or unknown). The effect stays outstanding."""

    type: Literal["EffectFailed"] = "EffectFailed"
    effect: str
    target: str
    state: EffectState
    detail: str


class EffectFinished(Event):
    """The outcome of an effect: done or refused (``cancelled`` if it was made void before it happened).

    ``changed_by`` is who, if it was refused because somebody else had changed the target. ``at_once``: by its first
    try, which had an answer, so nothing of it is on its way any more.
    """

    type: Literal["EffectFinished"] = "EffectFinished"
    effect: str
    target: str
    state: Literal["done", "refused", "cancelled"]
    detail: str = ""
    observed: Json = None
    changed_by: str | None = None
    at_once: bool = False


class ActStarted(Event):
    """A wait began (acts that are effects have their own events)."""

    type: Literal["ActStarted"] = "ActStarted"
    walk: str
    index: int
    label: str


class ActFinished(Event):
    """One act of a list (a step's, a trigger's ...) is done. ``skipped`` if it would have changed nothing."""

    type: Literal["ActFinished"] = "ActFinished"
    walk: str
    index: int
    label: str
    skipped: bool = False


class ActRefused(Event):
    """An act can't be done: what was done before it could not be verified."""

    type: Literal["ActRefused"] = "ActRefused"
    walk: str
    index: int
    label: str


class StageEnded(Event):
    """A stage is behind us: done, skipped (its ``when`` said no) or cut (a pin, or a partial rollback)."""

    type: Literal["StageEnded"] = "StageEnded"
    environment: str
    stage: str
    how: Literal["done", "skipped", "cut"]


class PointOfNoReturnPassed(Event):
    """From here on nothing that came before is undone; ``values`` is where each target stood."""

    type: Literal["PointOfNoReturnPassed"] = "PointOfNoReturnPassed"
    environment: str
    stage: str
    values: dict[str, Json]


class BackupOutdated(Event):
    """A stage's backup was older than its ``max_age`` before anything was changed: it is made again."""

    type: Literal["BackupOutdated"] = "BackupOutdated"
    environment: str
    stage: str
    walk: str


class GateFailed(Event):
    type: Literal["GateFailed"] = "GateFailed"
    environment: str
    stage: str
    step: int
    gate: str
    on_fail: Literal["rollback", "pause"]
    evidence: Json


class OnFailPaused(Event):
    """``on_fail: pause``: an effect, a check or a gate failed, and the plan wants a person to decide."""

    type: Literal["OnFailPaused"] = "OnFailPaused"
    what: str


class TriggerFired(Event):
    """``pins`` maps a flag to the keys that are fixed from now on."""

    type: Literal["TriggerFired"] = "TriggerFired"
    trigger: str
    environment: str
    then: Literal["hold", "continue", "rollback"]
    pins: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    evidence: Json = None


class TriggerRearmed(Event):
    type: Literal["TriggerRearmed"] = "TriggerRearmed"
    trigger: str
    environment: str


class PinDecided(Event):
    type: Literal["PinDecided"] = "PinDecided"
    flag: str
    environment: str
    source: str
    decision: Literal["keep", "release"]


class DriftFound(Event):
    """Somebody else changed a target that this run touches."""

    type: Literal["DriftFound"] = "DriftFound"
    target: str
    expected: Json
    found: Json
    changed_by: str | None = None


class DriftGone(Event):
    type: Literal["DriftGone"] = "DriftGone"
    target: str
    value: Json


class KillSwitched(Event):
    """The kill latch above the flags of an environment was set or lifted."""

    type: Literal["KillSwitched"] = "KillSwitched"
    environment: str
    on: bool


class Paused(Event):
    type: Literal["Paused"] = "Paused"


class Resumed(Event):
    type: Literal["Resumed"] = "Resumed"


class StepReentered(Event):
    """A released pin: back to the guards of the step, and the evidence starts anew."""

    type: Literal["StepReentered"] = "StepReentered"
    what: str


class Advanced(Event):
    """A person overrode a bake or an inconclusive gate; ``evidence`` is what was known then."""

    type: Literal["Advanced"] = "Advanced"
    what: str
    watched_seconds: float | None = None  # of the watch: how far it counts as watched now
    evidence: Json = None


class TargetResolved(Event):
    """A person took a target as it is (or said what became of an unknown effect)."""

    type: Literal["TargetResolved"] = "TargetResolved"
    target: str
    what: str
    taken_as: Literal["as_is", "done", "not_done"] = "as_is"


class Acknowledged(Event):
    type: Literal["Acknowledged"] = "Acknowledged"


class RollbackNode(Part):
    """One node of the way back. ``wanted`` of an exposure node is decided when it is seen what stands there."""

    id: str
    kind: str
    target: str | None = None
    environment: str
    stage: str = ""
    wanted: Json = None
    undo: Operation | None = None
    seconds: float | None = None
    after: tuple[str, ...] = ()
    detail: str = ""


class RollbackStarted(Event):
    """The whole way back, written down at once. ``scope`` is empty for a whole run, else the stage it begins at.

    ``no_return`` names the stage, and its newest touch, that the run stood in as a point of no return.
    """

    type: Literal["RollbackStarted"] = "RollbackStarted"
    cause: Literal["command", "gate", "trigger", "on_fail", "approval", "hold", "reverse"]
    scope: str = ""
    with_schema: bool = False
    no_return: tuple[str, int] | None = None
    nodes: tuple[RollbackNode, ...]
    left: tuple[str, ...] = ()
    evidence: Json = None


class NodesAdded(Event):
    """More of the way back: the schema because a person asked, an answered question's actions, a drifted target."""

    type: Literal["NodesAdded"] = "NodesAdded"
    nodes: tuple[RollbackNode, ...]
    with_schema: bool = False


class NodeStarted(Event):
    type: Literal["NodeStarted"] = "NodeStarted"
    node: str


class NodeFinished(Event):
    """``result``: done, as_it_was (nothing to do), left (drift), resolved, failed (noted, and goes on), no."""

    type: Literal["NodeFinished"] = "NodeFinished"
    node: str
    result: str
    detail: str = ""


class RollbackFinished(Event):
    """A partial rollback is through; the run stands as it stood, with the undone stages cut."""

    type: Literal["RollbackFinished"] = "RollbackFinished"
    scope: str


class EnvironmentPassed(Event):
    type: Literal["EnvironmentPassed"] = "EnvironmentPassed"
    environment: str


class RunEnded(Event):
    type: Literal["RunEnded"] = "RunEnded"
    outcome: Literal["promoted", "rolled_back", "stopped", "rollback_failed"]
    exceptions: tuple[str, ...] = ()


class StopRequested(Event):
    type: Literal["StopRequested"] = "StopRequested"


class SuccessBaseline(Event):
    """What a success criterion measured in the window before the first effect, while it could be measured still."""

    type: Literal["SuccessBaseline"] = "SuccessBaseline"
    name: str
    level: Level


class SuccessJudged(Event):
    """*gain*: by what share *after* is better than *before*, lowest and highest, 19 times of 20."""

    type: Literal["SuccessJudged"] = "SuccessJudged"
    name: str
    standing: Standing
    detail: str
    value: float | None = None
    before: Level | None = None
    after: Level | None = None
    gain: tuple[float, float] | None = None


class NoticeRequested(Event):
    type: Literal["NoticeRequested"] = "NoticeRequested"
    notice: Notice


class ChannelFailing(Event):
    """A channel refuses what it is told, or could not be told it in several tries, which go on."""

    type: Literal["ChannelFailing"] = "ChannelFailing"
    channel: str
    key: str
    detail: str


class NoticeDelivered(Event):
    type: Literal["NoticeDelivered"] = "NoticeDelivered"
    key: str
    delivered: bool = True
    detail: str = ""


AnyEvent = Annotated[
    Union[  # noqa: UP007 - its members are asked for below
        RunStarted, LegEntered, CheckAnswered, WaitingOpened, WaitingAnswered, ApprovalWithdrawn, HoldSet,
        HoldCleared, TargetObserved, EffectRequested, EffectFailed, EffectFinished, ActStarted, ActFinished,
        ActRefused, StageEnded, PointOfNoReturnPassed, BackupOutdated, GateFailed, OnFailPaused, TriggerFired,
        TriggerRearmed, PinDecided, DriftFound, DriftGone, KillSwitched, Paused, Resumed, StepReentered, Advanced,
        TargetResolved, Acknowledged, RollbackStarted, NodesAdded, NodeStarted, NodeFinished, RollbackFinished,
        EnvironmentPassed, RunEnded, StopRequested, SuccessBaseline, SuccessJudged, NoticeRequested, ChannelFailing,
        NoticeDelivered,
    ],
    Field(discriminator="type"),
]  # fmt: skip

EVENT_TYPES: tuple[type[Event], ...] = get_args(get_args(AnyEvent)[0])
_EVENT: TypeAdapter[Event] = TypeAdapter(AnyEvent, config=ConfigDict(defer_build=True))
SCHEMA_VERSION = 1


def to_json(event: Event) -> dict[str, Json]:
    """The event's own fields; what equals its default is left out, so that journals stay readable."""
    serializer = event.__pydantic_serializer__  # `model_dump` takes three times as long to come to the same
    return {**serializer.to_python(event, mode="json", by_alias=True, exclude_defaults=True), "type": event.type_name}


def from_json(data: dict[str, Json]) -> Event:
    return _EVENT.validate_python(data)


def from_text(text: str) -> Event:
    """``from_json`` of JSON as text, in a third of the time. Raises ValueError if it is no event."""
    return _EVENT.validate_json(text)
