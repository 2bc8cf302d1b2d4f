"""`rollout check`: a file's questions, really asked."""

from pathlib import Path

import pytest

from orchestrator.cli import ask
from tests.orchestrator.cli.conftest import Cli

OPS = """
apiVersion: stagedrollout.io/v1alpha1
kind: ScheduledChecks
metadata: {name: ops}
spec:
  commands: {vars: {LIMIT: "80"}}
  rounds:
    - name: morning
      at: "09:00"
      checks:
        - {name: disk, command: [./disk.sh], expect: {number: "< 80"}}
        - {name: marker, file: here.txt, expect: {contains: well}}
        - {name: optional, file: gone.txt, required: false}
    - name: evening
      cron: "0 18 * * 1-5"
      checks:
        - {name: queue, script: "echo $LENGTH", vars: {LENGTH: "900"}, expect: {number: "< 500"}}
        - {name: dashboards, manual: "Do the dashboards look well?", by: [on-call]}
"""
PLAN = """
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: change}
spec:
  checks: [{name: marker, file: here.txt}, {name: later, file: gone.txt, environments: [production]}]
  environments:
    - {name: staging, checks: [{name: own, env: HOME}]}
    - {name: production}
  stages: [{name: go, kind: steps, checks: [{name: in a run, file: gone.txt}]}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ops.yaml").write_text(OPS)
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "here.txt").write_text("all is well\n")
    script = tmp_path / "disk.sh"
    script.write_text("#!/bin/sh\necho 17\n")
    script.chmod(0o755)
    return tmp_path


def test_a_round_that_is_well_ends_with_0(cli: Cli, folder: Path) -> None:
    said = cli("check", str(folder / "ops.yaml"), "--round", "morning")
    assert said.code == 0, said.out
    assert said.out.startswith("morning: all well\n")
    assert "no       optional (not required)" in said.out
    assert "evening" not in said.out


def test_without_a_round_all_are_asked_and_what_is_not_well_ends_with_1(cli: Cli, folder: Path) -> None:
    said = cli("check", str(folder / "ops.yaml"), "--output", "json")
    assert said.code == 1
    found = {(one["round"], check["name"]): check["standing"] for one in said.json for check in one["checks"]}
    assert found == {
        ("morning", "disk"): "yes",
        ("morning", "marker"): "yes",
        ("morning", "optional"): "no",
        ("evening", "queue"): "no",
        ("evening", "dashboards"): "unknown",
    }
    assert [one["standing"] for one in said.json] == ["yes", "no"]


def test_a_person_at_the_terminal_is_asked(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def typed(question: str) -> str:
        asked.append(question)
        return "y"

    monkeypatch.setattr(ask, "on_terminal", lambda: True)
    monkeypatch.setattr(ask, "line", typed)
    said = cli("check", str(folder / "ops.yaml"), "--round", "evening")
    assert asked == ["Do the dashboards look well? (for on-call) [yes/no] "]
    assert "yes      dashboards" in said.out


def test_of_a_plan_its_own_checks_are_asked_for_each_environment(cli: Cli, folder: Path) -> None:
    said = cli("check", str(folder / "plan.yaml"), "-o", "json")
    assert said.code == 1
    names = {one["round"]: [check["name"] for check in one["checks"]] for one in said.json}
    assert names == {"staging": ["marker", "own"], "production": ["marker", "later"]}
    assert cli("check", str(folder / "plan.yaml"), "--round", "staging").code == 0


def test_what_can_not_be_asked_says_where_and_what_would_work(cli: Cli, folder: Path) -> None:
    unknown = cli("check", str(folder / "ops.yaml"), "--round", "noon")
    assert unknown.code == 2
    assert "there is no round noon" in unknown.err
    assert "there are morning, evening" in unknown.err
    (folder / "ops.yaml").write_text(OPS.replace("cron:", "corn:"))
    wrong = cli("check", str(folder / "ops.yaml"))
    assert wrong.code == 2
    assert "ops.yaml:15:7: spec.rounds[1].corn: unknown field 'corn'; did you mean 'cron'?" in wrong.err
    (folder / "plan.yaml").write_text(PLAN.replace("  checks: [{name: marker", "  x-checks: [{name: marker"))
    empty = cli("check", str(folder / "plan.yaml"), "--set", "spec.environments=[]")
    assert empty.code == 2
    assert "has no checks of its own" in empty.err
    assert cli("check", str(folder / "nothing.yaml")).code == 2
