"""What stays and what goes back, through the real command on SQLite: walls, backups, a team's own migrator."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.worlds.host import Host, host_in
from tests.orchestrator.core.drive import plan_of
from tests.support.process import wait_until

pytestmark = pytest.mark.acceptance
REASON = ("--reason", "because of the test")
SIGN_OFF = {"name": "sign off", "kind": "steps", "steps": [{"manual": "Everything is up"}]}
FAILS = {"name": "fails", "kind": "steps", "steps": [{"command": ["/bin/false"], "undo": "none"}]}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with host_in(tmp_path) as made:
        made.write("1.sql", "CREATE TABLE first (x int);\n")
        made.write("1.down.sql", "DROP TABLE first;\n")
        made.write("2.sql", "CREATE TABLE second (x int);\n")
        made.write("2.down.sql", "DROP TABLE second;\n")
        yield made


def plan(host: Host, *stages: dict[str, Any], **fields: Any) -> Path:
    database = f"sqlite:///{host.folder}/app.db"
    document = plan_of({"database": database, "stages": list(stages), "watch": "0s", **fields})
    del document["spec"]["prometheus"]
    return host.write("plan.json", json.dumps(document))


def schema(name: str, number: int, **fields: Any) -> dict[str, Any]:
    files = {"up": f"{number}.sql", "down": f"{number}.down.sql"}
    return {"name": name, "kind": "migration", "migrations": [files], **fields}


def tables(host: Host) -> set[str]:
    if not (host.folder / "app.db").exists():
        return set()
    with contextlib.closing(sqlite3.connect(host.folder / "app.db")) as connection:
        found = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        return {name for (name,) in found if not name.startswith("rollout_")}


def log(host: Host) -> list[str]:
    file = host.folder / "log"
    return file.read_text().split() if file.exists() else []


def writes(host: Host, name: str, text: str) -> str:
    host.write(name, f"#!/bin/sh\n{text}\n", executable=True)
    return f"./{name}"


def test_an_automatic_rollback_stops_at_a_point_of_no_return_and_says_so(host: Host) -> None:
    note = writes(host, "note.sh", f'echo "$1" >> {host.folder}/log')
    before = {"name": "before", "kind": "steps", "steps": [{"command": [note, "a"], "undo": [note, "a-back"]}]}
    after = {"name": "after", "kind": "steps", "steps": [{"command": [note, "b"], "undo": [note, "b-back"]}]}
    contract = schema("contract", 1, point_of_no_return=True, on_rollback="down", allow_data_loss=True)
    file = plan(host, before, contract, after, FAILS)
    shown = host.ok("validate", file).output
    assert "it is a point of no return: once it has begun, nothing that came before is undone" in shown
    child, run = host.started(file)
    status = host.wait_for(run, hold="point_of_no_return")
    wait_until(lambda: "b-back" in log(host), what="what came after the wall to be undone")
    assert tables(host) == {"first"}
    assert status["phase"] == "rolling_back"
    host.ok("resolve", run, "no_return", *REASON)
    assert child.wait() == 3
    exceptions = host.json("status", run)["exceptions"]
    assert any("lies behind a point of no return" in one for one in exceptions)
    assert log(host) == ["a", "b", "b-back"]


def test_what_a_down_file_drops_is_told_before_a_start_and_asked_about(host: Host) -> None:
    file = plan(host, schema("one", 1, on_rollback={"ask": "Take it back?"}), schema("two", 2), SIGN_OFF)
    shown = host.ok("validate", file).output
    assert "somebody is asked (which drops the table first)" in shown
    assert "the schema stays unless somebody asks for it (which drops the table second)" in shown
    child, run = host.started(file)
    host.wait_for(run, hold="manual")
    host.ok("rollback", run, *REASON)
    status = host.wait_for(run, phase="rolling_back", hold="manual")
    assert [hold["detail"] for hold in status["holds"]] == ["Take it back? (a yes drops the table first)"]
    host.ok("approve", run, *REASON)
    assert child.wait() == 3
    assert "first" not in tables(host)


def test_with_schema_takes_back_what_can_go_and_never_what_the_plan_keeps(host: Host) -> None:
    kept = schema("two", 2)
    kept["migrations"][0]["keep"] = "it has people's data"
    child, run = host.started(plan(host, schema("one", 1), kept, SIGN_OFF))
    host.wait_for(run, hold="manual")
    host.ok("rollback", run, "--with-schema", *REASON)
    assert child.wait() == 3
    assert tables(host) == {"second"}
    assert host.json("status", run)["exceptions"] == ["2.sql in production stays: it has people's data"]


def test_a_backup_is_made_before_the_schema_changes_and_restored_after_a_rollback(host: Host) -> None:
    note = writes(host, "note.sh", f'echo "$1" >> {host.folder}/log')
    backup = {
        "command": [note, "backed-up"],
        "verify": [{"name": "readable", "command": ["grep", "-q", "backed-up", f"{host.folder}/log"]}],
        "max_age": "1h",
        "restore": [{"command": [note, "restored"]}],
    }
    stage = schema("one", 1, backup=backup, before=[{"command": [note, "before"], "undo": "none"}])
    child, run = host.started(plan(host, stage, SIGN_OFF))
    host.wait_for(run, hold="manual")
    assert log(host) == ["backed-up", "before"]
    host.ok("rollback", run, *REASON)
    status = host.wait_for(run, phase="rolling_back", hold="manual")
    assert [hold["detail"] for hold in status["holds"]] == ["Restore the backup of one?"]
    host.ok("approve", run, *REASON)
    assert child.wait() == 3
    assert log(host) == ["backed-up", "before", "restored"]


@pytest.mark.parametrize("broken", ("command", "verify"))
def test_a_schema_is_not_touched_without_its_backup(host: Host, broken: str) -> None:
    verify = [{"name": "readable", "command": ["/bin/false" if broken == "verify" else "/bin/true"]}]
    backup = {"command": ["/bin/false" if broken == "command" else "/bin/true"], "verify": verify}
    child, run = host.started(plan(host, schema("one", 1, backup=backup)))
    assert child.wait() == 3
    assert tables(host) == set()
    assert host.json("status", run)["outcome"] == "rolled_back"


def test_a_migrator_of_a_teams_own_runs_once_and_stays_at_a_rollback(host: Host) -> None:
    migrate = writes(host, "migrate.sh", f'echo "$1" >> {host.folder}/log')
    done = writes(host, "done.sh", f'grep -qx "$1" {host.folder}/log')
    entry = {
        "command": [migrate, "m1"],
        "probe": [done, "m1"],
        "verify": [{"name": "is there", "command": [done, "m1"]}],
        "irreversible": "it knows no way back",
    }
    file = plan(host, {"name": "schema", "kind": "migration", "migrations": [entry], "on_rollback": "down"}, SIGN_OFF)
    child, run = host.started(file)
    host.wait_for(run, hold="manual")
    host.ok("rollback", run, *REASON)
    assert child.wait() == 3
    assert any("it knows no way back" in one for one in host.json("status", run)["exceptions"])
    again, second = host.started(file)
    host.wait_for(second, hold="manual")
    host.ok("approve", second, *REASON)
    assert again.wait() == 0
    assert log(host) == ["m1"]
