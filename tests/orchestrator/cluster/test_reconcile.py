"""What an object and the journal ask for together: one move at most, the same one however often it is asked."""

from typing import Any

import pytest

from orchestrator.cluster.objects import FINALIZER
from orchestrator.cluster.reconcile import (
    End,
    Looked,
    Move,
    Refusal,
    Rest,
    SetFinalizer,
    Show,
    Start,
    next_move,
)
from orchestrator.core.phases import CommandName
from tests.orchestrator.cluster.wishes import SPEC, rollout, row

NOW = 1000.0
BACK = {**SPEC, "deletionPolicy": "rollback"}
GONE: dict[str, Any] = {"deletionTimestamp": "2026-03-01T12:00:00Z"}
HELD: dict[str, Any] = {"finalizers": ["other.io/x", FINALIZER]}
REFUSAL = Refusal("InvalidPlan", "spec.stages: at least one", again_at=None)


def test_an_object_without_a_run_is_started() -> None:
    assert next_move(rollout(), None, None, NOW) == Start(None)


def test_a_run_that_is_under_way_is_shown() -> None:
    assert next_move(rollout(), row(), None, NOW) == Show()


def test_an_edit_while_a_run_is_under_way_starts_nothing() -> None:
    assert next_move(rollout(generation=2), row(), None, NOW) == Show()


def test_an_edit_after_the_end_starts_anew_and_names_the_run_before() -> None:
    assert next_move(rollout(generation=2), row("ended", "promoted"), None, NOW) == Start("demo-1")


def test_other_files_for_the_same_spec_start_anew() -> None:
    other = rollout(annotations={"stagedrollout.io/bundle": "files-2"})
    assert next_move(other, row("ended", "promoted", bundle="files-1"), None, NOW) == Start("demo-1")


def test_an_edit_that_leaves_the_plan_as_it_was_starts_nothing() -> None:
    edited = rollout(generation=2)
    assert next_move(edited, row("ended", "promoted"), Looked((2, None)), NOW) == Show()


def test_what_was_refused_stays_refused_until_the_object_changes() -> None:
    looked = Looked((1, None), REFUSAL)
    assert next_move(rollout(), None, looked, NOW) == Show(REFUSAL)
    assert next_move(rollout(generation=2), None, looked, NOW) == Start(None)


def test_what_may_be_mended_elsewhere_is_tried_again_in_time() -> None:
    refusal = Refusal("NotAllowed", "alice may not", again_at=NOW + 60.0)
    assert next_move(rollout(), None, Looked((1, None), refusal), NOW + 59.0) == Show(refusal)
    assert next_move(rollout(), None, Looked((1, None), refusal), NOW + 60.0) == Start(None)


def test_the_refusal_of_an_edit_is_shown_beside_the_run_before() -> None:
    looked = Looked((2, None), REFUSAL)
    assert next_move(rollout(generation=2), row("ended", "promoted"), looked, NOW) == Show(REFUSAL)


@pytest.mark.parametrize(
    ("spec", "phase", "move"),
    (
        (SPEC, "running", End("demo-1", CommandName.STOP)),
        (SPEC, "rolling_back", Show()),
        (BACK, "running", End("demo-1", CommandName.ROLLBACK)),
        (BACK, "checking", End("demo-1", CommandName.ROLLBACK)),
        (BACK, "rolling_back", Show()),
        (BACK, "ended", SetFinalizer(wanted=False)),
    ),
)
def test_a_deleted_object_ends_its_run_as_its_plan_says(spec: object, phase: str, move: Move) -> None:
    outcome = "rolled_back" if phase == "ended" else None
    assert next_move(rollout(spec=spec, **GONE, **HELD), row(phase, outcome), None, NOW) == move


def test_a_deleted_object_that_never_had_a_run_is_let_go_and_not_started() -> None:
    assert next_move(rollout(**GONE, **HELD), None, None, NOW) == SetFinalizer(wanted=False)
    assert next_move(rollout(**GONE), None, None, NOW) == Show()


def test_the_finalizer_is_there_before_the_run_and_gone_after_it() -> None:
    assert next_move(rollout(spec=BACK), None, None, NOW) == SetFinalizer(wanted=True)
    assert next_move(rollout(spec=BACK, **HELD), None, None, NOW) == Start(None)
    assert next_move(rollout(spec=BACK, **HELD), row(), None, NOW) == Show()
    assert next_move(rollout(spec=BACK, **HELD), row("ended", "promoted"), None, NOW) == SetFinalizer(wanted=False)


def test_a_run_of_another_store_is_neither_begun_anew_nor_touched() -> None:
    """Of a promoted plan only the end is known then; an edit is a wish of its own again."""
    ended = {"run": "demo-9", "phase": "ended", "observedGeneration": 1}
    assert next_move(rollout(status=ended), None, None, NOW) == Rest()
    assert next_move(rollout(status=ended, generation=2), None, None, NOW) == Start("demo-9")
    under_way = rollout(status={"run": "demo-9", "phase": "running", "observedGeneration": 1}, generation=2)
    move = next_move(under_way, None, None, NOW)
    assert isinstance(move, Show)
    assert move.refusal is not None
    assert move.refusal.reason == "RunUnknown"
    assert "demo-9 is not in the store of this controller" in move.refusal.message
