"""The picture of a run on a terminal: it fits any window, holds come first, and what is left out is counted."""

from typing import Any

import pytest

from orchestrator.cli.layout import cut, fitted, hanging, painted, plain, width_of, wrapped
from orchestrator.cli.output import width
from orchestrator.cli.picture import Scene, Size, event_line, picture, seconds_of
from orchestrator.cli.trails import trail_of
from tests.orchestrator.cli.conftest import a_status, an_entry

Json = dict[str, Any]
NOW = seconds_of("2026-03-01T12:03:00.000Z")
SIZES = [Size(columns, rows) for columns in (10, 40, 80, 300) for rows in (4, 10, 24, 100)]
LONG = "n" * 250
WIDE = "部署先の環境" * 40
STACKED = "e\u0301" * 125
HOLD = {"reason": "paused", "item": "run", "since": "2026-03-01T12:01:00.000Z", "by": "ada", "detail": "lunch"}


def offer(command: str, **fields: Any) -> Json:
    nothing = dict.fromkeys(("item", "stage", "flag", "pin", "target", "trigger"))
    given = {"taken_as": "as_is", "with_schema": False, "not_applicable": False, "what": "does it", "refused": None}
    return {"command": command, **nothing, **given, **fields}


def stages(count: int, name: str = "stage") -> list[Json]:
    def state(number: int) -> str:
        return "done" if number < count // 2 else "current" if number == count // 2 else "todo"

    return [
        {"environment": "production", "name": f"{name}-{number}", "kind": "monitoring", "steps": ["25%", "50%"],
         "state": state(number)}
        for number in range(count)
    ]  # fmt: skip


def texts(status: Json, size: Size, **scene: Any) -> list[str]:
    return ["".join(text for text, _ in line) for line in picture(Scene(status, NOW, **scene), size)]


def crowded(name: str) -> Scene:
    """As much as there can be of everything, all of it called *name*."""
    gate = {"name": name, "verdict": "fail", "criteria": [
        {"name": f"{name}{number}", "verdict": "fail", "value": 1.0, "sentence": name, "trail": [],
         "bounds": {"passes": {"op": "<", "at": 1.0}, "fails": {"op": ">=", "at": 1.0}}}
        for number in range(20)
    ]}  # fmt: skip
    held = [{**HOLD, "reason": reason, "item": name, "detail": name} for reason in ("paused", "manual", "x", "killed")]
    status = a_status(
        run=name, environment=name, stage=name, step=name, holds=held, gate=gate, stages=stages(100, name),
        percentages={f"{name}{number}": 100.0 * number / 99 for number in range(100)},
        next={"what": name, "at": "2026-03-01T12:04:00.000Z"},
    )  # fmt: skip
    events = [event_line(an_entry(1, "Paused", by=name), name)] * 100
    return Scene(status, NOW, [offer("rollback", stage=name)] * 30, name, events, banner=name, hint=name)


@pytest.mark.parametrize("name", (LONG, WIDE, STACKED, "x"), ids=("long", "wide", "stacked", "short"))
def test_it_fits_every_window_whatever_things_are_called(name: str) -> None:
    for size in SIZES:
        lines = picture(crowded(name), size)
        assert len(lines) == size.rows, size
        for line in lines:
            assert width_of(line) <= size.columns, (size, line)


@pytest.mark.parametrize("phase", ("checking", "running", "watching", "rolling_back", "ended"))
def test_it_fits_in_every_phase_and_says_which(phase: str) -> None:
    nodes = [{"id": "undo:x", "kind": "undo", "target": "x", "result": None, "detail": ""}]
    under_way = {"cause": "gate", "by": "controller", "reason": "errors", "since": None, "nodes": nodes, "left": []}
    outcome = "rolled_back" if phase == "ended" else None
    is_back = phase == "rolling_back"
    status = a_status(phase=phase, outcome=outcome, rollback=under_way if is_back else None, progress=None)
    for size in SIZES:
        lines = texts(status, size)
        assert len(lines) == size.rows
        assert all(width(line) <= size.columns for line in lines)
    said = "\n".join(texts(status, Size(80, 24)))
    assert (outcome or phase).replace("_", " ") in said
    assert ("0 of 1 done" in said) == is_back


def test_what_holds_comes_first_in_red_with_what_ends_it_and_what_to_type() -> None:
    lines = picture(Scene(a_status(holds=[HOLD]), NOW), Size(80, 24))
    assert lines[1] == (("HOLDS paused for 2m by ada: lunch", "bold red"),)
    said = texts(a_status(holds=[HOLD]), Size(80, 24))
    assert said[2:4] == ["  ends when somebody resumes", "  type  rollout resume search-1a2b3c"]


def test_holds_for_which_there_is_no_room_are_still_named() -> None:
    held = [{**HOLD, "reason": reason} for reason in ("killed", "paused", "inconclusive", "manual", "window")]
    said = "\n".join(texts(a_status(holds=held), Size(40, 12)))
    for reason in ("killed", "paused", "inconclusive", "manual", "window"):
        assert reason in said


def test_of_many_stages_those_around_the_current_one_are_shown_and_the_rest_is_counted() -> None:
    lines = texts(a_status(stage="stage-50", stages=stages(100)), Size(80, 24))
    (current,) = [line for line in lines if "stage-50" in line]
    assert "▶ stage-50" in current
    assert "[25%] 50%" in current
    counted = [int(line.split()[1]) for line in lines if line.startswith("  … ")]
    shown = sum("stage-" in line for line in lines)
    assert sum(counted[:2]) + shown == 101  # the stages, and the line of their environment


def test_the_time_that_is_left_counts_down_between_two_looks() -> None:
    def said(passed: float) -> str:
        return "\n".join(texts(a_status(), Size(), passed=passed))

    assert "1m of 10m, 9m to go" in said(0.0)
    assert "1m 5s of 10m, 8m 55s to go" in said(5.0)
    assert "10m of 10m, full" in said(999.0)


def test_a_bake_that_may_end_on_evidence_says_when_at_the_earliest() -> None:
    bake = {"what": "bake", "passed_seconds": 60.0, "of_seconds": 600.0, "least_seconds": 120.0}
    assert "9m to go, earliest in 1m" in "\n".join(texts(a_status(progress=bake), Size(100, 24)))
    assert "earliest" not in "\n".join(texts(a_status(progress=bake), Size(100, 24), passed=60.0))


def test_what_an_object_of_a_cluster_tells_is_drawn_too() -> None:
    from orchestrator.cli.cluster import shown
    from tests.orchestrator.cli.test_cluster import METADATA, STATUS

    said = "\n".join(texts(shown({"metadata": METADATA, "status": STATUS}), Size(80, 24)))
    assert "HOLDS paused for " in said
    assert "rollout resume search-1a2b3c --reason TEXT --context NAME" in said


def test_a_trail_is_drawn_against_the_bound_at_which_it_fails() -> None:
    def trail(op: str, at: float, passes: float, *values: float | None) -> str:
        bounds = {"passes": {"op": "<" if op == ">" else ">", "at": passes}, "fails": {"op": op, "at": at}}
        return trail_of({"bounds": bounds, "trail": [{"value": value} for value in values]})

    assert trail(">", 10.0, 5.0, 0, 5, 9.9, 10, 50) == "▁▅███"
    assert trail("<", 95.0, 99.0, 100, 97.5, 95, 10) == "▁▅██"
    assert trail(">", 10.0, 5.0, 0, None, 10) == "▁ █"
    assert trail(">", 0.0, 0.0, 0, 1) == "▁█"
    assert trail(">", 10.0, 5.0) == ""
    assert trail_of({"trail": [{"value": 3.0}, {"value": 3.0}]}) == "▁▁"


def test_a_test_is_drawn_by_the_evidence_against_the_release() -> None:
    evidence = {"against": 100.0, "fails_at": 100.0}
    points = [{"value": None, "against": against} for against in (0.01, 100.0)]
    assert trail_of({"evidence": evidence, "trail": points}) == "▁█"


def test_each_command_is_offered_once_before_its_other_forms_and_never_those_refused() -> None:
    offers = [
        offer("rollback"), offer("rollback", stage="queue"), offer("advance", refused="it fails"), offer("pause"),
    ]  # fmt: skip
    said = [line.strip() for line in texts(a_status(), Size(80, 40), offers=offers, actor="ada") if "rollout" in line]
    assert [line.partition("  ")[0] for line in said] == [
        "rollout rollback search-1a2b3c",
        "rollout pause search-1a2b3c",
        "rollout rollback search-1a2b3c --stage queue",
    ]


def test_a_person_is_told_apart_from_what_turned_bad() -> None:
    kinds = {
        "red": an_entry(1, "GateFailed"),
        "yellow": an_entry(1, "HoldSet"),
        "cyan": an_entry(1, "Resumed", by="ada"),
        "green": an_entry(1, "RunEnded", outcome="promoted"),
        "": an_entry(1, "StageEnded"),
    }
    assert {event_line(entry, "x")[1][1]: entry for entry in kinds.values()} == kinds


# --- text -------------------------------------------------------------------------------------------------------------


def test_text_is_cut_by_columns_and_never_through_a_letter() -> None:
    assert cut("部署先", 6) == "部署先"
    assert [cut("部署先", columns) for columns in (5, 4, 3, 1, 0)] == ["部署…", "部…", "部…", "…", ""]
    assert cut("e\u0301" * 4, 3) == "e\u0301e\u0301…"


def test_text_is_wrapped_at_blanks_and_inside_words_only_where_it_must() -> None:
    assert wrapped("one two three", 7) == ["one two", "three"]
    assert wrapped("a " + "n" * 10, 4) == ["a", "nnnn", "nnnn", "nn"]
    assert wrapped("one two three four", 7, 2) == ["one two", "three …"]
    assert hanging("head: ", "one two three four five six", 22) == ["head: one two three", "      four five six"]
    assert hanging("head: ", "one two three four five six seven", 22, 2)[-1] == "      four five six s…"
    assert all(width(line) <= 5 for line in wrapped(WIDE, 5))


def test_a_line_that_is_cut_keeps_its_colours_and_says_that_there_is_more() -> None:
    assert fitted((("abc", "red"), ("def", "")), 4) == (("abc", "red"), ("…", ""))
    assert fitted((("abc", "red"), ("def", "")), 3) == (("ab…", "red"),)


def test_without_utf_8_our_signs_have_forms_in_ascii() -> None:
    scene = Scene(a_status(holds=[HOLD], stages=stages(9)), NOW, hint=WIDE)
    for line in picture(scene, Size(60, 24)):
        assert painted(line, unicode=False).isascii()
    assert plain("✓ ▶ ▁█ … é") == "+ > .# ~ ?"
