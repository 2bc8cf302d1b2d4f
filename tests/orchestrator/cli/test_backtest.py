"""`rollout backtest` up to where Prometheus is asked, and how it prints what came of it."""

import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import backtest
from orchestrator.cli.backtest import _as_html, _as_text, _Progress
from tests.orchestrator.cli.conftest import Cli

PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: shop}
spec:
  prometheus: {url: "http://127.0.0.1:9"}
  flags: {checkout: {}}
  gates: {health: {criteria: [{name: errors, query: error_rate, fail: "> 0.1", for: 2m}]}}
  stages: [{name: open, kind: monitoring, flag: checkout, percentages: [5], gate: health, bake: 30m}]
"""


def found(**changed: Any) -> dict[str, Any]:
    criterion = {
        "name": "errors <of> shop",
        "kind": "threshold",
        "replayed": 12,
        "failed": 0,
        "held": 0,
        "longest_hold_seconds": 0.0,
        "not_measurable": 0,
        "not_measurable_because": [],
        "gaps": 0,
        "values": {"lowest": 0.01, "median": 0.02, "highest": 0.5},
        "failures": [],
        "holds": [],
        "proposals": [],
        **changed,
    }
    gate = {
        "gate": "health",
        "where": "stage open",
        "flag": "checkout",
        "steps": [],
        "release_seconds": 3600.0,
        "spacing_seconds": 3600.0,
        "overlap": False,
        "replayed": 12,
        "failed": criterion["failed"],
        "held": criterion["held"],
        "longest_hold_seconds": criterion["longest_hold_seconds"],
        "not_measurable": 0,
        "failures": [{"at": "2026-03-01T12:00:05.000Z", "sentence": "errors is 0.5"}] * criterion["failed"],
        "criteria": [criterion],
        "not_replayed": [],
    }
    span = {"from": "2026-03-01T00:00:00.000Z", "to": "2026-03-01T12:00:00.000Z"}
    return {"plan": "shop", "environment": "production", **span, "gates": [gate]}


def proposal(change: dict[str, str], failed: int = 0, held: int = 0) -> dict[str, Any]:
    return {"change": change, "replayed": 12, "failed": failed, "held": held}


# --- before anything is asked -----------------------------------------------------------------------------------------


@pytest.fixture
def plan(tmp_path: Path) -> str:
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    return str(file)


def test_a_plan_that_is_not_valid_is_refused_with_its_problems(cli: Cli, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(PLAN.replace("gate: health", "gate: wealth"))
    said = cli("backtest", str(bad))
    assert (said.code, said.out) == (2, "")
    assert "wealth" in said.err


def test_a_plan_without_a_prometheus_is_refused_with_where_to_write_it(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN.replace('  prometheus: {url: "http://127.0.0.1:9"}\n', ""))
    said = cli("backtest", str(file))
    assert said.code == 2
    assert "prometheus" in said.err


def test_without_matplotlib_a_plot_is_refused_before_the_work_with_the_remedy(
    cli: Cli, plan: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = cli("backtest", plan, "--plot", str(tmp_path / "shop.svg"))
    assert said.code == 1
    assert said.err == (
        "rollout: A plot needs matplotlib, which is not installed here; "
        "pip install 'staged-rollout[backtest]' brings it.\n"
    )


def test_it_does_not_load_matplotlib_unless_it_draws() -> None:
    import subprocess

    script = "import sys, orchestrator.cli.backtest, orchestrator.backtest; "
    script += "print([name for name in ('matplotlib', 'pandas') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


# --- progress ---------------------------------------------------------------------------------------------------------


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> Seconds:
    seconds = Seconds()
    monkeypatch.setattr(backtest, "time", seconds)
    return seconds


def run_through(seconds: Seconds) -> None:
    progress = _Progress()
    for done in range(100):
        seconds.now += 0.3
        progress.tell(done, 100, "health, stage open")
    progress.say("Prometheus is failing; asking again in 1 s")
    progress.close()


def test_without_a_terminal_progress_is_a_line_every_few_seconds(
    seconds: Seconds, capsys: pytest.CaptureFixture[str]
) -> None:
    run_through(seconds)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "16 of 100 replays after 5s; health, stage open"
    assert len(lines) == 6
    assert lines[-1] == "Prometheus is failing; asking again in 1 s"


def test_on_a_terminal_progress_is_a_bar_that_leaves_nothing_behind(
    seconds: Seconds, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    run_through(seconds)
    written = capsys.readouterr().err
    assert "████████████░░░░░░░░░░░░ 51 of 100" in written
    assert written.endswith("\r\x1b[KPrometheus is failing; asking again in 1 s\n")


# --- what is printed --------------------------------------------------------------------------------------------------


def test_people_read_what_failed_when_and_what_would_not_have() -> None:
    text = _as_text(found(failed=7, held=2, longest_hold_seconds=90.0, proposals=[proposal({"fail": "> 0.6"})]))
    assert "of 12 releases of 1h, one after the other, 7 failed and 2 held (1m 30s at most)" in text
    assert text.count("2026-03-01 12:00:05 failed: errors is 0.5") == 5
    assert "and 2 more failed" in text
    assert 'with fail: "> 0.6" it would have been quiet in all 12' in text


def test_a_proposal_that_still_holds_says_so_and_one_of_a_quiet_criterion_that_it_is_no_remedy() -> None:
    text = _as_text(found(failed=1, proposals=[proposal({"warmup": "5m"}, held=3)]))
    assert "with warmup: 5m (of the gate) none would have failed, and 3 held" in text
    text = _as_text(found(proposals=[proposal({"fail": "> 0.6"})]))
    assert 'quiet as it is, and would have been with fail: "> 0.6" as well' in text


def test_it_says_where_nothing_helps() -> None:
    assert "no other bound that was tried would have been quiet" in _as_text(found(failed=1))
    assert "no other bound" not in _as_text(found(failed=1, kind="slo"))


def test_a_page_shows_names_as_they_are_written() -> None:
    page = _as_html(found(), "<?xml?><!DOCTYPE x><svg>picture</svg>")
    assert "errors &lt;of&gt; shop" in page
    assert page.endswith("<svg>picture</svg>")
