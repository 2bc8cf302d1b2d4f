"""Opening a store on PostgreSQL: what its URL may say, who may make it, upgrades, and databases that were restored."""

import asyncio
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
from alembic.script import ScriptDirectory
from sqlalchemy.pool import NullPool

from flags.model import Version
from orchestrator.errors import NotFound, RolloutError, StoreError, UsageError
from orchestrator.journal import glance_at, open_reading, open_store, shown
from orchestrator.journal.postgresql import PostgresStore, schema
from orchestrator.journal.postgresql.address import parse
from orchestrator.journal.postgresql.session import connect
from orchestrator.ports import Member
from tests.support.journals import batch, flag_write, started
from tests.support.postgres import PostgresServer
from tests.support.stores import PostgresSchema

pytestmark = pytest.mark.postgres
REVISIONS = [one.revision for one in ScriptDirectory(str(schema.MIGRATIONS)).walk_revisions()]


@pytest.fixture
def opened(postgres_schema: PostgresSchema) -> PostgresSchema:
    """There is a store, with one run in it."""

    async def make() -> None:
        store = postgres_schema.store()
        await started(store)
        await store.write(flag_write(), at=1.0)
        await store.close()

    asyncio.run(make())
    return postgres_schema


async def grown(where: PostgresSchema) -> int:
    """Opens it, appends to its run, and says how long that is now."""
    store = where.store()
    row = await store.row("r")
    assert row is not None
    await store.append(batch(after=row.rev))
    length = len(await store.read("r"))
    await store.close()
    return length


# --- what the URL says ---


@pytest.mark.parametrize(
    "url",
    (
        "postgresql:db",
        "postgres:/db",
        "postgresql://ann:s3cr:et@host:port:x/db",
        "postgresql://ann:s3c@ret@host/db",
        "postgresql://ann:33/s3cret@host/db",
        "postgresql://ann:s3cret@host/db?colour=red",
        "postgresql://ann:%zzs3cret@host/db",
        "mysql://ann:s3cret@host/db",
    ),
)
def test_a_url_that_cannot_be_read_is_refused_without_repeating_it(url: str) -> None:
    for open_ in (open_store, open_reading, glance_at):
        with pytest.raises(UsageError, match="postgresql://USER:PASSWORD@HOST:PORT/DATABASE is expected") as caught:
            open_(url)
        assert "s3c" not in str(caught.value)


@pytest.mark.parametrize("name", ("", "pg_mine", "Mine", "a-b", "a.b", "x" * 64, "a;drop"))
def test_a_schema_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="can't be the store's: lower-case letters"):
        open_store(f"postgresql://host/db?schema={name}")


@pytest.mark.parametrize(
    ("url", "words"),
    (
        ("postgresql://ann:s3cret@host:5433/db", "postgresql://host:5433/db"),
        ("postgres://host/db?schema=mine", "postgresql://host/db (schema mine)"),
        ("postgresql://a:s3cret@h1:1,h2:2/db?target_session_attrs=read-write", "postgresql://h1:1,h2:2/db"),
        ("postgresql://?service=prod&password=s3cret", "of the service prod"),
        ("sqlite:///var/a.db", "sqlite:///var/a.db"),
    ),
)
def test_people_are_shown_where_a_store_is_and_never_its_password(url: str, words: str) -> None:
    assert shown(url) == words


def test_a_wrong_password_is_said_and_not_repeated(postgres_schema: PostgresSchema) -> None:
    url = f"postgresql://postgres:s3cret@{postgres_schema.url.partition('@')[2]}"
    for open_ in (open_store, open_reading, glance_at):
        with pytest.raises(StoreError, match=r"refuses this user .*put user and password right") as caught:
            open_(url)
        assert "s3cret" not in str(caught.value)
        assert "s3cret" not in str(caught.value.__cause__)


def test_a_database_that_is_not_there_and_a_server_that_is_not_there_are_told_apart(
    postgres_server: PostgresServer, free_port: int
) -> None:
    with pytest.raises(StoreError, match="create the database, or name another"):
        open_store(postgres_server.dsn("nowhere"))
    with pytest.raises(StoreError, match=rf"postgresql://127\.0\.0\.1:{free_port}/db can't be reached"):
        open_store(f"postgresql://ann:s3cret@127.0.0.1:{free_port}/db")


async def test_passwords_and_places_may_come_from_the_files_of_libpq(
    opened: PostgresSchema, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = psycopg.conninfo.conninfo_to_dict(opened.dsn)
    passwords = tmp_path / "pgpass"
    passwords.write_text(f"127.0.0.1:{settings['port']}:*:postgres:{settings['password']}\n")
    passwords.chmod(0o600)
    services = tmp_path / "services"
    services.write_text(f"[stores]\nhost=127.0.0.1\nport={settings['port']}\ndbname={settings['dbname']}\n")
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    by_service = f"postgresql://postgres@/?service=stores&schema={opened.name}&sslmode=disable"
    without_password = f"postgresql://postgres@127.0.0.1:{settings['port']}/{settings['dbname']}?schema={opened.name}"
    for url in (by_service, without_password):
        assert [one.run for one in glance_at(url)] == ["r"]
    monkeypatch.setenv("PGSERVICE", "stores")
    monkeypatch.setenv("PGUSER", "postgres")
    store = open_store(f"postgresql://?schema={opened.name}")
    assert [row.run for row in await store.rows()] == ["r"]
    await store.close()


def test_tls_is_insisted_on_where_the_url_does(postgres_schema: PostgresSchema) -> None:
    with pytest.raises(StoreError, match=r"can't be reached .*SSL"):
        open_store(f"{postgres_schema.url}&sslmode=require")


# --- making it ---


async def test_a_store_is_made_in_a_schema_of_its_own_beside_what_the_database_has(postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE runs (theirs int); CREATE TABLE alembic_version (version_num text)")
        connection.execute("INSERT INTO alembic_version VALUES ('theirs')")
        store = PostgresStore(postgres_dsn, Member("a", ""))
        await started(store)
        await store.close()
        tables = "SELECT schemaname, count(*) FROM pg_tables WHERE schemaname !~ '^(pg_|information)' GROUP BY 1"
        assert sorted(connection.execute(tables).fetchall()) == [("public", 2), ("staged_rollout", 18)]
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("theirs",)]


def test_a_schema_of_another_program_is_refused_and_not_changed(postgres_schema: PostgresSchema) -> None:
    postgres_schema.execute(f"CREATE SCHEMA {postgres_schema.name} CREATE TABLE theirs (a int)")
    for open_ in (open_store, open_reading, glance_at):
        with pytest.raises(StoreError, match=r"holds tables of another program: .*\?schema=NAME"):
            open_(postgres_schema.url)
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = %s"
    assert postgres_schema.execute(tables, postgres_schema.name) == [("theirs",)]


def test_reading_a_store_that_is_not_there_makes_none(postgres_schema: PostgresSchema) -> None:
    for open_ in (open_reading, glance_at):
        with pytest.raises(NotFound, match=r"no store .*made when the first controller starts"):
            open_(postgres_schema.url)
    assert postgres_schema.execute("SELECT to_regnamespace(%s)", postgres_schema.name) == [(None,)]


async def test_controllers_that_start_at_the_same_moment_make_one_store(postgres_schema: PostgresSchema) -> None:
    stores: list[PostgresStore] = []
    threads = [
        threading.Thread(target=lambda name: stores.append(postgres_schema.store(name)), args=(name,))
        for name in ("a", "b", "c", "d")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stores) == 4
    assert {await store.version() for store in stores} == {Version(1, 0)}
    for store in stores:
        await store.close()


# --- rights ---


@pytest.fixture
def plain(postgres_server: PostgresServer, postgres_schema: PostgresSchema) -> Iterator[PostgresSchema]:
    """The same place for a role that may connect, and no more."""
    role = f"plain_{postgres_schema.name}"
    postgres_schema.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'pw'")
    try:
        yield PostgresSchema(f"postgresql://{role}:pw@{postgres_schema.dsn.partition('@')[2]}", postgres_schema.name)
    finally:
        postgres_schema.execute(f"DROP SCHEMA IF EXISTS {postgres_schema.name} CASCADE")
        postgres_schema.execute(f"DROP ROLE {role}")


async def test_a_role_that_may_make_nothing_is_told_what_an_administrator_has_to_run(
    plain: PostgresSchema, postgres_schema: PostgresSchema
) -> None:
    remedy = f"CREATE SCHEMA {plain.name} AUTHORIZATION"
    with pytest.raises(StoreError, match=f"can't be used by this role .*{remedy}"):
        plain.store()
    postgres_schema.execute(f"{remedy} plain_{plain.name}")
    store = plain.store()
    await started(store)
    await store.close()
    assert await grown(plain) == 2


def test_a_role_that_may_not_use_the_tables_of_another_is_told_so(
    plain: PostgresSchema, opened: PostgresSchema
) -> None:
    for open_ in (open_store, open_reading, glance_at):
        with pytest.raises(StoreError, match=r"can't be used by this role \(permission denied"):
            open_(plain.url)


def test_a_standby_is_told_from_a_primary(opened: PostgresSchema) -> None:
    """As one: a server that takes no writes says so in the same words."""
    url = f"{opened.url}&options=-cdefault_transaction_read_only%3Don"
    with pytest.raises(StoreError, match=r"only takes readers, as a standby does: name the primary"):
        open_store(url)
    assert [one.rev for one in glance_at(url)] == [1]


# --- versions ---


def test_the_newest_revision_is_the_one_this_program_says_it_knows() -> None:
    assert [f"{number:04}" for number in range(schema.VERSION, 0, -1)] == REVISIONS


@pytest.mark.parametrize("revision", REVISIONS)
async def test_a_store_of_every_version_that_was_ever_released_is_brought_up_to_date(
    postgres_schema: PostgresSchema, revision: str
) -> None:
    address = parse(postgres_schema.url)
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: connect(address), poolclass=NullPool, use_native_hstore=False
    )
    postgres_schema.execute(f"CREATE SCHEMA {postgres_schema.name}")
    with engine.begin() as connection:
        schema.run_migrations(connection, postgres_schema.name, revision)
    assert postgres_schema.execute("SELECT version_num FROM store_version") == [(revision,)]
    store = postgres_schema.store()
    await started(store)
    await store.append(batch(flags=[flag_write()]))
    assert await store.freezes.newest() == []
    await store.close()
    assert postgres_schema.execute("SELECT version_num FROM store_version") == [(f"{schema.VERSION:04}",)]


def next_release(folder: Path, monkeypatch: pytest.MonkeyPatch, *statements: str) -> None:
    """The program is of the next version from now on, which has one more revision."""
    shutil.copytree(schema.MIGRATIONS, folder)
    number = schema.VERSION + 1
    lines = [f'    op.execute("{statement}")' for statement in statements]
    (folder / "versions" / "v_next.py").write_text(
        f'from alembic import op\nrevision = "{number:04}"\ndown_revision = "{number - 1:04}"\n'
        "def upgrade():\n" + "\n".join(lines)
    )
    monkeypatch.setattr(schema, "MIGRATIONS", folder)
    monkeypatch.setattr(schema, "VERSION", number)


async def test_an_older_controller_goes_on_with_a_schema_that_a_newer_one_has_upgraded(
    opened: PostgresSchema, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = opened.store("older")
    with monkeypatch.context() as newer_program:
        next_release(tmp_path / "next", newer_program, "ALTER TABLE runs ADD COLUMN note text NOT NULL DEFAULT ''")
        newer = opened.store("newer")
        await started(newer, "of-the-newer")
        await newer.close()
    await older.append(batch())  # it was open all the time
    await older.close()
    assert await grown(opened) == 3  # and may be opened again
    assert len(glance_at(opened.url)) == 2


async def test_a_schema_that_breaks_with_this_program_is_refused_until_it_is_upgraded_too(
    opened: PostgresSchema, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer_program:
        next_release(tmp_path / "next", newer_program, f"UPDATE store SET usable_from = {schema.VERSION + 1}")
        assert await grown(opened) == 2
    words = rf"upgraded by a newer version .*this one knows {schema.VERSION}\): upgrade this one"
    for open_ in (open_store, open_reading, glance_at):
        with pytest.raises(StoreError, match=words):
            open_(opened.url)


async def test_an_upgrade_that_fails_leaves_the_store_as_it_was(
    opened: PostgresSchema, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer_program:
        next_release(
            tmp_path / "next", newer_program, "ALTER TABLE runs ADD COLUMN note text", "UPDATE missing SET a = 1"
        )
        with pytest.raises(RolloutError, match="missing"):
            opened.store()
    assert opened.execute("SELECT version_num FROM store_version") == [(f"{schema.VERSION:04}",)]
    assert opened.execute("SELECT 1 FROM pg_attribute WHERE attrelid = 'runs'::regclass AND attname = 'note'") == []
    assert await grown(opened) == 2


def test_reading_commands_leave_the_upgrade_to_a_controller(
    opened: PostgresSchema, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    next_release(tmp_path / "next", monkeypatch, "SELECT 1")
    for open_ in (open_reading, glance_at):
        with pytest.raises(StoreError, match=rf"older version \({schema.VERSION - 1}\): start the controller once"):
            open_(opened.url)


# --- restored ---


async def test_a_store_that_stands_elsewhere_was_restored_and_begins_a_generation(opened: PostgresSchema) -> None:
    opened.execute("CREATE TABLE copied (LIKE store INCLUDING ALL); INSERT INTO copied SELECT * FROM store")
    opened.execute("DROP TABLE store; ALTER TABLE copied RENAME TO store")  # as pg_restore makes tables anew
    store = opened.store()
    assert await store.version() == Version(2, 1)
    await store.close()
    again = opened.store()
    assert await again.version() == Version(2, 1)
    await again.close()


async def test_a_plain_restart_begins_no_generation(opened: PostgresSchema) -> None:
    opened.execute("CLUSTER store USING store_pkey")
    store = opened.store()
    assert await store.version() == Version(1, 1)
    await store.close()
