"""`rollout start`, killed at random moments and started again: the run ends as if nothing had happened.

Moments are random in what the journal has reached, so that they spread over the run on fast and slow machines. The seed
is printed; ROLLOUT_CRASH_SEED repeats it, ROLLOUT_CRASH_KILLS says how often.
"""

import os
import random
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.worlds.counting import CountingServer
from tests.acceptance.worlds.host import Host, Json
from tests.acceptance.worlds.journals import assert_never_falls, assert_sound
from tests.support.process import DEADLINE_SECONDS, Child, wait_until
from tests.support.prometheus import Prometheus

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.prometheus, pytest.mark.postgres]
KILLS = int(os.environ.get("ROLLOUT_CRASH_KILLS", "8"))
MOST_EVENTS_BETWEEN_KILLS = 3
LONGEST_LIFE_SECONDS = 6.0

PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {{name: crashing}}
spec:
  prometheus: {{url: "{prometheus}", timeout: 2s, scrape_interval: 1s}}
  flags: {{raised: {{}}, known: {{}}}}
  gates:
    health:
      every: 500ms
      criteria: [{{name: errors, query: error_rate, pass: "< 0.1", fail: "> 0.5"}}]
  stages:
    - name: sqlite
      kind: migration
      database: "sqlite:///{folder}/world.db"
      on_rollback: down
      allow_data_loss: true
      migrations: [{{up: sql/up.sql, down: sql/down.sql}}, {{up: sql/up2.sql, down: sql/down2.sql}}]
    - name: postgres
      kind: migration
      database: {{env: PG_URL}}
      on_rollback: down
      allow_data_loss: true
      migrations: [{{up: sql/up3.sql, down: sql/down3.sql}}]
    - {{name: canary, kind: monitoring, flag: raised, percentages: [40, 100], gate: health, bake: 1s, settle: 0s}}
    - name: world
      kind: steps
      steps:
        - name: probed
          command: [./effect.sh, probed]
          probe: [./was.sh, probed]
          undo: [./effect.sh, probed-back]
        - name: bare
          command: [./effect.sh, bare]
          undo: [./effect.sh, bare-back]
        - name: repeatable
          http: {{method: POST, url: "{counting}/repeatable", status: 200}}
          idempotent: true
          undo: {{http: {{method: POST, url: "{counting}/repeatable-back", status: 200}}, idempotent: true}}
        - name: once
          http: {{method: POST, url: "{counting}/once", status: 200}}
          undo: {{http: {{method: POST, url: "{counting}/once-back", status: 200}}}}
    - {{name: known, kind: batch, flag: known, percentages: [20, 100], bake: 500ms, settle: 0s}}
{last}  watch: 500ms
"""
# a person ends the run, so that it can't end before it was killed often enough
SIGNED_OFF = "    - {name: sign off, kind: steps, steps: [{manual: Everything is up}]}\n"
ASKED = "  rollback: {ask: [{question: Is everything back}]}\n"
FAILS = "    - {name: impossible, kind: steps, steps: [{command: [./fails.sh], undo: none}]}\n"


@dataclass
class World:
    """Everything that the plan touches, and what became of it."""

    host: Host
    counting: CountingServer
    database: str
    prometheus: Prometheus
    resolved: list[str] = field(default_factory=list)

    def plan(self, *, last: str = "") -> Path:
        self.host.write("sql/up.sql", "CREATE TABLE applied (id int);\nINSERT INTO applied VALUES (1);\n")
        self.host.write("sql/down.sql", "DROP TABLE applied;\n")
        self.host.write("sql/up2.sql", "CREATE TABLE more (id int);\nINSERT INTO applied VALUES (2);\n")
        self.host.write("sql/down2.sql", "DROP TABLE more;\n")
        self.host.write("sql/up3.sql", "CREATE TABLE applied (id int);\nINSERT INTO applied VALUES (3);\n")
        self.host.write("sql/down3.sql", "DROP TABLE applied;\n")
        self.host.write("effect.sh", f'#!/bin/sh\nsleep 0.15\necho "$1" >> {self.log}\n', executable=True)
        self.host.write("was.sh", f'#!/bin/sh\ngrep -qx "$1" {self.log}\n', executable=True)
        self.host.write("fails.sh", "#!/bin/sh\nexit 1\n", executable=True)
        self.log.touch()
        self.counting.slow_seconds = 0.15
        text = PLAN.format(
            prometheus=self.prometheus.url, folder=self.host.folder, counting=self.counting.url, last=last
        )
        return self.host.write("plan.yaml", text)

    @property
    def log(self) -> Path:
        return self.host.folder / "effects.log"

    @property
    def logged(self) -> list[str]:
        return sorted(self.log.read_text().split())

    def was_done(self, target: str) -> bool:
        """What a person finds out before answering for an effect that may have happened."""
        name = target.rpartition("/")[2]
        if target.startswith("http:"):
            return self.counting.carried_out(f"/{name}") > 0
        return name in self.logged

    def sqlite_rows(self) -> list[int] | None:
        """Rows of the migrated table; None without it."""
        with closing(sqlite3.connect(self.host.folder / "world.db")) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'applied'").fetchall():
                return None
            return [row[0] for row in connection.execute("SELECT id FROM applied ORDER BY id")]

    def postgres_rows(self) -> list[int] | None:
        with psycopg.connect(self.database) as connection:
            if connection.execute("SELECT to_regclass('applied')").fetchone() == (None,):
                return None
            return [row[0] for row in connection.execute("SELECT id FROM applied ORDER BY id")]


@pytest.fixture
def world(host: Host, counting: CountingServer, prometheus: Prometheus, postgres_dsn: str) -> World:
    host.rollout.environment["PG_URL"] = postgres_dsn
    return World(host, counting, postgres_dsn, prometheus)


@pytest.fixture
def dice() -> random.Random:
    seed = int(os.environ.get("ROLLOUT_CRASH_SEED") or random.SystemRandom().randrange(10**6))
    print(f"ROLLOUT_CRASH_SEED={seed}")
    return random.Random(seed)


def settle_unknown(world: World, run: str, back: str) -> None:
    """Answers as a person does who looked: what may have happened is done or not done. `back` ends an undo's name."""
    status = world.host.status(run)
    for hold in status["holds"] if status is not None else ():
        if hold["reason"] != "unknown_outcome":
            continue
        target = hold["item"]
        taken = "done" if world.was_done(target + back) else "not_done"
        done = world.host.run("resolve", run, target, "--as", taken, "--reason", "looked at it")
        if done.code == 0:
            world.resolved.append(f"{target} {taken}")


def kill_at_a_moment(world: World, child: Child, dice: random.Random, back: str) -> bool:
    """Lets the journal grow by some events and kills the controller a moment later. False if it ended before."""
    host = world.host
    events = 1 if back else MOST_EVENTS_BETWEEN_KILLS  # the way back is shorter
    until = host.length() + dice.randrange(events + 1)
    latest = time.monotonic() + LONGEST_LIFE_SECONDS
    run = ""
    while child.running and host.length() < until and time.monotonic() < latest:
        run = run or next((str(row[0]) for row in host.query("SELECT run FROM runs")), "")
        if run and host.query("SELECT 1 FROM events WHERE json_extract(data, '$.hold') = 'unknown_outcome'"):
            settle_unknown(world, run, back)
        time.sleep(0.02)
    time.sleep(dice.uniform(0.0, 0.3))
    was_running = child.running
    child.kill()
    return was_running


def crash_through(world: World, plan: Path, child: Child, dice: random.Random, back: str = "") -> Child:
    """Kills and starts again `KILLS` times, and then lets the run come to its end. What started it last is returned."""
    for number in range(KILLS):
        alive = kill_at_a_moment(world, child, dice, back)
        where = "SELECT json_extract(summary, '$.phase'), json_extract(summary, '$.step') FROM runs"
        print(f"kill {number + 1}: event {world.host.length()} {world.host.query(where)}")
        assert alive, f"the run ended before kill {number + 1}:\n{child.output}\n{child.errors}"
        child = world.host.start(plan)
    run = world.host.name_from(child)
    deadline = time.monotonic() + 2 * DEADLINE_SECONDS
    while child.running:
        status = world.host.status(run)
        assert time.monotonic() < deadline, f"no end: {status}"
        settle_unknown(world, run, back)
        if status is not None and status["waiting"]:
            world.host.run("approve", run, "--reason", "so it is")
        time.sleep(0.2)
    return child


def test_a_run_that_is_killed_again_and_again_is_promoted_with_each_effect_once(
    world: World, dice: random.Random
) -> None:
    plan = world.plan(last=SIGNED_OFF)
    child = crash_through(world, plan, world.host.start(plan), dice)
    print(f"answered by hand: {world.resolved}")
    assert child.exit_code == 0, child.output + child.errors
    runs = world.host.json("list")
    assert [(run["plan"], run["outcome"]) for run in runs] == [("crashing", "promoted")]
    assert_sound(world.host, runs[0]["run"])
    assert world.sqlite_rows() == [1, 2]
    assert world.postgres_rows() == [3]
    assert world.logged == ["bare", "probed"]
    assert world.counting.carried_out("/repeatable") == 1
    assert world.counting.carried_out("/once") == world.counting.arrivals["/once"] == 1
    for flag in ("raised", "known"):
        assert_never_falls(world.host, flag)
        assert world.host.json("flag", "get", flag)["percentage"] == 100


def test_a_way_back_that_is_killed_again_and_again_leaves_everything_as_it_was_before(
    world: World, dice: random.Random
) -> None:
    before = with_a_flag_set(world.host)
    plan = world.plan(last=FAILS + ASKED)
    child, run = world.host.started(plan)
    world.host.wait_for(run, phase="rolling_back", deadline_seconds=2 * DEADLINE_SECONDS)
    assert world.sqlite_rows() == [1, 2]
    child = crash_through(world, plan, child, dice, back="-back")
    print(f"answered by hand: {world.resolved}")
    assert child.exit_code == 3, child.output + child.errors
    runs = world.host.json("list")
    assert [(one["run"], one["outcome"]) for one in runs] == [(run, "rolled_back")]
    assert_sound(world.host, run)
    assert world.sqlite_rows() is None
    assert world.postgres_rows() is None
    assert world.logged == ["bare", "bare-back", "probed", "probed-back"]
    assert world.counting.carried_out("/repeatable-back") == 1
    assert world.counting.carried_out("/once-back") == world.counting.arrivals["/once-back"] == 1
    flags = {flag["key"]: flag for flag in world.host.json("flag", "list")}
    assert {name: flags["known"][name] for name in before} == before
    assert (flags["raised"]["state"], flags["raised"]["percentage"]) == ("disabled", 0)


def with_a_flag_set(host: Host) -> Json:
    """A flag that somebody gave 10 % before the run, as it is to be found again."""
    with host.rollout.start("serve", "--listen", "127.0.0.1:0") as controller:
        wait_until(host.controller, what="a controller")
        host.ok("flag", "set", "known", "--percentage", "10", "--state", "enabled", "--reason", "before the run")
        flag: Json = host.json("flag", "get", "known")
        controller.stop()
    assert flag["percentage"] == 10
    return {name: flag[name] for name in ("state", "percentage", "targets", "parameters", "variants")}


INTERRUPTED = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: interrupted}
spec:
  stages:
    - name: world
      kind: steps
      steps: [{name: bare, command: [./slow.sh], undo: none}, {name: next, command: [./next.sh], undo: none}]
  watch: 0s
"""


def test_a_kill_in_the_middle_of_a_command_that_nobody_can_look_at_waits_for_a_person(host: Host) -> None:
    log = host.folder / "log"
    host.write("slow.sh", f"#!/bin/sh\necho began >> {log}\nsleep 30\necho ended >> {log}\n", executable=True)
    host.write("next.sh", f"#!/bin/sh\necho next >> {log}\n", executable=True)
    plan = host.write("plan.yaml", INTERRUPTED)
    child, run = host.started(plan)
    wait_until(log.exists, what="the command to begin")
    child.kill()
    child = host.start(plan)
    status = host.wait_for(run, hold="unknown_outcome")
    assert any(hold["item"] == "command:production/world/bare" for hold in status["holds"])
    assert log.read_text().split() == ["began"]
    shown = host.ok("status", run).output
    assert "unknown_outcome" in shown
    assert "slow.sh may have run before the controller was interrupted" in shown
    host.ok("resolve", run, "command:production/world/bare", "--as", "done", "--reason", "I saw that it had ended")
    assert child.wait() == 0, child.output + child.errors
    assert log.read_text().split() == ["began", "next"]
    assert_sound(host, run)
