"""Triggers as they are written: criteria watched during the whole run, with actions of their own."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from stages.actions import AnyAction
from stages.criteria.threshold import Threshold
from stages.flag_spec import FlagChange
from stages.notify import EscalationStep
from stages.values import Bound, Duration, Part


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


def pinning(trigger: Trigger) -> dict[str, frozenset[str]]:
    """Flag -> the keys that a trigger pins when it fires. Plain ``flag`` actions of a trigger pin nothing."""
    pinned: dict[str, frozenset[str]] = {}
    for action in trigger.actions:
        match action:
            case DisableAction():
                pinned[action.disable] = pinned.get(action.disable, frozenset()) | {"state"}
            case SetAction():
                for key, change in action.set.items():
                    pinned[key] = pinned.get(key, frozenset()) | change.keys
            case _:
                pass
    return pinned
