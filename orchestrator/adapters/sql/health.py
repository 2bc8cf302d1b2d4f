"""The health of a PostgreSQL server, by its own views: one query for each of the measurements that plans can name.

Every row is a label and a number, the worst first. Sessions of ``rollout`` itself do not count, so that a migration is
not held back by its own length.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import Permanent
from stages.checks import Health

Fetch = Callable[[str], list[tuple[Any, ...]]]

_OTHERS = "a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.application_name NOT LIKE 'rollout %'"
_SMALL_WAL_BYTES = 16 * 1024 * 1024
_SMALL_TABLE_ROWS = 10_000

# waitstart is there from version 14 on
_LOCK_WAITS = f"""
    SELECT format('{{pid="%s"}}', l.pid), extract(epoch FROM clock_timestamp()
        - coalesce((to_jsonb(l) ->> 'waitstart')::timestamptz, a.state_change))::float8
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid WHERE NOT l.granted AND {_OTHERS}
    ORDER BY 2 DESC NULLS LAST LIMIT 1"""  # noqa: S608 -- a constant
_TRANSACTIONS = f"""
    SELECT format('{{pid="%s"}}', a.pid), extract(epoch FROM clock_timestamp() - a.xact_start)::float8
    FROM pg_stat_activity a WHERE a.xact_start IS NOT NULL AND a.backend_type = 'client backend' AND {_OTHERS}
    UNION ALL SELECT format('{{prepared="%s"}}', gid), extract(epoch FROM clock_timestamp() - prepared)::float8
    FROM pg_prepared_xacts WHERE database = current_database()
    ORDER BY 2 DESC LIMIT 1"""  # noqa: S608 -- a constant
# a standby that has caught up and is idle shows no lag at all; what has replayed nothing is an archive of the log, or a
# standby in the moment before its first word
_STANDBYS = f"""
    SELECT format('{{standby="%s"}}', application_name), coalesce(extract(epoch FROM replay_lag)::float8,
        CASE WHEN pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) < {_SMALL_WAL_BYTES} THEN 0 END)
    FROM pg_stat_replication WHERE state IN ('streaming', 'catchup') AND replay_lsn IS NOT NULL
    ORDER BY 2 DESC NULLS FIRST"""  # noqa: S608 -- a constant
# one that has replayed nothing since its start is as late as that, at most
_AS_STANDBY = """
    SELECT '', CASE WHEN pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn() THEN 0
        ELSE extract(epoch FROM clock_timestamp()
            - coalesce(pg_last_xact_replay_timestamp(), pg_postmaster_start_time()))::float8 END"""
_DEAD = f"""
    SELECT format('{{table="%s.%s"}}', schemaname, relname), n_dead_tup::float8 / (n_live_tup + n_dead_tup)
    FROM pg_stat_user_tables WHERE n_live_tup + n_dead_tup >= {_SMALL_TABLE_ROWS} ORDER BY 2 DESC LIMIT 1"""  # noqa: S608 -- a constant
_CONNECTIONS = """
    SELECT '', count(*)::float8 / (current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int)
    FROM pg_stat_activity WHERE datname IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'"""
_HIDDEN = "SELECT count(*) FROM pg_stat_activity WHERE query = '<insufficient privilege>'"
_QUERIES = {
    Health.LONGEST_LOCK_WAIT: _LOCK_WAITS,
    Health.LONGEST_TRANSACTION: _TRANSACTIONS,
    Health.REPLICATION_LAG: _STANDBYS,
    Health.DEAD_TUPLES: _DEAD,
    Health.CONNECTIONS: _CONNECTIONS,
}
_NEEDS_TO_SEE_OTHERS = (Health.LONGEST_LOCK_WAIT, Health.LONGEST_TRANSACTION, Health.REPLICATION_LAG)


@dataclass(frozen=True, slots=True)
class Reading:
    """One measurement: seconds, or a share between 0 and 1."""

    labels: str
    value: float


def measure(health: Health, fetch: Fetch) -> list[Reading]:
    """The worst readings; none if there is nothing to measure. Raises ``Permanent`` if too little can be seen."""
    if health in _NEEDS_TO_SEE_OTHERS and fetch(_HIDDEN)[0][0]:
        raise Permanent(
            f"{health} can't be measured: the database's user may not look at the sessions of others; "
            "GRANT pg_read_all_stats to it"
        )
    query = _QUERIES[health]
    if health is Health.REPLICATION_LAG and fetch("SELECT pg_is_in_recovery()")[0][0]:
        query = _AS_STANDBY
    rows = fetch(query)
    if any(value is None for _, value in rows):
        raise Permanent(f"{health} can't be measured: the server does not say ({rows[0][0] or 'no data'})")
    if not rows and health is not Health.REPLICATION_LAG:
        return [Reading("", 0.0)]
    return [Reading(str(labels), float(value)) for labels, value in rows]
