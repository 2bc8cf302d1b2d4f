import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters.sql.text import Dialect, split
from orchestrator.errors import Permanent


def texts(sql: str, dialect: Dialect = Dialect.POSTGRESQL) -> list[str]:
    return [statement.text for statement in split(sql, dialect)]


@pytest.mark.parametrize("dialect", tuple(Dialect))
def test_statements_end_at_semicolons_outside_quotes_and_comments(dialect: Dialect) -> None:
    sql = """
        -- a; comment
        SELECT ';', "a;b"  /* ; */ , 'it''s; fine';
        ;;
        SELECT 2 -- the last one needs no semicolon;
    """

    assert texts(sql, dialect) == ["SELECT ';', \"a;b\"  /* ; */ , 'it''s; fine'", "SELECT 2"]


def test_postgres_quotes_are_known() -> None:
    body = "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $body$ BEGIN; RETURN $1; END; $body$"
    nested = "SELECT 1 /* outer; /* inner; */ still; */ + 1"
    escaped = r"SELECT E'it\'s; fine', $$a;b$$, a$b$c"

    assert texts(f"{body};{nested};{escaped};") == [body, nested, escaped]


def test_bodies_of_sql_functions_stay_whole() -> None:
    body = (
        "CREATE OR REPLACE FUNCTION f(a int) RETURNS int LANGUAGE sql\n"
        "BEGIN ATOMIC SELECT CASE WHEN a > 0 THEN 1 ELSE 2 END; SELECT 3; END"
    )

    assert texts(f"{body}; SELECT 1") == [body, "SELECT 1"]


def test_bodies_of_triggers_stay_whole() -> None:
    body = (
        "CREATE TEMP TRIGGER t AFTER INSERT ON a WHEN new.x > 0\n"
        "BEGIN UPDATE b SET n = CASE WHEN n > 1 THEN 0 ELSE n END; DELETE FROM c; END"
    )

    assert texts(f"{body};\nSELECT [a;b], `c;d`", Dialect.SQLITE) == [body, "SELECT [a;b], `c;d`"]


def test_lines_are_those_of_the_file() -> None:
    first, second = split("-- head\n\nSELECT 1;\n  SELECT\n2,\nx", Dialect.POSTGRESQL)

    assert (first.line, second.line) == (3, 4)
    assert second.line_at(second.text.index("x")) == 6


@given(
    st.lists(
        st.sampled_from(("SELECT 1", " ';' ", '"a;"', ";", "\n", "-- x;\n", "/* ; */", "[;]", "`;`", "a")), max_size=12
    )
)
def test_every_piece_is_complete_in_the_eyes_of_sqlite_itself(pieces: list[str]) -> None:
    sql = "".join(pieces)

    for statement in split(sql, Dialect.SQLITE):
        assert apsw.complete(f"{statement.text}\n;")
        if ";" in statement.text:
            assert not apsw.complete(statement.text[: statement.text.index(";") + 1])


@pytest.mark.parametrize(
    "sql",
    (
        "BEGIN",
        "begin transaction",
        "COMMIT",
        "END",
        "ROLLBACK",
        "ABORT",
        "START TRANSACTION",
        "PREPARE TRANSACTION 'x'",
    ),
)
@pytest.mark.parametrize("dialect", tuple(Dialect))
def test_a_file_does_not_steer_the_transaction_that_it_runs_in(sql: str, dialect: Dialect) -> None:
    with pytest.raises(Permanent, match=r"line 2: .*leave BEGIN and COMMIT out"):
        split(f"SELECT 1;\n{sql};", dialect)


@pytest.mark.parametrize("dialect", tuple(Dialect))
def test_savepoints_are_the_files_own(dialect: Dialect) -> None:
    assert len(split("SAVEPOINT a; ROLLBACK TO a; ROLLBACK WORK TO SAVEPOINT a; RELEASE a", dialect)) == 4


@pytest.mark.parametrize(
    ("sql", "named"),
    (
        ("CREATE INDEX CONCURRENTLY i ON t (a)", "CREATE INDEX CONCURRENTLY"),
        ("create unique index concurrently if not exists i on t (a)", "CREATE INDEX CONCURRENTLY"),
        ("DROP INDEX CONCURRENTLY i", "DROP INDEX CONCURRENTLY"),
        ("REINDEX INDEX CONCURRENTLY i", "REINDEX INDEX CONCURRENTLY"),
        ("REINDEX (VERBOSE) TABLE CONCURRENTLY t", "REINDEX CONCURRENTLY"),
        ("VACUUM (FULL) t", "VACUUM"),
        ("CREATE DATABASE d", "CREATE DATABASE"),
        ("ALTER SYSTEM SET x = 1", "ALTER SYSTEM"),
        ("ALTER TABLE t DETACH PARTITION p CONCURRENTLY", "DETACH PARTITION CONCURRENTLY"),
    ),
)
def test_what_cannot_run_in_a_transaction_is_refused_with_the_remedy(sql: str, named: str) -> None:
    with pytest.raises(Permanent, match=f"line 1: {named} cannot run inside a transaction.*command action"):
        split(sql, Dialect.POSTGRESQL)


def test_words_that_only_look_like_it_are_let_through() -> None:
    fine = "CREATE INDEX i ON t (a); CREATE TABLE vacuum_log (begin_at int); REFRESH MATERIALIZED VIEW CONCURRENTLY v"

    assert len(split(fine, Dialect.POSTGRESQL)) == 3


@pytest.mark.parametrize("sql", ("\\i other.sql", "SELECT 1;\n\\copy t FROM 'x'", "SELECT 1 \\g out"))
def test_commands_of_psql_are_refused_with_the_remedy(sql: str) -> None:
    with pytest.raises(Permanent, match=r"is a command of psql, not SQL; leave it out"):
        split(sql, Dialect.POSTGRESQL)


def test_commands_of_the_sqlite_shell_are_refused_with_the_remedy() -> None:
    with pytest.raises(Permanent, match=r"line 2: \.read is a command of sqlite3"):
        split("SELECT a.b FROM a;\n.read x.sql", Dialect.SQLITE)


@pytest.mark.parametrize("sql", ("PRAGMA foreign_keys = OFF", "PRAGMA main.journal_mode = WAL", "VACUUM"))
def test_what_sqlite_would_silently_not_do_in_a_transaction_is_refused(sql: str) -> None:
    with pytest.raises(Permanent, match="inside a transaction"):
        split(sql, Dialect.SQLITE)


def test_unfinished_quotes_are_left_to_the_database() -> None:
    assert texts("SELECT 'oops; SELECT 2") == ["SELECT 'oops", "SELECT 2"]
    assert texts("SELECT $$oops; SELECT 2") == ["SELECT $$oops; SELECT 2"]
