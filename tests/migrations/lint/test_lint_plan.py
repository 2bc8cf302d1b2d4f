"""The lint over plans: acceptance, warnings, databases, and what the command and the API say."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.adapters.lint import Generated, Linted, lint_plan
from orchestrator.adapters.sql.text import Dialect
from stages.load import LoadedPlan, load_plan
from stages.problems import InvalidPlan
from stages.values import TextOrSecret

ROLLOUT = Path(sys.executable).with_name("rollout")
HEAD = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: orders}
spec:
  database: "postgresql://db/shop"
"""
STAGE = HEAD + "  stages:\n    - {name: schema, kind: migration, migrations: [{up: 1.sql}, {up: 2.sql}]%s}\n"
ACCEPTED = ", lint: {accept: [{rule: %s, reason: nobody reads it}]}"


def load(text: str, **files: str) -> LoadedPlan:
    contents = {f"{name.lstrip('_')}.sql": sql for name, sql in files.items()}

    def read_file(path: str) -> bytes:
        return contents.get(path, "SELECT 1;").encode()

    return load_plan(text, "plan.yaml", {}, read_file=read_file)


def postgresql(_: TextOrSecret) -> Dialect | None:
    return Dialect.POSTGRESQL


def lint(text: str, dialect: Dialect | None = Dialect.POSTGRESQL, **files: str) -> Linted:
    plan = load(text, **files)
    return lint_plan(plan.documents, plan.files, lambda _: dialect, "plan.yaml")


def test_a_finding_of_a_migration_stands_in_the_way_at_its_place_in_the_file() -> None:
    found = lint(STAGE % "", _1="SELECT 1;\nDROP TABLE IF EXISTS orders;")
    (error,) = found.errors
    assert (error.file, error.line, error.column) == ("1.sql", 2, 1)
    assert error.message.startswith("ban-drop-table (orders): ")


def test_a_finding_that_the_plan_accepts_is_none() -> None:
    found = lint(STAGE % (ACCEPTED % "ban-drop-table"), _1="DROP TABLE IF EXISTS orders;")
    assert found == Linted()


def test_an_acceptance_holds_for_its_rule_alone() -> None:
    sql = "DROP TABLE IF EXISTS orders;\nDELETE FROM carts;"
    found = lint(STAGE % (ACCEPTED % "ban-drop-table"), _1=sql)
    assert [error.message.split()[0] for error in found.errors] == ["delete-without-where"]


def test_an_acceptance_that_meets_nothing_is_a_warning() -> None:
    (warning,) = lint(STAGE % (ACCEPTED % "ban-drop-table")).warnings
    assert warning.path == "spec.stages[0].lint.accept[0]"
    assert "nothing is found by ban-drop-table" in warning.message


def test_an_acceptance_of_an_unknown_rule_is_an_error_with_a_suggestion() -> None:
    with pytest.raises(InvalidPlan) as caught:
        load(STAGE % (ACCEPTED % "ban-drop-tables"))
    (problem,) = caught.value.problems
    assert problem.path == "spec.stages[0].lint.accept[0].rule"
    assert problem.message == "unknown lint rule 'ban-drop-tables'; did you mean 'ban-drop-table'?"


def test_an_acceptance_without_a_reason_is_refused() -> None:
    with pytest.raises(InvalidPlan, match="needs a reason"):
        load(STAGE % ', lint: {accept: [{rule: ban-drop-table, reason: " "}]}')


def test_what_an_earlier_file_of_the_plan_created_is_new_in_a_later_one() -> None:
    made, used = "CREATE TABLE IF NOT EXISTS orders (id bigint);", "CREATE INDEX IF NOT EXISTS i ON orders (id);"
    assert lint(STAGE % "", _1=made, _2=used) == Linted()
    assert len(lint(STAGE % "", _1=used, _2=made).errors) == 1


def test_expanding_over_two_files_to_not_null_is_harmless() -> None:
    first = "ALTER TABLE orders ADD CONSTRAINT has_day CHECK (day IS NOT NULL) NOT VALID;"
    second = """ALTER TABLE orders VALIDATE CONSTRAINT has_day;
    ALTER TABLE orders ALTER COLUMN day SET NOT NULL;
    ALTER TABLE orders DROP CONSTRAINT IF EXISTS has_day;"""
    assert lint(STAGE % "", _1=first, _2=second) == Linted()


def test_a_check_that_looks_for_duplicates_makes_a_unique_index_safe() -> None:
    sql = "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS orders_number ON orders (number);"
    check = (
        ', checks: [{name: no duplicates, sql: "SELECT number FROM orders GROUP BY 1 HAVING count(*) > 1",'
        " expect: {rows: 0}}]"
    )
    assert [error.message.split()[0] for error in lint(STAGE % "", _1=sql).errors] == ["unique-on-existing-rows"]
    assert lint(STAGE % check, _1=sql) == Linted()


def test_sql_of_an_action_is_warned_about_because_it_has_no_place_for_accepting() -> None:
    text = HEAD + "  stages:\n    - {name: do, kind: steps, steps: [{sql: 1.sql, down: 2.sql}]}\n"
    found = lint(text, _1="TRUNCATE orders;")
    assert found.errors == ()
    assert [warning.file for warning in found.warnings] == ["1.sql"]


def test_a_down_file_is_told_only_where_a_rollback_may_run_it() -> None:
    text = STAGE.replace("{up: 1.sql}", "{up: 1.sql, down: d.sql}")
    down = "DROP TABLE IF EXISTS orders;"
    assert lint(text % "", d=down) == Linted()
    found = lint(text % ", on_rollback: down, allow_data_loss: true", d=down)
    assert (found.errors, found.warnings) == ((), ())
    assert found.notes[0].message.startswith("at a rollback, ban-drop-table (orders)")


def test_sqlite_is_held_to_what_applies_to_it() -> None:
    sql = "CREATE TABLE IF NOT EXISTS a (id INTEGER PRIMARY KEY AUTOINCREMENT);\nCREATE INDEX IF NOT EXISTS i ON b (c);"
    assert lint(STAGE % "", Dialect.SQLITE, _1=sql) == Linted()


def test_a_database_that_is_not_known_is_read_as_postgresql_unless_it_cannot_be() -> None:
    found = lint(STAGE % "", None, _1="CREATE INDEX IF NOT EXISTS i ON b (c);")
    assert len(found.errors) == 1
    assert [note.message for note in found.notes] == [
        "the database is not known here, so it was read as SQL of PostgreSQL"
    ]
    sqlite = "CREATE TABLE IF NOT EXISTS a (id INTEGER PRIMARY KEY AUTOINCREMENT);"
    assert lint(STAGE % "", None, _1=sqlite) == Linted()


def test_sql_that_another_migrator_would_run_is_held_to_the_rules_of_its_stage() -> None:
    plan = load(STAGE % (ACCEPTED % "ban-drop-table"))
    made = {"schema": Generated("BEGIN;\nDROP TABLE a;\nDELETE FROM b;\nCOMMIT;", "alembic upgrade --sql")}
    found = lint_plan(plan.documents, plan.files, postgresql, "plan.yaml", made)
    assert [(one.file, one.line) for one in found.errors] == [("alembic upgrade --sql", 3)]
    assert found.warnings == ()


def test_what_a_stage_accepts_is_not_called_unused_while_its_sql_has_not_been_generated() -> None:
    stages = "  stages:\n    - {name: schema, kind: migration, alembic: {}, lint: {accept: [%s]}}\n"
    plan = load(HEAD + stages % "{rule: ban-drop-table, reason: nobody reads it}")
    assert lint_plan(plan.documents, plan.files, postgresql) == Linted()
    made = {"schema": Generated("SELECT 1;", "alembic upgrade --sql")}
    assert len(lint_plan(plan.documents, plan.files, postgresql, generated=made).warnings) == 1


@pytest.mark.parametrize(
    ("sql", "words"),
    (
        ("SELECT 1;\n\\i other.sql\nDROP TABLE orders;", "is a command of psql, not SQL"),
        ("SELECT 1;\nBEGIN;\nDROP TABLE orders;\nCOMMIT;", "BEGIN is not for the file to say"),
    ),
)
def test_what_the_runner_would_refuse_is_said_before_the_start_with_the_remedy(sql: str, words: str) -> None:
    (error,) = lint(STAGE % "", _1=sql).errors
    assert (error.file, error.line) == ("1.sql", 2)
    assert words in error.message
    down = lint(STAGE.replace("{up: 1.sql}", "{up: 1.sql, down: d.sql}") % "", d=sql)
    assert [one.file for one in down.errors] == ["d.sql"]


def test_ten_files_are_linted_well_under_a_second() -> None:
    many = ", ".join(f"{{up: {number}.sql}}" for number in range(10))
    plan = load(STAGE.replace("{up: 1.sql}, {up: 2.sql}", many) % "")
    files = dict.fromkeys(plan.files, "CREATE TABLE IF NOT EXISTS t (id bigint, name text);\n" * 20)
    lint_plan(plan.documents, files, postgresql)
    began = time.process_time()
    lint_plan(plan.documents, files, postgresql)
    assert time.process_time() - began < 0.5


# --- the controller ---------------------------------------------------------------------------------------------------


async def test_the_controller_lists_findings_as_problems_of_the_plan() -> None:
    from orchestrator.api.bodies import ValidationBody
    from orchestrator.api.plans import validate_plan

    files = {"1.sql": "DROP TABLE IF EXISTS orders;", "2.sql": "CREATE TABLE lines (id bigint);"}
    with pytest.raises(InvalidPlan) as caught:
        await validate_plan(ValidationBody(text=STAGE % "", files=files))
    assert [(one.file, one.line) for one in caught.value.problems] == [("1.sql", 1)]
    accepted = ValidationBody(text=STAGE % (ACCEPTED % "ban-drop-table"), files=files)
    answer = json.loads(bytes((await validate_plan(accepted)).body))
    assert [one["file"] for one in answer["warnings"]] == ["2.sql"]


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plan.yaml").write_text(STAGE % "")
    (tmp_path / "1.sql").write_text("SELECT 1;\n  DROP TABLE IF EXISTS orders;\n")
    (tmp_path / "2.sql").write_text("CREATE TABLE lines (id bigint);\n")
    return tmp_path


def rollout(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "ROLLOUT_STATE_DIR": str(folder / "state"), "NO_COLOR": "1"}
    return subprocess.run(
        [ROLLOUT, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.acceptance
@pytest.mark.parametrize("words", (("validate", "--offline"), ("start",)), ids=" ".join)
def test_the_command_refuses_what_is_dangerous_before_anything_is_submitted(
    folder: Path, words: tuple[str, ...]
) -> None:
    done = rollout(folder, words[0], "plan.yaml", *words[1:])
    assert done.returncode == 2
    assert "1.sql:2:3: ban-drop-table (orders): the table and its rows are gone" in done.stderr
    assert not (folder / "state" / "rollout.db").exists()


@pytest.mark.acceptance
def test_the_command_warns_of_what_is_left_and_goes_on(folder: Path) -> None:
    (folder / "plan.yaml").write_text(STAGE % (ACCEPTED % "ban-drop-table"))
    done = rollout(folder, "validate", "plan.yaml", "--offline", "-o", "json")
    assert done.returncode == 0, done.stderr
    (warning,) = json.loads(done.stdout)["warnings"]
    assert (warning["file"], warning["line"]) == ("2.sql", 1)
    assert warning["message"].startswith("prefer-robust-stmts (lines)")
