"""Which controller acts for which run. All times are the database's own.

Theory of operation. A controller's lease is a row that says until when; ``runs.owner`` is the claim. Claiming a run of
somebody whose lease has lapsed removes that lease's row and raises the run's epoch in the same transaction. So who was
frozen past its lease is fenced by the epoch in what it writes, and finds no row to renew. Rows that others work on at
that moment are passed by, and found by the next look.
"""

from collections.abc import Sequence

from orchestrator.failpoints import Point, reach
from orchestrator.journal import rules
from orchestrator.journal.postgresql.reading import each, one
from orchestrator.journal.postgresql.session import Connection
from orchestrator.ports import Member

_FORGOTTEN = "1 day"  # after which a lease that nobody renewed is no longer kept


class Lease:
    """Of one controller. Its calls come one after the other."""

    def __init__(self, me: Member) -> None:
        self._me = me
        self._is_begun = False
        self._doubted: list[tuple[str, int]] = []  # claims of a commit whose answer was lost: runs and their epochs

    def renew(self, connection: Connection, lease_seconds: float) -> None:
        until = "clock_timestamp() + make_interval(secs => %(seconds)s)"
        values = {"name": self._me.name, "address": self._me.address, "seconds": lease_seconds}
        if self._is_begun:
            query = f"UPDATE controllers SET lease_until = {until} WHERE name = %(name)s RETURNING name"  # noqa: S608
            if one(connection, query, values) is None:
                raise rules.lapsed(self._me.name)
            return
        connection.execute(
            f"INSERT INTO controllers (name, address, lease_until) VALUES (%(name)s, %(address)s, {until}) "  # noqa: S608
            "ON CONFLICT (name) DO UPDATE SET address = excluded.address, lease_until = excluded.lease_until".encode(),
            values,
        )
        self._is_begun = True

    def claim(self, connection: Connection, most: int, only_lapsed: bool) -> list[str]:
        with connection.transaction():
            self._check(connection)
            found = self._found_again(connection)
            free = _free(connection, most, only_lapsed)
            claimed = each(
                connection,
                "UPDATE runs SET owner = %s, epoch = epoch + 1 WHERE run = ANY(%s) RETURNING run, epoch",
                (self._me.name, list(free)),
            )
            connection.execute(
                "DELETE FROM controllers WHERE name = ANY(%s) OR lease_until < clock_timestamp() - %s::interval",
                ([name for name in free.values() if name is not None], _FORGOTTEN),
            )
            self._doubted = [*((run, epoch) for run, epoch in self._doubted if run in found), *claimed]
            if claimed:
                reach(Point.CLAIM_WRITTEN)
        self._doubted = []
        if claimed:
            reach(Point.CLAIM_COMMITTED)
        return [*found, *free]

    def release(self, connection: Connection, runs: Sequence[str]) -> None:
        query = "UPDATE runs SET owner = NULL WHERE owner = %s AND run = ANY(%s)"
        connection.execute(query, (self._me.name, list(runs)))

    def leave(self, connection: Connection) -> None:
        with connection.transaction():
            connection.execute("UPDATE runs SET owner = NULL WHERE owner = %s", (self._me.name,))
            connection.execute("DELETE FROM controllers WHERE name = %s", (self._me.name,))
        self._is_begun = False
        self._doubted = []

    def _check(self, connection: Connection) -> None:
        query = "SELECT 1 FROM controllers WHERE name = %s AND lease_until > clock_timestamp() FOR UPDATE"
        if one(connection, query, (self._me.name,)) is None:
            raise rules.lapsed(self._me.name)

    def _found_again(self, connection: Connection) -> list[str]:
        """Runs that were claimed by a call which was never told so."""
        found = each(
            connection,
            "SELECT run FROM runs JOIN unnest(%s::text[], %s::bigint[]) AS claimed (run, epoch) USING (run, epoch) "
            "WHERE owner = %s",
            ([run for run, _ in self._doubted], [epoch for _, epoch in self._doubted], self._me.name),
        )
        return [run for (run,) in found]


def _free(connection: Connection, most: int, only_lapsed: bool) -> dict[str, str | None]:
    """Up to so many free runs, oldest first, locked; each with who had it. Whether a lease has lapsed is asked again
    when its row is locked: it may be renewed, or begun, at this moment."""
    candidates = each(
        connection,
        "SELECT run, owner FROM runs WHERE (active OR unsettled) AND NOT EXISTS ("
        "SELECT FROM controllers WHERE name = owner AND lease_until > clock_timestamp()) "
        "AND (owner IS NOT NULL OR NOT %s) ORDER BY created, id LIMIT %s FOR UPDATE OF runs SKIP LOCKED",
        (only_lapsed, max(most, 0)),
    )
    owners = sorted({owner for _, owner in candidates if owner is not None})
    locked = each(
        connection,
        "SELECT name, lease_until > clock_timestamp() FROM controllers WHERE name = ANY(%s) ORDER BY name FOR UPDATE",
        (owners,),
    )
    living = {name for name, is_alive in locked if is_alive}
    return {run: owner for run, owner in candidates if owner not in living}
