"""Where the databases of plans may be: held to the allowance, and connected to at the addresses that were checked."""

import asyncio
import os
import re
from urllib.parse import urlencode

import psycopg.conninfo

from orchestrator.adapters.addresses import Resolver
from orchestrator.adapters.sql.sqlite import path_of
from orchestrator.allowance import NO_SOCKET, Allowance, refuse
from orchestrator.errors import Permanent, Temporary

RESOLVE_SECONDS = 10.0
PORT = "5432"
_SAFE = frozenset(
    (
        "host", "port", "user", "password", "dbname", "sslmode", "connect_timeout", "application_name", "options",
        "target_session_attrs", "client_encoding", "gssencmode", "channel_binding", "keepalives", "keepalives_idle",
        "keepalives_interval", "keepalives_count", "tcp_user_timeout", "load_balance_hosts", "ssl_min_protocol_version",
    )
)  # fmt: skip
"""Parameters of an address that name nothing on the controller's machine."""
_SCHEME = re.compile(r"^postgres(ql)?(\+\w+)?://")


async def pinned(url: str, allowance: Allowance, resolver: Resolver) -> str:
    """The address of a PostgreSQL database with the checked addresses of its servers in it, so that a name can't lead
    elsewhere a moment later. Raises ``Permanent`` for what plans may not reach."""
    given = _parts(url)
    strange = sorted(given.keys() - _SAFE)
    if strange:
        words = "names files or services of the controller's machine, or is not known to be harmless"
        raise Permanent(f"plans may not give a database's address the parameter {strange[0]}: it {words}")
    hosts = given.get("host", "").split(",")
    ports = given.get("port", PORT).split(",")
    found: list[tuple[str, str, str]] = []
    for index, host in enumerate(hosts):
        if not host or host.startswith(("/", "@")):
            raise Permanent(NO_SOCKET)
        refuse(allowance.host(host))
        port = ports[index] if len(ports) == len(hosts) else ports[0]
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                addresses = await resolver.resolve(host, int(port) if port.isdecimal() else int(PORT))
        except TimeoutError:
            raise Temporary(f"the host {host} was not found within {RESOLVE_SECONDS:g} s") from None
        for address in addresses:
            refuse(allowance.address(host, address))
        found += [(host, str(address), port) for address in addresses]
    names, places, numbers = (",".join(column) for column in zip(*found, strict=True))
    nothing = {"password": "", "passfile": os.devnull}  # else the controller's own, of its variables or its home
    whole = {**nothing, **given, "host": names, "hostaddr": places, "port": numbers}
    return f"postgresql://?{urlencode(whole)}"


def _parts(url: str) -> dict[str, str]:
    try:
        found = psycopg.conninfo.conninfo_to_dict(_SCHEME.sub("postgresql://", url))
    except psycopg.ProgrammingError:
        # the driver's message repeats parts of the address, which may be secret
        raise Permanent(
            "the database's address can't be read; postgresql://USER:PASSWORD@HOST:PORT/NAME is expected"
        ) from None
    return {name: str(value) for name, value in found.items() if value is not None}


def check_file(url: str, directory: str | None, allowance: Allowance) -> None:
    """Of SQLite. Raises ``Permanent`` for a file that plans may not name."""
    path = path_of(url, directory)
    refuse(allowance.file(str(path), path))
