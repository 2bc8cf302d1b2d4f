"""The user's data: first made, copied while the app runs, and brought back.

python -m examples.taskerino.data backup | restore     TASKERINO_HOME is the user's folder
"""

import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

SCHEMA = """
CREATE TABLE sessions (name TEXT PRIMARY KEY, screenshots INTEGER NOT NULL, notes TEXT NOT NULL);
PRAGMA user_version = 4;
"""
CONFIG = {"theme": "dark", "cost_alert_share": 0.8}


def make(home: Path) -> None:
    """Twenty sessions, and the settings of a user."""
    (home / "data").mkdir(parents=True)
    (home / "config.json").write_text(json.dumps(CONFIG))
    with closing(sqlite3.connect(home / "data" / "sessions.db")) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA)
        rows = [(f"session-{number}", 10 + number % 11, json.dumps({"number": number})) for number in range(20)]
        connection.executemany("INSERT INTO sessions VALUES (?, ?, ?)", rows)


def copy(source: Path, target: Path) -> None:
    """Whole, though others read and write meanwhile."""
    target.parent.mkdir(exist_ok=True)
    with (
        closing(sqlite3.connect(source, timeout=10.0)) as there,
        closing(sqlite3.connect(target, timeout=10.0)) as here,
    ):
        there.backup(here)


def main() -> None:
    home = Path(os.environ["TASKERINO_HOME"])
    data, kept = home / "data" / "sessions.db", home / "data.backup" / "sessions.db"
    copy(*((data, kept) if sys.argv[1] == "backup" else (kept, data)))


if __name__ == "__main__":
    main()
