"""Which server is the store's, when one took the place of another.

Theory of operation. A standby that is promoted begins a new timeline, whose number is higher. The primary whose place
it took stays on the old one, also when somebody starts it again, and what is written there is lost to everybody else.
So a controller makes no connection to a server of an older timeline than it has seen; and of several hosts in the
address it asks all, and takes the one that can be written and has the newest timeline, where libpq would take the
first. Where one that is gone lets us wait, that costs a moment at each new connection, so what was found holds for a
few seconds.

This is about connections that are made. One to an old primary that never broke goes on; that an old primary can't
commit by itself is up to synchronous replication, or to whoever promotes the other one.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from orchestrator.errors import StoreError
from orchestrator.journal.postgresql.address import Address
from orchestrator.journal.postgresql.session import Connection, connect

_HOLDS_SECONDS: Final = 5.0
_PER_HOST: Final = ("host", "hostaddr", "port")
_NOT_SAID: Final = 0


@dataclass(frozen=True, slots=True)
class Place:
    """*system* tells databases apart that have nothing to do with each other; empty, and timeline 0, where the server
    does not say."""

    system: str = ""
    timeline: int = _NOT_SAID
    is_writable: bool = True

    def was_overtaken_by(self, other: "Place") -> bool:
        return self.system == other.system and _NOT_SAID < self.timeline < other.timeline


class Line:
    """Makes connections to one store; its calls may come from several threads. ``when_newer`` gets the first
    connection to a server that took the place of the one before."""

    def __init__(self, address: Address, *, reading: bool = False) -> None:
        self.when_newer: Callable[[Connection], None] | None = None
        self._address = address
        self._reading = reading
        self._hosts = each_host(address)
        self._newest = Place()
        self._chosen: tuple[float, Address] | None = None  # until when it need not be asked again
        self._failed: tuple[float, Exception] | None = None
        self._lock = threading.Lock()

    def connect(self) -> Connection:
        """In autocommit mode. Raises psycopg.Error, and StoreError where there is an overtaken server only."""
        asked_at = time.monotonic()
        with self._lock:
            if self._failed is not None and self._failed[0] > asked_at:
                raise self._failed[1]  # somebody else found that out while we waited
            try:
                return self._connected(asked_at)
            except (psycopg.Error, StoreError) as problem:
                self._failed = (time.monotonic(), problem)
                raise

    def _connected(self, at: float) -> Connection:
        if self._chosen is not None and at < self._chosen[0]:
            with contextlib.suppress(psycopg.Error):
                return self._entered(*_asked(self._chosen[1], self._reading))
        self._chosen = None
        host, connection, place = self._best()
        entered = self._entered(connection, place)
        self._chosen = (time.monotonic() + _HOLDS_SECONDS, host)
        return entered

    def _best(self) -> tuple[Address, Connection, Place]:
        """Of the hosts that answer."""
        found: list[tuple[Address, Connection, Place]] = []
        problem: psycopg.Error | None = None
        for host in self._hosts:
            try:
                found.append((host, *_asked(host, self._reading)))
            except psycopg.Error as error:
                problem = problem or error
        if not found:
            assert problem is not None
            raise problem
        best = max(found, key=lambda one: (one[2].is_writable, one[2].timeline))
        for one in found:
            if one is not best:
                one[1].close()
        return best

    def _entered(self, connection: Connection, place: Place) -> Connection:
        try:
            if place.was_overtaken_by(self._newest):
                raise StoreError(
                    f"The store {self._address.name} can be written on a server only whose place another one took "
                    f"(timeline {place.timeline}, after {self._newest.timeline} was seen): stop it, or let it follow "
                    "the new one."
                )
            if place.is_writable and place != self._newest:
                if self._newest != Place() and self.when_newer is not None:
                    self.when_newer(connection)
                self._newest = place
        except BaseException:
            connection.close()
            raise
        return connection


def each_host(address: Address) -> list[Address]:
    """The address with one host at a time; itself if it has one, or names none."""
    settings = conninfo_to_dict(address.conninfo)
    lists = {name: str(settings[name]).split(",") for name in _PER_HOST if settings.get(name)}
    count = max((len(values) for name, values in lists.items() if name != "port"), default=1)
    if count == 1:
        return [address]
    hosts = []
    for number in range(count):
        own: dict[str, Any] = {name: values[number % len(values)] for name, values in lists.items()}
        hosts.append(replace(address, conninfo=make_conninfo(address.conninfo, **own)))
    return hosts


def timeline_of(connection: Connection) -> str:
    """As it stands in names of files: eight digits. Empty of a standby, and where a service lets nobody ask."""
    query = "SELECT CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END"
    return _said(connection, query)


def _asked(host: Address, reading: bool) -> tuple[Connection, Place]:
    connection = connect(host, reading=reading)
    try:
        system = _said(connection, "SELECT system_identifier::text FROM pg_control_system()")
        timeline = timeline_of(connection)
        (is_standby,) = connection.execute("SELECT pg_is_in_recovery()").fetchone() or (False,)
    except BaseException:
        connection.close()
        raise
    return connection, Place(system, int(timeline or "0", 16), not is_standby)


def _said(connection: Connection, query: str) -> str:
    """Outside of a transaction, which an error would end."""
    try:
        found = connection.execute(query.encode()).fetchone()
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFunction):
        return ""
    return str(found[0]) if found is not None else ""
