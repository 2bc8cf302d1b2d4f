"""Which runs there are and how far each has come, without what reading their events needs."""

import contextlib

import psycopg

from orchestrator.journal.glance import MOST_RUNS, Glance
from orchestrator.journal.postgresql import schema
from orchestrator.journal.postgresql.address import parse
from orchestrator.journal.postgresql.faults import as_store_error
from orchestrator.journal.postgresql.line import Line


def glance(url: str) -> list[Glance]:
    """Newest first. Raises NotFound if there is no store, and StoreError."""
    address = parse(url)
    try:
        with contextlib.closing(Line(address, reading=True).connect()) as connection:
            schema.check_readable(connection, address)
            query = "SELECT run, plan, digest, rev, kept FROM runs ORDER BY created DESC, id DESC LIMIT %s"
            return [Glance(*found) for found in connection.execute(query, (MOST_RUNS,))]
    except psycopg.Error as problem:
        raise as_store_error(problem, address) from problem
