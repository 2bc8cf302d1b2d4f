"""One connection to the store, set up as every one of them must be."""

from collections.abc import Mapping
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import Jsonb

from orchestrator.journal.postgresql.address import Address

Connection = psycopg.Connection[tuple[Any, ...]]

CONNECT_SECONDS: Final = 3
LIMIT_SECONDS: Final = 2
"""Of a statement, and of a transaction that waits for its controller: so the locks of one that was frozen, or whose
machine went, do not outlive it."""

_USUAL: Final[Mapping[str, Any]] = {  # the URL may say otherwise
    "connect_timeout": CONNECT_SECONDS,
    "application_name": "staged-rollout",
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_SETTINGS: Final[Mapping[str, str]] = {
    "statement_timeout": f"{LIMIT_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{LIMIT_SECONDS}s",
    "default_transaction_isolation": "read committed",
}
# ended sooner where the server can tell that its client is gone (14 and later, on Linux)
_SET: Final = """
    SELECT set_config(name, setting, false) FROM jsonb_each_text(%s::jsonb) AS wanted (name, setting)
    UNION ALL
    SELECT set_config(name, '2s', false) FROM pg_settings
    WHERE name = 'client_connection_check_interval' AND version() LIKE '%%linux%%'
"""
# What was acknowledged must survive a server that falls over, since effects follow it into the world. Who set it to
# something between off and on (remote_apply, local) knows what for.
_DURABLY: Final = """
    SELECT set_config('synchronous_commit', 'on', false) FROM pg_settings
    WHERE name = 'synchronous_commit' AND setting = 'off'
"""


def connect(address: Address, *, reading: bool = False) -> Connection:
    """In autocommit mode. Raises psycopg.Error."""
    connection = psycopg.connect(autocommit=True, **{**_USUAL, **conninfo_to_dict(address.conninfo)})
    try:
        settings = {
            **_SETTINGS,
            "search_path": address.schema,
            "default_transaction_read_only": "on" if reading else "",
        }
        connection.execute(_SET, (Jsonb({name: value for name, value in settings.items() if value}),))
        connection.execute(_DURABLY)
    except BaseException:
        connection.close()
        raise
    return connection
