"""Which runs there are and how far each has come, without what reading their events needs.

For commands that have something to show already and only need to know whether it is still true: importing and folding
takes most of a second, this takes a few milliseconds.
"""

from pathlib import Path

import apsw

from orchestrator.journal.glance import MOST_RUNS, Glance
from orchestrator.journal.sqlite import schema
from orchestrator.journal.sqlite.faults import as_store_error


def glance(path: Path, busy_seconds: float = 5.0) -> list[Glance]:
    """Newest first. Raises NotFound if there is no store, and StoreError."""
    connection = schema.open_for_reading(path, busy_seconds)
    try:
        query = "SELECT run, plan, digest, rev, kept FROM runs ORDER BY created DESC, id DESC LIMIT ?"
        return [Glance(*found) for found in connection.execute(query, (MOST_RUNS,))]
    except apsw.Error as problem:
        raise as_store_error(problem, path) from problem
    finally:
        connection.close()
