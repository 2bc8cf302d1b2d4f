import re
import shutil
import sys
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import lint as benchmark
from orchestrator.adapters.lint import data_loss, lint_sql, squawk
from orchestrator.adapters.lint.tokens import statements
from orchestrator.adapters.sql.text import Dialect
from orchestrator.errors import Permanent
from stages.lint import RULES, Family, LintRule
from tests.migrations.lint.fixtures import Fixture, fixtures

POSTGRESQL, SQLITE = Dialect.POSTGRESQL, Dialect.SQLITE


def rules(sql: str, dialect: Dialect = POSTGRESQL, known_tables: tuple[str, ...] = ()) -> list[str]:
    return [one.rule.name for one in lint_sql(sql, dialect, "a.sql", known_tables)]


@pytest.mark.parametrize("fixture", fixtures("families"), ids=lambda one: one.name)
def test_each_thing_of_the_list_is_found_by_its_rules_alone(fixture: Fixture) -> None:
    found = lint_sql(fixture.text, fixture.dialect, fixture.path.name)
    assert {one.rule.name for one in found} == fixture.rules
    assert not any(one.is_warning for one in found)
    assert fixture.said("family") in {one.rule.family for one in found}


@pytest.mark.parametrize("fixture", fixtures("harmless"), ids=lambda one: one.name)
def test_nothing_is_found_in_a_harmless_migration(fixture: Fixture) -> None:
    assert [str(one) for one in lint_sql(fixture.text, fixture.dialect, fixture.path.name)] == []


def test_there_are_thirty_harmless_migrations_and_every_family_has_fixtures() -> None:
    assert len(fixtures("harmless")) == 30
    assert {one.said("family") for one in fixtures("families")} == {str(family) for family in Family}


def test_a_finding_names_the_place_the_rule_what_it_is_about_what_happens_and_what_to_write() -> None:
    (found,) = lint_sql("SELECT 'ü'; ALTER TABLE orders\n  DROP COLUMN IF EXISTS \"größe\";", POSTGRESQL, "sql/1.sql")
    assert (found.line, found.column, found.what) == (2, 3, "orders.größe")
    assert str(found).startswith("sql/1.sql:2:3: ban-drop-column (orders.größe): the column and its values are gone")
    assert "; instead: stop reading and writing it first" in str(found)


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.name)
def test_every_rule_has_a_sentence_and_a_rewrite(rule: LintRule) -> None:
    assert len(rule.sentence.split()) > 3
    assert rule.rewrite


def test_every_rule_is_reached_by_a_fixture_or_a_statement_here() -> None:
    rest = "DROP DATABASE shop; REINDEX TABLE orders; ALTER TABLE orders RENAME TO o; "
    reached = set(rules(rest)).union(*(one.rules for one in fixtures("families")))
    assert reached == set(RULES)


def test_comments_in_the_file_do_not_accept_a_finding() -> None:
    assert rules("-- squawk-ignore-file\n-- squawk-ignore ban-drop-table\nDROP TABLE IF EXISTS orders;") == [
        "ban-drop-table"
    ]


def test_what_stands_in_texts_comments_and_functions_is_not_run() -> None:
    sql = """
        /* DROP TABLE a; /* nested */ DELETE FROM a; */
        INSERT INTO notes (text) VALUES ('it''s; DELETE FROM a'), (E'\\'; DROP TABLE a;'), ($q$TRUNCATE a;$q$);
        CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC; DELETE FROM a; SELECT 1; END;
    """
    assert rules(sql) == []


def test_what_the_file_has_created_is_used_by_nobody_yet() -> None:
    sql = "CREATE INDEX i ON orders (day); DROP TABLE IF EXISTS orders;"
    assert rules("CREATE UNLOGGED TABLE orders (day date); " + sql) == ["prefer-robust-stmts"]
    assert rules(sql, known_tables=("orders",)) == []


def test_a_table_that_may_have_been_there_is_not_dropped_unseen() -> None:
    created = "CREATE TABLE IF NOT EXISTS orders (day date); "
    assert rules(created + "CREATE INDEX IF NOT EXISTS i ON orders (day);") == []
    assert rules(created + "DROP TABLE IF EXISTS orders;") == ["ban-drop-table"]


def test_a_schema_that_the_file_creates_makes_its_tables_new() -> None:
    assert rules("CREATE SCHEMA shop; CREATE INDEX i ON shop.orders (day); DROP SCHEMA IF EXISTS shop;") == []


def test_filling_a_column_that_the_file_adds_destroys_nothing_but_goes_in_batches() -> None:
    assert rules("ALTER TABLE orders ADD COLUMN IF NOT EXISTS c text; UPDATE orders SET c = 'x';") == [
        "unbatched-backfill"
    ]


@pytest.mark.parametrize(
    ("where", "is_bounded"),
    (
        ("id = 7", True),
        ("country_code IN ('de', 'at')", True),
        ("id BETWEEN 1 AND 5000 AND c IS NULL", True),
        ("id > 5000 AND id <= 10000", True),
        ("c IS NULL", False),
        ("state = 'old'", False),
        ("id > 0", False),
        ("o.id = a.id", False),
    ),
)
def test_an_update_is_bounded_by_its_key(where: str, is_bounded: bool) -> None:
    assert rules(f"UPDATE orders SET c = 1 WHERE {where};") == ([] if is_bounded else ["unbatched-backfill"])


def test_a_missing_guard_is_an_error_only_where_no_transaction_takes_its_place() -> None:
    (within,) = lint_sql("CREATE TABLE orders (id bigint);", POSTGRESQL, "a.sql")
    (alone,) = lint_sql("CREATE INDEX CONCURRENTLY i ON orders (id);", POSTGRESQL, "a.sql")
    assert (within.is_warning, alone.is_warning) == (True, False)
    assert rules("BEGIN; CREATE TABLE orders (id bigint); COMMIT;") == []


def test_a_check_is_dropped_freely_and_any_other_constraint_is_not() -> None:
    drop = "ALTER TABLE orders DROP CONSTRAINT IF EXISTS "
    assert rules(drop + "orders_total_check;") == []
    assert rules(drop + "orders_number_key;") == ["ban-drop-constraint"]


def test_a_migrators_own_table_is_its_own_business() -> None:
    sql = "BEGIN; DELETE FROM alembic_version; UPDATE alembic_version SET version_num = '2'; COMMIT;"
    found = rules(sql.replace("DELETE", "CREATE TABLE alembic_version (version_num text); DELETE"))
    assert found == []


def test_the_indexes_of_a_table_that_a_revision_creates_block_nobody() -> None:
    sql = """BEGIN;
    -- Running upgrade 093 -> 094
    CREATE TABLE files (id SERIAL NOT NULL, name VARCHAR(255), PRIMARY KEY (id));
    CREATE INDEX ix_files_name ON files (name);
    CREATE INDEX ix_users_name ON users (name);
    UPDATE alembic_version SET version_num='094' WHERE alembic_version.version_num = '093';
    COMMIT;"""
    (found,) = lint_sql(sql, POSTGRESQL, "alembic upgrade --sql")
    assert (found.rule.name, found.what, found.line) == ("require-concurrent-index-creation", "users", 5)


def test_validating_in_a_later_file_is_what_is_asked_for() -> None:
    add = "ALTER TABLE orders ADD CONSTRAINT c CHECK (currency IS NOT NULL) NOT VALID;"
    validate = "ALTER TABLE orders VALIDATE CONSTRAINT c;"
    assert rules(add + validate) == ["validating-in-same-transaction"]
    assert rules(f"BEGIN; {add} COMMIT; BEGIN; {validate} COMMIT;") == []
    assert rules(f"{add} DROP INDEX CONCURRENTLY IF EXISTS i; {validate}") == []


def test_a_down_file_is_looked_at_for_what_it_would_lose() -> None:
    down = "DROP INDEX i; ALTER TABLE orders DROP COLUMN IF EXISTS c;"
    assert [one.rule.name for one in data_loss(down, POSTGRESQL, "down.sql")] == ["ban-drop-column"]


def test_an_empty_file_has_no_findings() -> None:
    assert rules(" -- nothing\n") == rules("", SQLITE) == []


def test_a_linter_that_is_not_installed_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: "/nowhere")
    squawk.program.cache_clear()
    with pytest.raises(Permanent, match="install the package squawk-cli"):
        rules("SELECT 1;")
    squawk.program.cache_clear()


@given(st.text(alphabet=st.sampled_from("aE_ \n;'\"$()/*-[`,.1é\\BEGINDO"), max_size=60), st.sampled_from(Dialect))
def test_any_text_is_cut_into_words_at_their_places(sql: str, dialect: Dialect) -> None:
    for statement in statements(sql, dialect):
        for token in statement.tokens:
            assert sql[token.start : token.end] == token.text
        assert not re.match(r"\s", statement.tokens[0].text)


def test_the_benchmark_finds_all_and_nothing_falsely() -> None:
    result = benchmark.run(quick=True)
    assert all(found == total for found, total in result["families"].values())
    assert (result["harmless"], result["false_findings"], result["precision"]) == (30, 0, 1.0)
    assert "NOT AS EXPECTED" not in benchmark.table(result)


def test_the_docs_list_every_rule_in_its_family() -> None:
    page = (Path(__file__).parents[3] / "docs" / "migrations.md").read_text()
    for family in Family:
        row = next(line for line in page.splitlines() if line.startswith(f"| {family} |"))
        for rule in RULES.values():
            mark = f"`{rule.name}`{' (S)' if rule.also_sqlite else ''}"
            assert (mark in row) == (rule.family is family), (rule.name, family)
            assert not (f"`{rule.name}` (S)" in row and not rule.also_sqlite)


def test_only_rules_that_are_said_to_be_for_sqlite_are_found_there() -> None:
    for fixture in fixtures("families"):
        found = lint_sql(fixture.text, SQLITE, fixture.path.name)
        assert all(one.rule.also_sqlite for one in found), fixture.name
