from html.parser import HTMLParser
from typing import Any

from orchestrator.core.report import build, to_html, to_markdown

STATUS: dict[str, Any] = {
    "run": "search-1a2b3c", "plan": "search", "digest": "0123", "phase": "ended", "outcome": "rolled_back",
    "started": "2026-03-01T12:00:00.000Z", "ended": "2026-03-01T13:01:05.000Z",
    "percentages": {"queue_flag": 0.0},
    "stages": [{"environment": "production", "name": "queue", "kind": "queue", "steps": ["5%"], "state": "current"}],
    "holds": [], "waiting": [], "exceptions": ["schema <metrics> | stays"],
}  # fmt: skip


def entry(seq: int, kind: str, by: str = "controller", reason: str = "", **data: Any) -> dict[str, Any]:
    time = f"2026-03-01T12:00:{seq:02d}.000Z"
    return {"seq": seq, "time": time, "type": kind, "by": by, "reason": reason, "data": data, "hash": f"h{seq}"}


EVIDENCE = {
    "gate": "health",
    "verdict": "fail",
    "criteria": [
        {"name": "errors", "verdict": "fail", "value": 0.12, "sentence": "errors is 0.12, < 0.1 <b>fails</b>"}
    ],
}
HISTORY = [
    entry(1, "RunStarted", by="ada", reason="release 7", run="search-1a2b3c", plan="search", files=["b.sql", "a.sql"]),
    entry(2, "Paused", by="bo", reason="*look* | <script>alert(1)</script>"),
    entry(3, "GateFailed", gate="health", evidence=EVIDENCE),
    entry(4, "RollbackStarted", cause="gate", evidence=EVIDENCE, nodes=[{"target": "flag:production/q"}]),
    entry(5, "RunEnded", outcome="rolled_back", exceptions=["schema <metrics> | stays"]),
    entry(6, "SuccessJudged", name="speed", standing="no", detail="speed is 3, < 2 was wanted", value=3.0),
]


def test_a_report_has_all_that_happened_and_who_did_it() -> None:
    report = build(STATUS, HISTORY)
    assert (report["author"], report["reason"], report["seconds"]) == ("ada", "release 7", 3665.0)
    assert report["files"] == ["a.sql", "b.sql"]
    assert [one["seq"] for one in report["timeline"]] == [1, 2, 3, 4, 5, 6]
    assert [(one["by"], one["what"]) for one in report["people"]][1] == ("bo", "paused")
    assert report["exceptions"] == ["schema <metrics> | stays"]
    assert report["success"][0]["standing"] == "no"
    assert report["chain"] == {"entries": 6, "head": "h6"}


def test_evidence_stands_once_and_verbatim() -> None:
    (evidence,) = build(STATUS, HISTORY)["evidence"]
    assert evidence == {
        "seq": 3, "time": "2026-03-01T12:00:03.000Z", "of": "gate health", "criterion": "errors", "verdict": "fail",
        "value": 0.12, "sentence": "errors is 0.12, < 0.1 <b>fails</b>", "evidence": None, "trail": [],
    }  # fmt: skip


def test_the_evidence_of_a_test_stands_beside_its_bound_and_is_drawn_as_it_grew() -> None:
    bounds = {"against": 130.0, "holds_at": 20, "fails_at": 100.0, "excluded": 0.1, "excludes_at": 20}
    trail = [{"at": f"2026-03-01T12:00:{second:02}.000Z", "against": 1.0 + second} for second in (0, 15, 30)]
    tested = {"name": "errors", "verdict": "fail", "sentence": "2.4x", "evidence": bounds, "trail": trail}
    report = build(STATUS, [entry(3, "GateFailed", gate="health", evidence={"gate": "health", "criteria": [tested]})])
    assert "130 (fails at 100)" in to_markdown(report)
    assert "<svg" in to_html(report)


def test_a_trigger_is_evidence_too() -> None:
    fired = entry(1, "TriggerFired", trigger="backlog", evidence={"verdict": "fail", "value": 600, "sentence": "600"})
    (evidence,) = build(STATUS, [fired])["evidence"]
    assert (evidence["of"], evidence["value"]) == ("trigger backlog", 600)


def test_markdown_reads_as_what_was_written_and_keeps_its_tables() -> None:
    text = to_markdown(build(STATUS, HISTORY))
    assert "- outcome: rolled back" in text
    assert "after 1h 1m 5s" in text
    assert "queue_flag 0 %" in text  # an underscore inside a word means nothing
    assert "\\*look\\* \\| \\<script\\>" in text
    for line in text.splitlines():
        if line.startswith("| 2026"):
            assert line.replace("\\|", "").count("|") in (3, 5, 7, 8)
    assert "- schema \\<metrics\\> \\| stays" in text
    assert "h6" in text


def test_html_is_a_whole_page_in_which_nothing_runs() -> None:
    page = to_html(build(STATUS, HISTORY))
    tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)

    Reader().feed(page)
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    assert "script" not in tags
    assert "b" not in tags
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert tags.count("tr") > 10


def test_a_run_under_way_has_a_report_too() -> None:
    hold = {"reason": "paused", "since": "2026-03-01T12:00:00.000Z", "by": "ada", "detail": "lunch"}
    waits = {"item": "stage:queue", "text": "Go?", "by": ["on-call"]}
    under_way = STATUS | {"phase": "running", "outcome": None, "ended": None, "holds": [hold], "waiting": [waits]}
    text = to_markdown(build(under_way, HISTORY[:2]))
    assert "none yet: the run is running" in text
    assert "## Why nothing moves" in text
    assert "| paused | 2026-03-01 12:00:00 | ada | lunch |" in text
    assert "| stage:queue | Go? | on-call |" in text


def test_a_report_of_nothing_is_no_error() -> None:
    empty = build({"run": "x", "phase": "checking"}, [])
    assert "Nothing yet." in to_markdown(empty)
    assert "Nothing yet." in to_html(empty)


def test_a_report_says_what_the_plan_says_of_itself() -> None:
    about = {"owner": "search", "contacts": {"dba": "dora, by day"}, "links": ("https://wiki/a|b",)}
    written = to_markdown(build({**STATUS, "about": about}, HISTORY))
    assert "- owner: search\n" in written
    assert "- contact, dba: dora, by day\n" in written
    assert "- link: https://wiki/a\\|b\n" in written
