"""A store's URL: libpq's own, with the name of the schema beside its parameters.

Everything that libpq reads by itself holds here too: ``PGPASSFILE``, ``PGSERVICE``, ``PGHOST``, ``sslmode`` and so on.
"""

import os
import re
from dataclasses import dataclass, field
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from orchestrator.errors import UsageError

SCHEMA: Final = "staged_rollout"
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_PLACE: Final = re.compile(r"[^@/]+//([^@/]*@)?[^@/]*(/[^@/]*)?")
_PORTS: Final = re.compile(r"[0-9,]*")


@dataclass(frozen=True, slots=True)
class Address:
    """``name`` is for people: where the store is, without who asks for it. ``conninfo`` may hold a password."""

    conninfo: str = field(repr=False)
    schema: str
    name: str


def parse(url: str) -> Address:
    """Raises UsageError, which repeats nothing of the URL: any part of one that is wrong may be of a password."""
    if not url.startswith(("postgresql://", "postgres://")):
        raise _unreadable()
    base, mark, query = url.partition("?")
    parameters = [part for part in query.split("&") if part]
    schemas = [part.partition("=")[2] for part in parameters if part.startswith("schema=")]
    schema = schemas[-1] if schemas else SCHEMA
    if not _NAME.fullmatch(schema) or schema.startswith("pg_"):
        raise UsageError(
            f"The schema {schema!r} can't be the store's: lower-case letters, digits and _ are expected, not pg_ first."
        )
    others = "&".join(part for part in parameters if not part.startswith("schema="))
    conninfo = base + (mark + others if others else "")
    try:
        settings = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError:
        raise _unreadable() from None
    if not _PLACE.fullmatch(base) or not _PORTS.fullmatch(str(settings.get("port", ""))):
        raise _unreadable()  # else libpq takes a part of the password to be a host, which is no secret
    return Address(conninfo, schema, _shown(settings, schema))


def _unreadable() -> UsageError:
    return UsageError(
        "The store's address can't be read: postgresql://USER:PASSWORD@HOST:PORT/DATABASE is expected, with what is "
        "special in a password written as %XX, and behind a ? only parameters of libpq and schema=NAME."
    )


def _shown(settings: "dict[str, str | int | None]", schema: str) -> str:
    service = settings.get("service") or os.environ.get("PGSERVICE")
    if service and not settings.get("host"):
        return f"of the service {service}" + _beside(schema)
    host = settings.get("host") or os.environ.get("PGHOST") or "localhost"
    port = settings.get("port") or os.environ.get("PGPORT")
    database = settings.get("dbname") or os.environ.get("PGDATABASE") or ""
    return f"postgresql://{_places(str(host), str(port or ''))}/{database}" + _beside(schema)


def _places(hosts: str, ports: str) -> str:
    """Each host with its port; one port is that of all."""
    names, numbers = hosts.split(","), ports.split(",")
    of_each = numbers * len(names) if len(numbers) == 1 else numbers
    return ",".join(f"{name}:{port}" if port else name for name, port in zip(names, of_each, strict=False))


def _beside(schema: str) -> str:
    return "" if schema == SCHEMA else f" (schema {schema})"
