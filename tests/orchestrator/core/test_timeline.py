from typing import Any

from orchestrator.core.timeline import MOST_MARKS, MOST_POINTS, Timeline

STAGES = [
    {"environment": "production", "name": "search", "kind": "monitoring", "steps": ["5%", "25%"], "state": "todo"}
]


def entry(seq: int, kind: str, by: str = "controller", reason: str = "", **data: Any) -> dict[str, Any]:
    time = f"2026-03-01T{seq // 3600:02}:{seq // 60 % 60:02}:{seq % 60:02}.000Z"
    return {"seq": seq, "time": time, "type": kind, "by": by, "reason": reason, "data": data}


def flag(percentage: float, state: str = "enabled") -> dict[str, Any]:
    return {"state": state, "percentage": percentage}


def timeline(*entries: dict[str, Any]) -> Timeline:
    made = Timeline(STAGES)
    for one in entries:
        made.take(one)
    return made


def test_the_course_of_a_flag_begins_with_what_was_there_and_has_a_point_for_each_change() -> None:
    target = "flag:production/new-api"
    shown = timeline(
        entry(1, "TargetObserved", target=target, value=flag(10)),
        entry(2, "EffectFinished", target=target, state="done", observed=flag(25)),
        entry(3, "EffectFinished", target=target, state="done", observed=flag(25)),
        entry(4, "DriftFound", target=target, expected=flag(25), found=flag(70)),
        entry(5, "EffectFinished", target=target, state="done", observed=flag(70, "disabled")),
    ).shown()
    assert shown["seq"] == 5
    [course] = shown["exposure"]
    assert (course["environment"], course["flag"]) == ("production", "new-api")
    assert [point[1] for point in course["points"]] == [10, 25, 70, 0]
    assert course["points"][0][0] == "2026-03-01T00:00:01.000Z"


def test_a_flag_whose_key_has_a_slash_keeps_it() -> None:
    shown = timeline(entry(1, "TargetObserved", target="flag:staging/team/a", value=flag(1))).shown()
    assert (shown["exposure"][0]["environment"], shown["exposure"][0]["flag"]) == ("staging", "team/a")


def test_what_is_no_flag_and_what_changed_nothing_has_no_point() -> None:
    shown = timeline(
        entry(1, "TargetObserved", target="workload:web", value={"replicas": 3}),
        entry(2, "EffectFinished", target="flag:production/a", state="refused", detail="no"),
        entry(3, "RunStarted", run="a", plan="a"),
    ).shown()
    assert shown["exposure"] == []


def test_decisions_are_marked_with_their_sentence_and_others_are_not() -> None:
    shown = timeline(
        entry(1, "LegEntered", phase="running", leg="baking", environment="production"),
        entry(2, "Paused", by="kim", reason="lunch"),
        entry(3, "HoldSet", hold="paused", item="run"),
    ).shown()
    [mark] = shown["marks"]
    assert (mark["seq"], mark["type"], mark["what"]) == (2, "Paused", "paused (by kim: lunch)")


def test_an_entry_is_told_also_when_what_it_refers_to_came_long_before() -> None:
    effect = {"id": "e1", "label": "set new-api to 25 %", "target": "flag:production/new-api"}
    made = timeline(entry(1, "EffectRequested", effect=effect), *(entry(seq, "HoldSet") for seq in range(2, 50)))
    assert made.tell(entry(50, "EffectFinished", effect="e1", state="done")) == "set new-api to 25 %: done"


def test_a_long_life_leaves_the_newest_points_and_marks() -> None:
    many = MOST_POINTS + MOST_MARKS
    made = Timeline()
    for seq in range(1, many + 1):
        made.take(entry(seq, "EffectFinished", target="flag:production/a", state="done", observed=flag(seq % 2)))
        made.take(entry(seq, "Paused"))
    shown = made.shown()
    assert len(shown["exposure"][0]["points"]) == MOST_POINTS
    assert [mark["seq"] for mark in shown["marks"]] == list(range(many - MOST_MARKS + 1, many + 1))
