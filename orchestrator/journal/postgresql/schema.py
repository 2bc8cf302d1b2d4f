"""Opening the schema: is it ours, is it of a version we can use, was it restored; and making it.

A program knows the revisions up to ``VERSION``. It brings an older schema up to that, under a lock, in one transaction.
A newer one it uses as it is, if the newer program said in ``usable_from`` that it may (see :mod:`.migrations`).

A database that was restored does not know that it was, but it stands somewhere else: restored tables have other object
ids, and a server that was set back to a point in time begins a new timeline. ``origin`` holds where the store stood
when it was opened last; if that is another place now, versions of flags may have been given out that it knows nothing
of, so it begins a new generation.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg
import structlog

from orchestrator.errors import NotFound, StoreError
from orchestrator.failpoints import Point, reach
from orchestrator.journal.postgresql.address import Address
from orchestrator.journal.postgresql.faults import as_store_error
from orchestrator.journal.postgresql.line import timeline_of
from orchestrator.journal.postgresql.session import Connection

if TYPE_CHECKING:
    import sqlalchemy

log = structlog.get_logger()

MIGRATIONS: Final = Path(__file__).parent / "migrations"
VERSION: Final = 5
VERSION_TABLE: Final = "store_version"
_PATIENCE: Final = ("statement_timeout", "idle_in_transaction_session_timeout")  # none of ours while tables are made
_UPGRADE_SECONDS: Final = 300


def prepare(address: Address, connect: Callable[[], Connection]) -> None:
    """Makes the store if there is none, and brings an older one up to date. Raises StoreError."""
    try:
        with contextlib.closing(connect()) as connection:
            if _version(connection, address) < VERSION:
                _upgrade(address, connect)
            note_origin(connection, address)
    except psycopg.Error as problem:
        raise as_store_error(problem, address) from problem


def check_readable(connection: Connection, address: Address) -> None:
    """Raises NotFound if there is no store, StoreError if it can't be read by this program."""
    version = _version(connection, address)
    if not version:
        raise NotFound(f"There is no store {address.name}; it is made when the first controller starts.")
    if version < VERSION:
        raise StoreError(
            f"The store {address.name} is of an older version ({version}): start the controller once, it upgrades it."
        )


def _version(connection: Connection, address: Address) -> int:
    """0 if the store is not there yet. StoreError if the schema is somebody else's, or too new for this program."""
    query = (
        "SELECT to_regclass(%(schema)s || '.' || %(table)s) IS NOT NULL, "
        "EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace(%(schema)s))"
    )
    is_ours, is_used = _one(connection, query, {"schema": address.schema, "table": VERSION_TABLE})
    if is_used and not is_ours:
        raise StoreError(
            f"The schema {address.schema} of the store {address.name} holds tables of another program: give the store "
            "one of its own with ?schema=NAME."
        )
    if not is_ours:
        return 0
    revision, usable_from = _one(connection, f"SELECT version_num, usable_from FROM {VERSION_TABLE}, store")  # noqa: S608
    version = int(revision)
    if version > VERSION and usable_from > VERSION:
        raise StoreError(
            f"The store {address.name} was upgraded by a newer version of this program ({version}, for which "
            f"{usable_from} must be known; this one knows {VERSION}): upgrade this one too."
        )
    return version


def _upgrade(address: Address, connect: Callable[[], Connection]) -> None:
    """One controller at a time; who comes second finds it done."""
    import sqlalchemy
    from sqlalchemy.pool import NullPool

    def in_transactions() -> Connection:
        connection = connect()
        connection.set_autocommit(False)
        return connection

    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=in_transactions, poolclass=NullPool, use_native_hstore=False
    )
    try:
        with engine.connect() as connection, connection.begin():
            for setting in _PATIENCE:
                connection.exec_driver_sql(f"SET LOCAL {setting} = '{_UPGRADE_SECONDS}s'")
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"rollout {address.schema}",))
            if connection.exec_driver_sql("SELECT to_regnamespace(%s)", (address.schema,)).scalar() is None:
                connection.exec_driver_sql(f'CREATE SCHEMA "{address.schema}"')
            run_migrations(connection, address.schema)
            reach(Point.STORE_UPGRADING)
        reach(Point.STORE_UPGRADED)
    except sqlalchemy.exc.DBAPIError as problem:
        if isinstance(problem.orig, psycopg.Error):
            raise problem.orig from None
        raise


def run_migrations(connection: "sqlalchemy.Connection", schema: str, revision: str = "head") -> None:
    """In the transaction of *connection*, whose search path is *schema*."""
    from alembic import command
    from alembic.config import Config

    values: dict[str, Any] = {"connection": connection, "schema": schema, "version_table": VERSION_TABLE}
    config = Config(attributes=values)
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, revision)


def note_origin(connection: Connection, address: Address) -> None:
    """In a transaction of its own."""
    timeline = timeline_of(connection)
    with connection.transaction():
        (place,) = _one(
            connection,
            "SELECT concat_ws('/', (SELECT oid FROM pg_database WHERE datname = current_database()), "
            "'store'::regclass::oid, %s::text)",
            (timeline,),
        )
        query = (
            "UPDATE store SET origin = %(place)s, generation = generation + CASE origin WHEN '' THEN 0 ELSE 1 END "
            "WHERE origin <> %(place)s RETURNING generation"
        )
        found = connection.execute(query, {"place": place}).fetchone()
    if found is not None and found[0] > 1:
        log.warning("store.restored", store=address.name, generation=found[0])


def _one(connection: Connection, query: str, values: "dict[str, Any] | tuple[Any, ...]" = ()) -> tuple[Any, ...]:
    found = connection.execute(query.encode(), values).fetchone()
    assert found is not None
    return found
