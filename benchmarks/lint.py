"""What the lint of migrations finds, what it finds falsely, and how long it takes.

Each thing that must be found has a file of its own; none of thirty harmless migrations may have a finding. Beside it
stands what squawk says of the same harmless files when it is asked alone.
"""

import json
import statistics
import subprocess
import time
from collections import Counter
from typing import Any

from benchmarks._machine import machine, stated, versions
from orchestrator.adapters.lint import lint_sql, squawk
from orchestrator.adapters.sql.text import Dialect
from stages.lint import Family
from tests.migrations.lint.fixtures import Fixture, fixtures

FILES_OF_A_PLAN = 10


def run(quick: bool) -> dict[str, Any]:
    rows = [_row(one) for one in fixtures("families")]
    harmless = fixtures("harmless")
    false = {one.name: found for one in harmless if (found := _rules(one))}
    findings = sum(len(row["found"]) for row in rows)
    count = sum(map(len, false.values()))
    return {
        "rows": rows,
        "families": {
            family: [sum(row["is_found"] for row in rows if row["family"] == family), total]
            for family, total in Counter(row["family"] for row in rows).items()
        },
        "harmless": len(harmless),
        "false_findings": count,
        "false": false,
        "precision": findings / (findings + count),
        "squawk_alone": sum(_squawk_alone(one) for one in harmless if one.dialect is Dialect.POSTGRESQL),
        "plan_ms": _plan_ms(3 if quick else 15),
        "machine": machine(),
        "versions": versions("squawk-cli"),
    }


def _row(fixture: Fixture) -> dict[str, Any]:
    found = _rules(fixture)
    return {
        "family": fixture.said("family"),
        "item": fixture.said("item"),
        "dialect": str(fixture.dialect),
        "found": found,
        "is_found": set(found) == fixture.rules,
    }


def _rules(fixture: Fixture) -> list[str]:
    return [one.rule.name for one in lint_sql(fixture.text, fixture.dialect, fixture.path.name)]


def _squawk_alone(fixture: Fixture) -> int:
    command = [str(squawk.program()), "--config", "/dev/null", "--reporter", "json", str(fixture.path)]
    return len(json.loads(subprocess.run(command, capture_output=True, check=False).stdout or b"[]"))


def _plan_ms(rounds: int) -> dict[str, float]:
    """A plan of ten files, one after the other."""
    files = [one for one in fixtures("harmless") if one.dialect is Dialect.POSTGRESQL][:FILES_OF_A_PLAN]
    spans = []
    for _ in range(rounds):
        began = time.perf_counter()
        for one in files:
            lint_sql(one.text, one.dialect, one.path.name)
        spans.append((time.perf_counter() - began) * 1000)
    return {
        "least": round(min(spans), 1),
        "median": round(statistics.median(spans), 1),
        "most": round(max(spans), 1),
    }


def table(result: dict[str, Any]) -> str:
    lines = [f"Lint of migrations ({stated(result)})", ""]
    for family in Family:
        found, total = result["families"][family]
        lines.append(f"{family}: {found} of {total} found")
        lines += [_line(row) for row in result["rows"] if row["family"] == family]
    span = result["plan_ms"]
    counts = f"harmless migrations: {result['harmless']}, false findings: {result['false_findings']}"
    lines += [
        "",
        f"{counts}, precision {result['precision']:.1%}",
        f"squawk alone, by its default rules, on those for PostgreSQL: {result['squawk_alone']} findings",
        *(f"  false: {name}: {', '.join(rules)}" for name, rules in result["false"].items()),
        f"a plan of {FILES_OF_A_PLAN} files: {span['median']:.0f} ms ({span['least']:.0f} to {span['most']:.0f})",
    ]
    return "\n".join(lines)


def _line(row: dict[str, Any]) -> str:
    mark = "found" if row["is_found"] else "NOT AS EXPECTED"
    return f"  {row['item']:<34}{row['dialect']:<12}{mark:<7}{', '.join(row['found'])}"
