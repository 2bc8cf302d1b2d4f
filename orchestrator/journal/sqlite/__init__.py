"""The embedded store: one SQLite file that one controller writes and anybody may read."""

from orchestrator.journal.sqlite.store import ReadingStore, SqliteStore, open_reading

__all__ = ["ReadingStore", "SqliteStore", "open_reading"]
