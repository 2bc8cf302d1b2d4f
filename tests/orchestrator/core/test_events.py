"""Events as they are written and read back."""

from orchestrator.core.effect import Effect
from orchestrator.core.events import (
    EVENT_TYPES,
    EffectRequested,
    Paused,
    RollbackNode,
    RollbackStarted,
    from_json,
    to_json,
)
from stages.checks import HttpRequest
from stages.effects import AnyOperation, CallHttp, RunCommand, RunSql, SetFlag, TargetKind

OPERATIONS: list[AnyOperation] = [
    SetFlag(environment="production", key="beta", value={"state": "enabled"}),
    RunSql(database="sqlite:///x", name="1.sql", sql="select 1", checksum="c"),
    RunCommand(argv=("true",)),
    CallHttp(request=HttpRequest(url="http://localhost/")),
]


def test_every_operation_reads_back_as_it_was_written() -> None:
    for operation in OPERATIONS:
        effect = Effect(
            id="e1", target="t", target_kind=TargetKind.FLAG, label="l", operation=operation, undo=operation,
            environment="production",
        )  # fmt: skip
        event = EffectRequested(effect=effect)
        assert from_json(to_json(event)) == event


def test_a_rollback_reads_back_with_its_nodes() -> None:
    node = RollbackNode(id="undo:t", kind="undo", environment="production", undo=OPERATIONS[2])
    event = RollbackStarted(cause="gate", nodes=(node,))
    assert from_json(to_json(event)) == event


def test_who_and_why_are_written_where_they_say_something() -> None:
    assert to_json(Paused(by="ann", reason="look")) == {"type": "Paused", "by": "ann", "reason": "look"}


def test_every_event_says_its_own_name() -> None:
    assert all(event.model_fields["type"].default == event.__name__ for event in EVENT_TYPES)
