"""The action for GitHub: what its shell steps do to a real controller, and the JUnit file that it leaves."""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from ruamel.yaml import YAML

from orchestrator.cli.junit import to_junit
from tests.support.ports import free_port
from tests.support.process import ROOT, Rollout, command, rollout_in

ACTION: dict[str, Any] = YAML(typ="safe", pure=True).load((ROOT / "manifests" / "github" / "action.yml").read_text())
PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: released}
spec:
  description: version ${VERSION}
  flags: {released: {}}
  checks: [{name: here, http: {url: "http://127.0.0.1:PORT/healthz"}}]
  gates:
    answers:
      every: 1s
      criteria: [{name: answer, http: {url: "http://127.0.0.1:PORT/healthz"}, expect: {contains: ok}}]
  stages:
    - name: open
      kind: batch
      flag: released
      percentages: [50, 100]
      gate: answers
      bake: 0s
      settle: 0s
      verify: [{name: at its end, http: {url: "http://127.0.0.1:PORT/healthz"}, expect: {contains: WANTED}}]
"""


@dataclass
class Job:
    """Runs the steps of the action as a runner does: expressions replaced, outputs in a file, until one fails."""

    folder: Path
    environment: dict[str, str]
    inputs: dict[str, str]
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)
    said: str = ""

    def run(self) -> list[int]:
        codes: list[int] = []
        for step in ACTION["runs"]["steps"]:
            if self._is_due(step.get("if"), failed=any(codes)):
                codes.append(self._step(step))
        return codes

    def _is_due(self, condition: str | None, *, failed: bool) -> bool:
        match condition:
            case None:
                return not failed
            case "inputs.version != ''":
                return not failed and self._input("version") != ""
            case "inputs.watch == 'true'":
                return not failed and self._input("watch") == "true"
            case "always() && steps.start.outputs.run != ''":
                return bool(self.outputs.get("start", {}).get("run"))
            case unknown:
                raise AssertionError(f"what does {unknown!r} mean?")

    def _input(self, name: str) -> str:
        return self.inputs.get(name, str(ACTION["inputs"][name].get("default", "")))

    def _value(self, text: str) -> str:
        text = re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda found: self._input(found[1]), text)
        return re.sub(
            r"\$\{\{ steps\.(\w+)\.outputs\.(\w+) \}\}", lambda found: self.outputs[found[1]].get(found[2], ""), text
        )

    def _step(self, step: dict[str, Any]) -> int:
        assert step["shell"] == "bash"
        assert "${{" not in step["run"], "what is written into a script could be a command"
        kinds = ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
        files = {kind: self.folder / f"{kind}-{step.get('id', 'x')}" for kind in kinds}
        for file in files.values():
            file.write_text("")
        given = {name: self._value(text) for name, text in step.get("env", {}).items()}
        environment = self.environment | {name: str(file) for name, file in files.items()} | given
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.said += f"{step.get('id')} {done.returncode} {done.stdout}{done.stderr}"
        if "id" in step:
            lines = files["GITHUB_OUTPUT"].read_text().splitlines()
            self.outputs[step["id"]] = dict(line.split("=", 1) for line in lines)
        return done.returncode


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rollout, dict[str, str]]]:
    """A controller, and the inputs with which its operator is asked."""
    folder, port = tmp_path_factory.mktemp("action"), free_port()
    with rollout_in(folder) as rollout:
        (folder / "allow.yaml").write_text("hosts: ['127.0.0.1']\n")
        listen = ("--listen", f"127.0.0.1:{port}")
        rollout.start("serve", *listen, "--allow", "allow.yaml").wait_for("controller at")
        token = rollout.run("token", "create", "pipeline", "--role", "operator").last_line
        (folder / "good.yaml").write_text(PLAN.replace("PORT", str(port)).replace("WANTED", "ok"))
        bad = PLAN.replace("released", "missed").replace("PORT", str(port)).replace("WANTED", "nowhere")
        (folder / "bad.yaml").write_text(bad)
        yield rollout, {"server": f"http://127.0.0.1:{port}", "token": token}


def job(world: tuple[Rollout, dict[str, str]], **inputs: str) -> Job:
    rollout, access = world
    environment = {
        name: value
        for name, value in rollout.environment.items()
        if name not in ("XDG_STATE_HOME", "ROLLOUT_STATE_DIR")
    }
    elsewhere = {"XDG_STATE_HOME": str(rollout.folder / "runner"), "PATH": f"{command().parent}:{os.environ['PATH']}"}
    return Job(rollout.folder, environment | elsewhere, access | inputs)


def test_a_plan_is_started_followed_and_reported(world: tuple[Rollout, dict[str, str]]) -> None:
    done = job(world, plan="good.yaml", variables="VERSION=1.2\n", reason="a release", settings="owner=them\n")
    assert done.run() == [0, 0, 0], done.said
    assert done.outputs["report"]["outcome"] == "promoted"
    status = world[0].json("status", done.outputs["start"]["run"])
    assert status["phase"] == "ended"
    suite = ET.parse(done.folder / "rollout-junit.xml").getroot()
    assert suite.get("failures") == "0"
    names = {(case.get("classname"), case.get("name")) for case in suite.iter("testcase")}
    assert {("run", "released"), ("stage.production", "open"), ("check", "here")} <= names
    assert any(group == "gate answers" for group, _ in names)
    assert "outcome: promoted" in (done.folder / "GITHUB_STEP_SUMMARY-report").read_text()


def test_a_run_that_is_rolled_back_fails_the_job_and_is_reported(world: tuple[Rollout, dict[str, str]]) -> None:
    done = job(world, plan="bad.yaml", variables="VERSION=2", junit="bad.xml")
    assert done.run() == [0, 3, 0], done.said
    assert done.outputs["report"] == {"junit": "bad.xml", "outcome": "rolled_back"}
    suite = ET.parse(done.folder / "bad.xml").getroot()
    failed = {case.get("classname") for case in suite.iter("testcase") if case.find("failure") is not None}
    assert failed == {"run", "check"}


def test_what_is_no_variable_of_a_plan_is_refused(world: tuple[Rollout, dict[str, str]]) -> None:
    for line in ("PATH=/tmp", "ROLLOUT_SERVER=http://else.where", "no variable"):
        done = job(world, plan="good.yaml", variables=line)
        assert done.run() == [2], done.said
        assert "::error::" in done.said


def test_the_action_has_what_an_action_has() -> None:
    assert ACTION["runs"]["using"] == "composite"
    for one in ACTION["inputs"].values():
        assert one["description"]
        assert one.get("required") or "default" in one
    shown = (ROOT / "docs" / "ci.md").read_text().partition("| input |")[2]
    assert set(re.findall(r"`(\w+)`", shown)) >= set(ACTION["inputs"]) | set(ACTION["outputs"])


def test_what_xml_cannot_hold_is_replaced() -> None:
    report = {
        "run": "a<b", "plan": 'q"', "outcome": None, "phase": "running", "seconds": None, "started": None,
        "timeline": [], "evidence": [], "stages": [{"environment": "e", "name": "x\x00&", "state": "open"}],
    }  # fmt: skip
    suite = ET.fromstring(to_junit(report, []))
    assert suite.get("name") == "a<b"
    assert [case.get("name") for case in suite.iter("testcase")] == ['q"', "x\ufffd&"]
    assert suite.get("skipped") == "2"
