from typing import Any

import pytest

from orchestrator.core.events import EVENT_TYPES
from orchestrator.core.telling import _TELLING, Teller

STAGES = [
    {"environment": "production", "name": "queue", "kind": "queue", "steps": ["5%", "25%"]},
    {"environment": "production", "name": "clean", "kind": "steps", "steps": ["run ./clean.sh"]},
]
SILENT = {
    "EffectRequested", "NoticeRequested", "NodeStarted"
}  # fmt: skip
BY_STATE = {"LegEntered", "EffectFailed", "EffectFinished"}


def entry(kind: str, by: str = "controller", reason: str = "", **data: Any) -> dict[str, Any]:
    return {"seq": 1, "time": "2026-03-01T12:00:00.000Z", "type": kind, "by": by, "reason": reason, "data": data}


def told(kind: str, by: str = "controller", reason: str = "", **data: Any) -> str | None:
    return Teller(STAGES).tell(entry(kind, by, reason, **data))


def test_every_event_has_its_words_or_is_silent_on_purpose() -> None:
    names = {event.__name__ for event in EVENT_TYPES}
    assert set(_TELLING) | BY_STATE | SILENT == names | {"KeptAsReport"}  # which stands where a journal was


@pytest.mark.parametrize("kind", sorted({event.__name__ for event in EVENT_TYPES}))
def test_an_entry_without_its_fields_is_told_all_the_same(kind: str) -> None:
    told(kind)


@pytest.mark.parametrize(
    ("stage", "step", "leg", "sentence"),
    (
        (0, 1, "entering", "queue 25% is next"),
        (0, 1, "baking", "queue 25% bakes"),
        (0, 1, "acting", None),
        (1, 0, "entering", "clean is next"),
        (1, 0, "baking", None),
        (7, 2, "entering", "stage 8 step 3 is next"),
    ),
)
def test_steps_are_named_where_the_run_goes(stage: int, step: int, leg: str, sentence: str | None) -> None:
    data: dict[str, Any] = {"phase": "running", "leg": leg, "environment": "production", "stage": stage, "step": step}
    assert Teller(STAGES).tell(entry("LegEntered", **data)) == sentence


def test_environments_are_named_where_there_are_several() -> None:
    teller = Teller([*STAGES, {"environment": "staging", "name": "queue", "kind": "queue", "steps": ["100%"]}])
    at = entry("LegEntered", phase="running", leg="entering", environment="staging", stage=0, step=0)
    assert teller.tell(at) == "staging queue is next"
    assert teller.tell(entry("LegEntered", phase="watching", environment="staging")) == "watches staging"


def test_an_outcome_is_told_by_the_label_of_what_was_asked_for() -> None:
    teller = Teller(STAGES)
    effect = {"id": "e1", "target": "flag:production/q", "label": "q to 25 %"}
    assert teller.tell(entry("EffectRequested", effect=effect)) is None
    assert (
        teller.tell(entry("EffectFinished", effect="e1", target="flag:production/q", state="done")) == "q to 25 %: done"
    )
    refused = entry("EffectFinished", effect="e1", target="t", state="refused", detail="no such flag")
    assert teller.tell(refused) == "q to 25 %: refused: no such flag"
    unknown = entry("EffectFailed", effect="e1", target="t", state="unknown", detail="timed out")
    assert teller.tell(unknown) == "q to 25 %: nobody knows whether it happened: timed out"


def test_a_person_is_named_with_the_reason() -> None:
    assert told("Paused", by="ada", reason="lunch") == "paused (by ada: lunch)"
    assert told("Resumed", by="ada") == "resumed (by ada)"
    assert told("Paused", reason="lunch") == "paused"


def test_a_failing_gate_says_which_criteria_fail() -> None:
    criteria = [
        {"name": "errors", "verdict": "fail", "sentence": "errors is 12, < 10 fails"},
        {"name": "latency", "verdict": "pass", "sentence": "latency is fine"},
    ]
    evidence = {"gate": "health", "verdict": "fail", "criteria": criteria}
    assert told("GateFailed", gate="health", evidence=evidence) == "gate health fails: errors is 12, < 10 fails"


def test_a_rollback_says_why_only_where_nothing_has_said_it_before() -> None:
    nodes = [{"target": "flag:production/q"}, {"target": None}]
    gate = told("RollbackStarted", reason="gate health: errors", cause="gate", nodes=nodes)
    assert gate == "rolls back (gate), 1 target"
    effect = told("RollbackStarted", reason="./clean.sh ended with 3", cause="on_fail", nodes=nodes, left=["schema x"])
    assert effect == "rolls back (on fail), 1 target; stays: schema x: ./clean.sh ended with 3"


def test_an_end_with_exceptions_does_not_claim_that_everything_is_as_before() -> None:
    assert told("RunEnded", outcome="rolled_back") == "rolled back: everything is as it was before"
    assert told("RunEnded", outcome="rolled_back", exceptions=["x stays"]) == "rolled back, with exceptions: x stays"


def test_a_delivered_notice_is_no_news() -> None:
    assert told("NoticeDelivered", key="k") is None
    assert told("NoticeDelivered", key="k", delivered=False, detail="404") == "a notice could not be delivered: 404"


def test_a_database_is_told_where_it_stood_and_where_it_stands() -> None:
    before = {"current": None, "pending": ["a1"]}
    assert told("TargetObserved", title="revision a1", value=before) == ("revision a1: the database stands at its base")
    assert told("EffectFinished", target="t", state="done", observed={"current": "a1", "pending": []}) == (
        "t: done; the database stands at a1"
    )
    assert told("TargetObserved", title="1.sql", value={"applied": False}) is None
