"""One HTTP request and its answer, in our words; what goes wrong is told apart by whether it may have arrived."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from orchestrator.adapters.tls import Credentials
from orchestrator.errors import Permanent, Temporary


class NoAnswer(Temporary):
    """The request may have arrived and may have been carried out, but no whole answer came back."""


class Unreadable(Permanent):
    """The request was answered, in a way that can't be read; it may have been carried out."""


class TooLarge(Unreadable):
    """The request was answered with more than is read."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whatever its status. *note* says of a redirect that it was not followed, and why."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    note: str = ""

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """Raises ValueError if it is not JSON."""
        return json.loads(self.body)

    @property
    def retry_after_seconds(self) -> float | None:
        """Of the header, if it is a number of seconds."""
        value = self.headers.get("retry-after", "")
        return float(value) if value.isascii() and value.isdigit() else None


def server_of(url: str) -> str:
    """Scheme, host and port of an URL, for sentences: never user, password or query, which may be secret."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        return "the address"
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


@dataclass(slots=True)
class Call:
    """One request on its way, redirects included. *sent*: it may have arrived. *is_reused*: over a connection that an
    earlier one had left."""

    method: str
    url: str
    headers: dict[str, str]
    content: bytes | None
    timeout_seconds: float
    max_bytes: int
    tls: Credentials | None = None
    sent: bool = False
    is_reused: bool = False
