"""Stores: where runs and flags are kept. Each is both the ``Journal`` and the ``FlagStore`` of the ports.

The SQLite package is imported when a store is opened, so that commands that talk to a server do not pay for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.journal.sqlite import ReadingStore, SqliteStore
    from orchestrator.journal.sqlite.glance import Glance


def open_store(url: str) -> SqliteStore:
    """For the one controller of a store: ``sqlite:///PATH`` or a plain path. Made if it is not there."""
    from orchestrator.journal.sqlite import SqliteStore

    return SqliteStore(store_path(url))


def open_reading(url: str) -> ReadingStore:
    """For commands that only look, with or without a controller beside them. Raises NotFound if there is no store."""
    from orchestrator.journal.sqlite import open_reading as open_sqlite

    return open_sqlite(store_path(url))


def glance_at(url: str) -> list[Glance]:
    """The runs of a store and how far each has come, newest first; quick. Raises NotFound if there is no store."""
    from orchestrator.journal.sqlite.glance import glance

    return glance(store_path(url))


def store_path(url: str) -> Path:
    """The file that a store's URL names.

    ``sqlite:///a/b`` and ``sqlite:////a/b`` are ``/a/b``, absolute like everywhere in URLs; ``sqlite:///./b`` is ``b``
    in the current folder, and so is a plain ``b``.
    """
    if url.startswith(("postgresql:", "postgres:")):
        raise UsageError(
            "Stores on PostgreSQL come with a later version: give a file as sqlite:///PATH, or leave ROLLOUT_STORE out."
        )
    if "://" not in url:
        return _file(url, url)
    parts = urlsplit(url)
    if parts.scheme != "sqlite" or parts.netloc or parts.query or parts.fragment:
        raise UsageError(f"{url!r} names no store: sqlite:///PATH (an absolute path) or a plain path is expected.")
    path = unquote(parts.path)
    return _file(path[1:] if path.startswith("/./") else "/" + path.lstrip("/"), url)


def _file(path: str, url: str) -> Path:
    if not path.strip("/") or path.endswith("/"):
        raise UsageError(f"{url!r} names no store: the path of a file is expected.")
    return Path(path).expanduser()
