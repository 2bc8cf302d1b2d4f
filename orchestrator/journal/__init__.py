"""Stores: where runs and flags are kept. Each is both the ``Journal`` and the ``FlagStore`` of the ports.

``sqlite:///PATH`` or a plain path is a file that one controller writes; ``postgresql://...`` a database that several
share. What each needs is imported when a store is opened, so that commands that talk to a server do not pay for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote, urlsplit

from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.journal import postgresql, sqlite
    from orchestrator.journal.glance import Glance
    from orchestrator.ports import Member

    Store: TypeAlias = sqlite.SqliteStore | postgresql.PostgresStore
    ReadingStore: TypeAlias = sqlite.ReadingStore | postgresql.ReadingStore


def is_shared(url: str) -> bool:
    """Whether several controllers may have the store open, each as a member of it."""
    return url.startswith(("postgresql:", "postgres:"))


def open_store(url: str, me: Member | None = None) -> Store:
    """For a controller: made if it is not there. *me* is who it is for the others of a shared store; without, nobody
    that they can reach."""
    if is_shared(url):
        from orchestrator.journal.postgresql import PostgresStore

        return PostgresStore(url, me or _nobody())
    from orchestrator.journal.sqlite import SqliteStore

    return SqliteStore(store_path(url))


def open_reading(url: str) -> ReadingStore:
    """For commands that only look, with or without a controller beside them. Raises NotFound if there is no store."""
    if is_shared(url):
        from orchestrator.journal.postgresql import open_reading as open_postgresql

        return open_postgresql(url)
    from orchestrator.journal.sqlite import open_reading as open_sqlite

    return open_sqlite(store_path(url))


def glance_at(url: str) -> list[Glance]:
    """The runs of a store and how far each has come, newest first; quick. Raises NotFound if there is no store."""
    if is_shared(url):
        from orchestrator.journal.postgresql.glance import glance as glance_postgresql

        return glance_postgresql(url)
    from orchestrator.journal.sqlite.glance import glance as glance_sqlite

    return glance_sqlite(store_path(url))


def shown(url: str) -> str:
    """The URL as people may see it: without the password that it may have."""
    if not is_shared(url):
        return url
    from orchestrator.journal.postgresql.address import parse

    return parse(url).name


def store_path(url: str) -> Path:
    """The file that a store's URL names.

    ``sqlite:///a/b`` and ``sqlite:////a/b`` are ``/a/b``, absolute like everywhere in URLs; ``sqlite:///./b`` is ``b``
    in the current folder, and so is a plain ``b``.
    """
    if "://" not in url:
        return _file(url, url)
    scheme = url.partition("://")[0]
    if scheme != "sqlite":  # the rest may hold a password
        raise UsageError(
            f"A store is not kept on {scheme!r}: sqlite:///PATH, a plain path, or "
            "postgresql://USER:PASSWORD@HOST:PORT/DATABASE is expected."
        )
    parts = urlsplit(url)
    if parts.netloc or parts.query or parts.fragment:
        raise UsageError(f"{url!r} names no store: sqlite:///PATH (an absolute path) or a plain path is expected.")
    path = unquote(parts.path)
    return _file(path[1:] if path.startswith("/./") else "/" + path.lstrip("/"), url)


def _nobody() -> Member:
    import os
    import secrets
    import socket

    from orchestrator.ports import Member

    return Member(f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}", "")


def _file(path: str, url: str) -> Path:
    if not path.strip("/") or path.endswith("/"):
        raise UsageError(f"{url!r} names no store: the path of a file is expected.")
    return Path(path).expanduser()
