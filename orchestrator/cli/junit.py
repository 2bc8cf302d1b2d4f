"""A run's report as JUnit XML, which every continuous integration shows: a test case for each criterion of each
decision, each check that was asked, each stage, and the run itself.

What failed is a failure. A criterion or stage that was never decided is skipped.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from stages.checks import Standing

Json = Mapping[str, Any]
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BAD_OUTCOMES = {
    "rolled_back": "the run was rolled back",
    "stopped": "the run was stopped",
    "rollback_failed": "the rollback failed",
}


@dataclass(frozen=True, slots=True)
class Case:
    """*failure* and *skipped*: what is said of it, if it is either."""

    group: str
    name: str
    failure: str = ""
    skipped: str = ""
    said: str = ""


def to_junit(report: Json, history: Sequence[Json]) -> str:
    """*report*: what ``orchestrator.core.report.build`` makes of the run with this *history*."""
    cases = [_run(report), *_stages(report), *_criteria(report), *_checks(history)]
    failed, skipped = sum(bool(case.failure) for case in cases), sum(bool(case.skipped) for case in cases)
    seconds = f"{report['seconds'] or 0:.3f}"
    numbers = f'tests="{len(cases)}" failures="{failed}" errors="0" skipped="{skipped}" time="{seconds}"'
    name = _attribute(report["run"])
    inside = "".join(_written(case) for case in cases)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<testsuites name={name} {numbers}>\n"
        f"  <testsuite name={name} {numbers} timestamp={_attribute(report['started'] or '')}>\n"
        f"{inside}  </testsuite>\n</testsuites>\n"
    )


def _run(report: Json) -> Case:
    outcome = report["outcome"]
    if outcome is None:
        return Case("run", str(report["plan"]), skipped=f"under way: {report['phase']}")
    why = next((one["what"] for one in reversed(report["timeline"]) if "rolls back" in one["what"]), "")
    failure = _BAD_OUTCOMES.get(str(outcome), "")
    return Case("run", str(report["plan"]), failure=f"{failure}: {why}" if failure and why else failure)


def _stages(report: Json) -> Iterator[Case]:
    for one in report["stages"]:
        done = one["state"] == "done"
        yield Case(f"stage.{one['environment']}", str(one["name"]), skipped="" if done else str(one["state"]))


def _criteria(report: Json) -> Iterator[Case]:
    for one in report["evidence"]:
        name, sentence = f"{one['criterion'] or one['of']} (entry {one['seq']})", str(one["sentence"] or "")
        match one["verdict"]:
            case "fail":
                yield Case(str(one["of"]), name, failure=sentence or "fails")
            case "pass":
                yield Case(str(one["of"]), name, said=sentence)
            case _:
                yield Case(str(one["of"]), name, skipped=sentence or "inconclusive")


def _checks(history: Sequence[Json]) -> Iterator[Case]:
    """The last answer to each check. What is not `required` is never a failure."""
    answered: dict[str, Case] = {}
    for entry in history:
        if entry["type"] == "CheckAnswered":
            data = entry["data"]
            answered[data["item"]] = _check(data)
    yield from answered.values()


def _check(data: Json) -> Case:
    name, detail = str(data["name"]), str(data.get("detail") or "")
    if data["standing"] == Standing.YES:
        return Case("check", name, said=detail)
    told = detail or str(data["standing"])
    if data["standing"] == Standing.NO and data.get("required", True):
        return Case("check", name, failure=told)
    return Case("check", name, skipped=told)


def _written(case: Case) -> str:
    head = f"    <testcase classname={_attribute(case.group)} name={_attribute(case.name)}"
    if case.failure:
        return f"{head}><failure message={_attribute(case.failure)}/></testcase>\n"
    if case.skipped:
        return f"{head}><skipped message={_attribute(case.skipped)}/></testcase>\n"
    if case.said:
        return f"{head}><system-out>{escape(_clean(case.said))}</system-out></testcase>\n"
    return f"{head}/>\n"


def _attribute(text: Any) -> str:
    return quoteattr(_clean(str(text)))


def _clean(text: str) -> str:
    """Without what XML can't hold."""
    return _NOT_XML.sub("\ufffd", text)
