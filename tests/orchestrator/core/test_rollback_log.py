"""The log of a rollback says what a team would have to write down by hand."""

from typing import Any

from orchestrator.core import report, rollback_log
from tests.orchestrator.core.test_report import STATUS, entry

FLAG = {"state": "enabled", "percentage": 25.0}
OFF = {"state": "disabled", "percentage": 0.0}


def asked(seq: int, name: str, text: str) -> dict[str, Any]:
    opened = entry(seq, "WaitingOpened", item=f"follow_up:{name}", text=text, who=["dev"], until=1772366400.0)
    opened["data"]["kind"] = "follow_up"
    return opened


def gone_back() -> list[dict[str, Any]]:
    flag = {"target": "flag:production/search"}
    verified = {"item": "rollback:verify:production/plan", "name": "page answers"}
    seen = {
        "gate": "health",
        "criteria": [{"name": "errors", "verdict": "fail", "sentence": "errors is 0.2, > 0.1 fails"}],
    }
    return [
        entry(1, "RunStarted", by="ann"),
        entry(2, "EffectRequested", effect={"id": "e1", "label": "search to 25 %", **flag}),
        entry(3, "EffectFinished", effect="e1", state="done", observed=FLAG, **flag),
        entry(4, "GateFailed", gate="health", on_fail="rollback", evidence=seen),
        entry(5, "RollbackStarted", cause="gate", nodes=[]),
        entry(6, "EffectRequested", effect={"id": "e2", "label": "search back", **flag}),
        entry(7, "EffectFinished", effect="e2", state="done", observed=OFF, **flag),
        entry(8, "CheckAnswered", standing="no", **verified),
        entry(9, "CheckAnswered", standing="yes", **verified),
        entry(10, "RunEnded", outcome="rolled_back"),
        asked(11, "root cause", "Why?"),
        asked(12, "fix", "Make a fix"),
        entry(13, "WaitingAnswered", by="bob", reason="a pool of three", item="follow_up:root cause", answer="approve"),
    ]


def test_it_has_reason_exposure_steps_verification_and_what_is_next() -> None:
    log = rollback_log.build(STATUS, gone_back())
    assert log is not None
    assert log["reason"] == "errors is 0.2, > 0.1 fails"
    assert [(one["flag"], one["percentage"]) for one in log["exposed"]] == [("production/search", 25.0)]
    assert log["root_cause"] == "a pool of three"
    assert "impact" not in log
    assert [one["what"] for one in log["steps"]] == ["search back: done"]
    assert [(one["name"], one["holds"]) for one in log["verification"]] == [("page answers", True)]
    assert [(one["text"], one["done"]) for one in log["next_steps"]] == [("Make a fix", False)]


def test_a_run_that_took_nothing_back_has_none() -> None:
    assert rollback_log.build(STATUS, gone_back()[:4]) is None


def test_the_report_has_it_and_says_what_nobody_has_said() -> None:
    text = report.to_markdown(report.build(STATUS, gone_back()))
    assert "## Rollback log" in text
    assert "| root cause | a pool of three |" in text
    assert "| impact | nobody has said |" in text
    assert "| verified | page answers: holds |" in text
    assert "| next step | Make a fix (open, dev, due 2026-03-01 12:00:00) |" in text


def test_a_persons_reason_stands_in_the_persons_words() -> None:
    story = [one for one in gone_back() if one["type"] != "GateFailed"]
    story[3] = entry(5, "RollbackStarted", by="eve", reason="users complain", cause="command", nodes=[])
    log = rollback_log.build(STATUS, story)
    assert log is not None
    assert (log["reason"], log["by"]) == ("users complain", "eve")
