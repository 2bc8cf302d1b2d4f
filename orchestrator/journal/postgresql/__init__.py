"""The shared store: a schema of a PostgreSQL database, which several controllers write.

The names are looked up when they are asked for: the store brings the whole language of plans along, which a mere
glance at it does not need.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.journal.postgresql.store import PostgresStore, ReadingStore, open_reading

__all__ = ["PostgresStore", "ReadingStore", "open_reading"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from orchestrator.journal.postgresql import store

        return getattr(store, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
