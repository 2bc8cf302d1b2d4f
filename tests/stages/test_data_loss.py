"""What SQL drops, in its words."""

import pytest

from stages.data_loss import losses
from stages.load import load_plan
from tests.stages.plans import Files, problems

DROPS = (
    ("DROP TABLE metrics;", ["the table metrics"]),
    ("drop table if exists app.metrics cascade", ["the table app.metrics"]),
    ('DROP TABLE "Odd Name"', ["the table Odd Name"]),
    ("ALTER TABLE t DROP COLUMN age, DROP COLUMN IF EXISTS note", ["the column age of t", "the column note of t"]),
    ("alter table only users drop age", ["the column age of users"]),
    ("TRUNCATE TABLE ONLY events", ["everything in the table events"]),
    ("DROP SCHEMA reporting; DROP MATERIALIZED  VIEW totals", ["the schema reporting", "the materialized view totals"]),
    ("DO $x$ BEGIN EXECUTE 'x'; DROP TABLE a; END $x$", ["the table a"]),
)  # fmt: skip
HARMLESS = (
    "ALTER TABLE users DROP CONSTRAINT users_check",
    "ALTER TABLE users ALTER COLUMN age DROP NOT NULL, ALTER COLUMN age DROP DEFAULT",
    "DROP INDEX users_by_age; DROP VIEW totals; DROP FUNCTION f; DROP TYPE state",
    "-- DROP TABLE metrics\n/* DROP TABLE metrics */ SELECT 'DROP TABLE metrics'",
    "",
)


@pytest.mark.parametrize(("sql", "found"), DROPS, ids=[sql for sql, _ in DROPS])
def test_dropped_tables_and_columns_are_named(sql: str, found: list[str]) -> None:
    assert losses(sql) == found


@pytest.mark.parametrize("sql", HARMLESS)
def test_what_drops_no_data_is_let_alone(sql: str) -> None:
    assert losses(sql) == []


def test_a_migrators_own_table_can_be_left_out() -> None:
    assert losses("DROP TABLE alembic_version; DROP TABLE a", ignored=("alembic_version",)) == ["the table a"]


PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: small}
spec:
  database: {env: DATABASE_URL}
  stages:
    - name: schema
      kind: migration
      on_rollback: down
      migrations: [{up: 1.sql, down: 1.down.sql}]
"""
SQL = Files(**{"1.sql": b"CREATE TABLE a (x int);", "1.down.sql": b"DROP TABLE a;"})


def test_a_rollback_drops_nothing_by_itself_unless_the_plan_allows_it() -> None:
    [said] = problems(PLAN, files=SQL)
    assert said == (
        "plan.yaml:10:38: spec.stages[0].migrations[0].down: with on_rollback: down, a rollback runs 1.down.sql by "
        "itself, which drops the table a; "
        "allow_data_loss: true allows it, on_rollback: {ask: ...} leaves it to a person"
    )


@pytest.mark.parametrize(
    "policy", ("on_rollback: down\n      allow_data_loss: true", "on_rollback: keep", 'on_rollback: {ask: "Drop it?"}')
)
def test_what_is_allowed_kept_or_asked_about_is_accepted(policy: str) -> None:
    text = PLAN.replace("on_rollback: down", policy)
    program = load_plan(text, "plan.yaml", {}, read_file=SQL).to_program()
    stage = program.environments[0].stages[0]
    assert stage.losses == {"schema:production/1.sql": "the table a"}
    if stage.schema_question is not None:
        assert stage.schema_question.question == "Drop it? (a yes drops the table a)"


def test_a_file_that_never_goes_is_no_loss() -> None:
    text = PLAN.replace("down: 1.down.sql", "down: 1.down.sql, keep: it has data")
    assert load_plan(text, "plan.yaml", {}, read_file=SQL).to_program().environments[0].stages[0].losses == {}


@pytest.mark.parametrize(
    ("written", "said"),
    (
        ("alembic: {target: heads}", "the name of one revision is expected, not 'heads'"),
        ("alembic: {target: base}", "the target of a migration lies above; base is where a downgrade ends"),
        ("alembic: {target: '+1'}", "the name of one revision is expected, not '+1'"),
        ("alembic: {revisions: {head: {}}}", "the name of one revision is expected, not 'head'"),
        ("migrations: [{command: [m], down: 1.down.sql}]", "down is a SQL file beside up"),
        ("migrations: [{up: 1.sql, probe: [p]}]", "probe is for a migration by a command"),
        ("migrations: [{up: 1.sql}]\n      alembic: {}", "or alembic, one of the two"),
    ),
)
def test_what_makes_no_sense_in_a_migration_is_one_sentence(written: str, said: str) -> None:
    text = PLAN.replace("on_rollback: down\n      migrations: [{up: 1.sql, down: 1.down.sql}]", written)
    [found] = problems(text, files=SQL)
    assert said in found


def test_alembic_and_another_migrator_need_no_database() -> None:
    for written in ("alembic: {}", "migrations: [{command: [npm, run, migrate]}]"):
        text = PLAN.replace("on_rollback: down\n      migrations: [{up: 1.sql, down: 1.down.sql}]", written)
        load_plan(text.replace("  database: {env: DATABASE_URL}\n", ""), "plan.yaml", {}, read_file=SQL).to_program()
