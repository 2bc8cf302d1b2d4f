import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters.sql.alone import alone, in_steps
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
    ("sql", "title"),
    (
        ("CREATE INDEX CONCURRENTLY i ON t (a)", "CREATE INDEX CONCURRENTLY i"),
        ('create unique index concurrently if not exists "I x" on only s."t" (a)', 'CREATE INDEX CONCURRENTLY "I x"'),
        ("CREATE /* why */ INDEX -- here\n CONCURRENTLY i ON s.t(a)", "CREATE INDEX CONCURRENTLY i"),
        ("DROP INDEX CONCURRENTLY IF EXISTS s.i", "DROP INDEX CONCURRENTLY s.i"),
        ("REINDEX INDEX CONCURRENTLY i", "REINDEX INDEX CONCURRENTLY i"),
        ("REINDEX (VERBOSE) TABLE CONCURRENTLY t", "REINDEX TABLE CONCURRENTLY t"),
        ("REINDEX (CONCURRENTLY) TABLE t", "REINDEX TABLE CONCURRENTLY t"),
        ("REINDEX DATABASE d", "REINDEX DATABASE d"),
        ("VACUUM (FULL) t", "VACUUM"),
        ("CLUSTER", "CLUSTER"),
        ("CREATE DATABASE d", "CREATE DATABASE d"),
        ("DROP TABLESPACE IF EXISTS x", "DROP TABLESPACE x"),
        ("ALTER SYSTEM SET x = 1", "ALTER SYSTEM"),
        ("ALTER TABLE ONLY t DETACH PARTITION p CONCURRENTLY", "DETACH PARTITION CONCURRENTLY p"),
        ("ALTER DATABASE d SET TABLESPACE x", "ALTER DATABASE d"),
    ),
)
def test_what_cannot_run_in_a_transaction_is_found(sql: str, title: str) -> None:
    (statement,) = split(sql, Dialect.POSTGRESQL)

    found = alone(statement)

    assert found is not None
    assert found.title == title


@pytest.mark.parametrize(
    "sql",
    (
        "CREATE INDEX i ON t (a)",
        "CREATE TABLE vacuum_log (begin_at int)",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
        "REINDEX TABLE t",
        "CLUSTER t USING i",
        "ALTER TABLE t DETACH PARTITION p",
        "ALTER DATABASE d SET work_mem = '1MB'",
        "COMMENT ON TABLE t IS 'CREATE INDEX CONCURRENTLY i ON t (a)'",
        "ALTER TYPE s ADD VALUE 'x'",
    ),
)
def test_what_can_run_in_a_transaction_does(sql: str) -> None:
    assert in_steps(split(sql, Dialect.POSTGRESQL)) == ()


def test_an_enum_value_is_committed_before_its_file_uses_it() -> None:
    adds = "ALTER TYPE s ADD VALUE 'new' AFTER 'old'; ALTER TYPE s ADD VALUE 'newer' AFTER 'new';"

    assert in_steps(split(adds, Dialect.POSTGRESQL)) == ()
    assert len(in_steps(split(adds + "UPDATE t SET state = 'newer'", Dialect.POSTGRESQL))) == 3


def test_an_index_without_a_name_is_refused_where_a_half_built_one_could_not_be_found() -> None:
    with pytest.raises(Permanent, match="line 2: give the index a name"):
        in_steps(split("SELECT 1;\nCREATE INDEX CONCURRENTLY ON t (a)", Dialect.POSTGRESQL))


@pytest.mark.parametrize(
    "sql", ("LOCK TABLE t", "SET LOCAL work_mem = '1MB'", "CREATE TEMP TABLE x (a int)", "SAVEPOINT a")
)
def test_what_ends_with_a_transaction_has_no_place_in_a_file_that_runs_in_steps(sql: str) -> None:
    with pytest.raises(Permanent, match=r"line 1: .* because of VACUUM in line 2; put the two into files of their own"):
        in_steps(split(f"{sql};\nVACUUM t", Dialect.POSTGRESQL))


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


@pytest.mark.parametrize("sql", ("PRAGMA foreign_keys = OFF", "PRAGMA main.synchronous = OFF"))
def test_what_sqlite_would_silently_not_do_in_a_transaction_is_refused(sql: str) -> None:
    with pytest.raises(Permanent, match="inside a transaction"):
        split(sql, Dialect.SQLITE)


def test_unfinished_quotes_are_left_to_the_database() -> None:
    assert texts("SELECT 'oops; SELECT 2") == ["SELECT 'oops", "SELECT 2"]
    assert texts("SELECT $$oops; SELECT 2") == ["SELECT $$oops; SELECT 2"]
