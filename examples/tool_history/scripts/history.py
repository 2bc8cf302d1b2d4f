#!/usr/bin/env python3
"""Nothing of the history is lost on a way back.

history.py note   writes down how many executions there are
history.py noted  exits with 0 if that was done for this run
history.py kept   exits with 0 if there are as many still: in the table, or, where that was to go, in its archive
"""

import os
import sys
from pathlib import Path

import psycopg

FOLDER = Path(os.environ["HOST_DIR"])
NOTE = FOLDER / f"history-before-{os.environ.get('ROLLOUT_RUN', 'now')}"
ARCHIVE = FOLDER / "archive" / "tool_history_backup.sql"


def rows() -> int | None:
    """None if there is no table."""
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        found = connection.execute("SELECT to_regclass('user_tool_history')").fetchone()
        if found is None or found[0] is None:
            return None
        counted = connection.execute("SELECT count(*) FROM user_tool_history").fetchone()
        return counted[0] if counted else None


def archived() -> int:
    if not ARCHIVE.exists():
        return 0
    _, _, copied = ARCHIVE.read_text().partition("COPY public.user_tool_history ")
    return max(copied.partition("\n\\.\n")[0].count("\n"), 0)


def kept() -> int:
    noted = int(NOTE.read_text()) if NOTE.exists() else 0
    there = rows()
    left, place = (archived(), "archived") if there is None else (there, "in the table")
    print(f"{noted} executions when the way back began, {left} {place}")
    return left < noted


match sys.argv[1]:
    case "note":
        NOTE.write_text(str(rows() or 0))
    case "noted":
        sys.exit(not NOTE.exists())
    case _:
        sys.exit(kept())
