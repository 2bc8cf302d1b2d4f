"""Three real `rollout serve` on one PostgreSQL store: one of them dies, freezes, is replaced, and the run goes on."""

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.api.tokens import hashed
from tests.support.ports import free_port
from tests.support.process import DEADLINE_SECONDS, Child, Rollout, rollout_in, wait_until
from tests.support.stores import PostgresSchema, schema_in

pytestmark = [pytest.mark.acceptance, pytest.mark.postgres]
TOKEN = "known-to-all-of-them"
NAMES = ("one", "two", "three")
FREEZE = "/api/v1/freeze"
PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {{name: {name}}}
spec:
  flags: {{{name}: {{}}}}
  stages:
    - name: effects
      kind: steps
      steps:
        - name: first
          command: [{folder}/effect.sh, {name}-first]
          probe: [{folder}/was.sh, {name}-first]
          undo: none
    - {{name: open, kind: batch, flag: {name}, percentages: [10, 100], bake: 1s, settle: 0s}}
    - name: end
      kind: steps
      steps:
        - {{name: asked, manual: Everything is up}}
        - name: last
          command: [{folder}/effect.sh, {name}-last]
          probe: [{folder}/was.sh, {name}-last]
          undo: none
"""


@dataclass
class Replica:
    name: str
    rollout: Rollout
    address: str
    child: Child

    def ask(self, method: str, path: str, token: str = TOKEN, **more: Any) -> httpx.Response:
        url, headers = f"http://{self.address}{path}", {"Authorization": f"Bearer {token}"}
        return httpx.request(method, url, headers=headers, trust_env=False, timeout=DEADLINE_SECONDS, **more)

    @property
    def is_ready(self) -> bool:
        try:
            return self.ask("GET", "/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    @property
    def controller(self) -> str:
        return str(self.ask("GET", "/readyz").json()["controller"])

    def wait_until_ready(self) -> None:
        wait_until(lambda: self.is_ready, what=f"controller {self.name}")

    def wait_until_somebody_acts_for(self, run: str) -> None:
        wait_until(
            lambda: self.status(run)["controller"],
            what=f"a controller for {run}",
        )

    def start_again(self) -> None:
        self.child.start()
        self.wait_until_ready()

    def status(self, run: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.ask("GET", f"/api/v1/runs/{run}").json()
        return shown


@dataclass
class Three:
    folder: Path
    replicas: dict[str, Replica] = field(default_factory=dict)

    def start(self, name: str) -> str:
        """A run, started with the first of them."""
        plan = self.folder / f"{name}.yaml"
        plan.write_text(PLAN.format(name=name, folder=self.folder))
        one = self.replicas["one"]
        result = one.rollout.run("start", plan, "--detach", "--server", f"http://{one.address}", deadline_seconds=60.0)
        assert result.code == 0, result.errors
        return result.last_line

    def send(self, run: str, command: str, to: str) -> None:
        body = {"command": command, "reason": "because of the test"}
        answer = self.replicas[to].ask("POST", f"/api/v1/runs/{run}/commands", json=body)
        assert answer.status_code == 200, answer.text

    def owner(self, run: str) -> Replica:
        """The one that acts for it, as one of the living says."""
        by_controller = {one.controller: one for one in self.replicas.values()}
        name = self.replicas["one"].status(run)["controller"]
        return by_controller[name]

    def others(self, of: Replica) -> list[Replica]:
        return [one for one in self.replicas.values() if one is not of]

    def reaches(self, run: str, **wanted: object) -> None:
        def shown() -> bool:
            for one in self.replicas.values():
                if one.is_ready:
                    status = one.status(run)
                    return all(status[key] == value for key, value in wanted.items())
            return False

        wait_until(shown, what=f"{run} to be {wanted}")

    def done(self, name: str) -> list[str]:
        lines = (self.folder / "effects.log").read_text().splitlines()
        return [line for line in lines if line.startswith(f"{name}-")]

    def assert_whole(self, run: str, name: str) -> None:
        """Every effect happened once, and the journal is without a gap or a break, whoever is asked."""
        assert self.done(name) == [f"{name}-first", f"{name}-last"]
        one = next(one for one in self.replicas.values() if one.is_ready)
        entries = one.ask("GET", f"/api/v1/runs/{run}/events").json()
        assert [entry["seq"] for entry in entries] == list(range(1, len(entries) + 1))
        levels = [e["data"]["effect"]["operation"]["value"]["percentage"] for e in entries if _sets_flag(e)]
        assert levels == sorted(set(levels))


def _sets_flag(entry: dict[str, Any]) -> bool:
    is_request: bool = entry["type"] == "EffectRequested"
    return is_request and entry["data"]["effect"]["operation"]["op"] == "set_flag"


@pytest.fixture(scope="module")
def schema(postgres_stores: str) -> Iterator[PostgresSchema]:
    with schema_in(postgres_stores, "several_controllers") as made:
        yield made


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, schema: PostgresSchema) -> Iterator[Three]:
    tmp_path = tmp_path_factory.mktemp("three")
    made = Three(tmp_path)
    _script(tmp_path / "effect.sh", f'sleep 0.1\necho "$1" >> {tmp_path}/effects.log\n')
    _script(tmp_path / "was.sh", f'grep -qx "$1" {tmp_path}/effects.log\n')
    (tmp_path / "effects.log").touch()
    tokens = tmp_path / "tokens.json"
    (tmp_path / "allow.yaml").write_text('commands: ["*"]\nvariables: ["*"]\n')
    allow = ("--allow", tmp_path / "allow.yaml")
    tokens.write_text(json.dumps([{"name": "ann", "role": "admin", "sha256": hashed(TOKEN)}]))
    with ExitStack() as stack:
        for name in NAMES:
            (tmp_path / name).mkdir()
            environment = {"ROLLOUT_STORE": schema.url, "ROLLOUT_TOKEN": TOKEN}
            rollout = stack.enter_context(rollout_in(tmp_path / name, **environment))
            address = f"127.0.0.1:{free_port()}"
            advertised = f"http://localhost:{address.partition(':')[2]}"
            child = rollout.start(
                "serve", "--listen", address, "--token-file", tokens, "--advertise", advertised, *allow
            )
            made.replicas[name] = Replica(name, rollout, address, child)
        for one in made.replicas.values():
            one.wait_until_ready()
        yield made
        for one in made.replicas.values():
            if one.child.running:
                one.child.thaw()


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)


def test_a_run_whose_controller_is_killed_or_frozen_goes_on_with_another_and_commands_work_everywhere(
    three: Three, schema: PostgresSchema
) -> None:
    run = three.start("killed")
    three.reaches(run, stage="end")
    first = three.owner(run)
    assert first.name == "one"
    three.send(run, "pause", to="two")  # which passes it on
    three.send(run, "resume", to="three")

    first.child.kill()
    others = three.others(first)
    wait_until(
        lambda: others[0].status(run)["controller"] in {one.controller for one in others},
        what="another controller",
    )
    first.start_again()
    second = three.owner(run)
    assert second is not first

    second.child.freeze()
    left = three.others(second)
    third = wait_until(
        lambda: next((one for one in left if left[0].status(run)["controller"] == one.controller), None),
        what="a third controller",
    )
    assert third is not None
    second.child.thaw()
    second.wait_until_ready()
    three.send(run, "approve", to=second.name)
    three.reaches(run, outcome="promoted")
    three.assert_whole(run, "killed")
    assert "lease.lapsed" in second.child.errors
    assert third.status(run)["outcome"] == "promoted"
    ((epoch,),) = schema.execute("SELECT epoch FROM runs WHERE run = %s", run)
    assert epoch >= 6  # begun, and taken over twice: each time it is claimed and taken


def test_a_rolling_restart_of_all_of_them_loses_nothing(three: Three) -> None:
    runs = {name: three.start(name) for name in ("alpha", "beta")}
    for replica in three.replicas.values():
        assert replica.child.stop(signal.SIGTERM) == 0
        assert "Traceback" not in replica.child.errors
        for run in runs.values():
            three.others(replica)[0].wait_until_somebody_acts_for(run)
        replica.start_again()
    for name, run in runs.items():
        three.reaches(run, stage="end")
        three.send(run, "approve", to="two")
        three.reaches(run, outcome="promoted")
        three.assert_whole(run, name)


def test_a_token_made_with_one_of_them_is_known_to_all_until_it_is_revoked(three: Three) -> None:
    one, two, _ = three.replicas.values()
    made = one.ask("POST", "/api/v1/tokens", json={"name": "kim", "role": "viewer"}).json()
    assert two.ask("GET", "/api/v1/runs", made["secret"]).status_code == 200
    assert two.ask("DELETE", f"/api/v1/tokens/{made['id']}", json={"reason": "a test"}).status_code == 200
    assert two.ask("GET", "/api/v1/runs", made["secret"]).status_code == 401
    wait_until(lambda: one.ask("GET", "/api/v1/runs", made["secret"]).status_code == 401, what="the revocation")


def test_a_freeze_set_with_one_of_them_is_known_to_all_until_another_lifts_it(three: Three) -> None:
    one, two, last = everybody = list(three.replicas.values())
    asked = {"environment": "staging", "reason": "not now", "until": "1h"}
    assert one.ask("POST", FREEZE, json=asked).status_code == 200
    wait_until(lambda: all(len(each.ask("GET", FREEZE).json()) == 1 for each in everybody), what="all to know")
    body = {"environment": "staging", "reason": "go on"}
    assert last.ask("DELETE", FREEZE, json=body).status_code == 200
    wait_until(lambda: all(each.ask("GET", FREEZE).json() == [] for each in everybody), what="all to forget")
    assert two.ask("DELETE", FREEZE, json=body).status_code == 409


def test_who_runs_one_of_them_may_command_a_run_of_another(three: Three) -> None:
    run = three.start("passed")
    three.reaches(run, stage="end")
    (asked, *_) = three.others(three.owner(run))
    note = next(asked.rollout.folder.rglob("controller.json"))
    owner = json.loads(note.read_text())["token"]
    body = {"command": "approve", "reason": "because of the test"}
    answer = asked.ask("POST", f"/api/v1/runs/{run}/commands", owner, json=body)
    assert answer.status_code == 200, answer.text
    three.reaches(run, outcome="promoted")
