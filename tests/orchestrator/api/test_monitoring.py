"""Alert rules, dashboard and scrape configuration that come with the manifests: about metrics that there are."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from stages.promql import parse
from tests.orchestrator.api.fake_service import FakeService
from tests.support.process import ROOT
from tests.support.prometheus import Prometheus

MONITORING = ROOT / "manifests" / "monitoring"
RULES = (MONITORING / "rules.yaml").read_text()
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
TIMES = Path(__file__).with_name("alerts.yaml")
OF_PROMETHEUS_ITSELF = {"up"}


def alerts() -> dict[str, Any]:
    groups = YAML(typ="safe", pure=True).load(RULES)["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def queries() -> Iterator[str]:
    yield from (rule["expr"] for rule in alerts().values())
    yield from panel_queries()


def panel_queries() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"].replace("$job", "staged-rollout") for target in panel["targets"])


async def test_they_ask_for_metrics_that_there_are(service: FakeService, stranger: httpx.AsyncClient) -> None:
    service.meter.requested("GET", "200")  # it has no values from the beginning on
    text = (await stranger.get("/metrics")).text
    served = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    asked = {name for query in queries() for name in re.findall(r"\b(\w+)\{", query)}
    assert asked - OF_PROMETHEUS_ITSELF <= served


async def test_every_metric_of_ours_is_on_the_dashboard(stranger: httpx.AsyncClient) -> None:
    text, shown = (await stranger.get("/metrics")).text, "\n".join(panel_queries())
    families = [family.name for family in text_string_to_metric_families(text)]
    ours = [name for name in families if name.startswith("staged_rollout_")]
    assert ours
    assert [name for name in ours if name not in shown] == []


async def test_every_metric_is_in_the_docs(stranger: httpx.AsyncClient) -> None:
    docs = (ROOT / "docs" / "http.md").read_text().partition("## Metrics")[2]
    told = set(re.findall(r"`(\w+)`", docs))
    text = (await stranger.get("/metrics")).text
    families = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert [name for name in families if name.removeprefix("staged_rollout_") not in told] == []


async def test_they_name_values_of_labels_that_there_are(service: FakeService, stranger: httpx.AsyncClient) -> None:
    text = (await stranger.get("/metrics")).text
    for label in ("phase", "reason", "state", "outcome", "call"):
        there = set(re.findall(rf'\b{label}="(\w+)"', text))
        named = {
            one
            for query in queries()
            for ones in re.findall(rf'\b{label}(?:!?=~?)"([\w|]+)"', query)
            for one in ones.split("|")
        }
        assert named, label
        assert named <= there


def test_every_query_is_promql() -> None:
    for query in queries():
        parse(query)


def test_panels_of_the_dashboard_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_alert_says_what_to_do() -> None:
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in ("warning", "critical"), name
        assert rule["annotations"]["summary"], name
        assert rule["annotations"]["description"], name
        assert rule["annotations"]["runbook"], name


def test_prometheus_takes_the_rules(prometheus_binary: Path, tmp_path: Path) -> None:
    with Prometheus(prometheus_binary, tmp_path, [], rules=RULES) as prometheus:
        answer = httpx.get(f"{prometheus.url}/api/v1/rules", trust_env=False).json()
    loaded = {rule["name"] for group in answer["data"]["groups"] for rule in group["rules"]}
    assert loaded == set(alerts())


def test_prometheus_takes_every_query_of_the_dashboard(prometheus_binary: Path, tmp_path: Path) -> None:
    with Prometheus(prometheus_binary, tmp_path, []) as prometheus:
        for query in queries():
            prometheus.query(query)


# --- when they fire ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def promtool(prometheus_binary: Path) -> Path:
    """Prometheus' own program for tests of rules, got as Prometheus is."""
    provider = ROOT / ".ci" / "provide" / "prometheus"
    command: list[str | Path] = [sys.executable, provider, "--program", "promtool"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip().splitlines()[-1])


def run(*command: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)


def test_each_alert_fires_when_it_has_been_bad_for_its_time_and_not_before(promtool: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / TIMES.name).write_text(TIMES.read_text())
    done = run(promtool, "test", "rules", tmp_path / TIMES.name)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_times_of_alerts_are_tested_at_all(promtool: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES.replace("for: 15m", "for: 14m"))
    (tmp_path / TIMES.name).write_text(TIMES.read_text())
    assert "RolloutRollbackLasts" in run(promtool, "test", "rules", tmp_path / TIMES.name).stderr


def test_there_is_no_alert_that_nobody_tried() -> None:
    tried = YAML(typ="safe", pure=True).load(TIMES.read_text())["tests"]
    times = {
        one["name"].partition(",")[0]: [check["exp_samples"] for check in one["promql_expr_test"]] for one in tried
    }
    assert set(times) == set(alerts())
    assert all(samples[0] == [] and samples[1] != [] for samples in times.values())


async def test_promtool_finds_no_fault_with_the_metrics(promtool: Path, stranger: httpx.AsyncClient) -> None:
    done = run(promtool, "check", "metrics", given=(await stranger.get("/metrics")).text)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
