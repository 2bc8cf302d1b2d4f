"""The embedded store: one SQLite file that one controller writes and anybody may read.

The names are looked up when they are asked for: the store brings the whole language of plans along, which a mere
glance at the file does not need.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.journal.sqlite.store import ReadingStore, SqliteStore, open_reading

__all__ = ["ReadingStore", "SqliteStore", "open_reading"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from orchestrator.journal.sqlite import store

        return getattr(store, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
