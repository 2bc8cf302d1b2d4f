"""Tickets for event streams: a browser's ``EventSource`` can send no headers, so what lets it in is in its URL.

A URL is logged and kept where a token must never be. A ticket is therefore good for one environment's stream only, and
for ten minutes at most; it is given to whoever was answered, and looked at when a stream is opened. One that is open
stays open. The key dies with the process: after a restart clients evaluate anew, and get a new ticket with the answer.

All tickets of one environment that are issued within five minutes are the same, so that an answer, and with it its
entity tag, changes only as often as that.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from typing import Final

WINDOW_SECONDS: Final = 300
_TICKET: Final = re.compile(r"(\d{1,12})\.([A-Za-z0-9_-]{43})", re.ASCII)


class Tickets:
    """Times are Unix times in seconds."""

    __slots__ = ("_key",)

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def issue(self, environment: str, now: float) -> str:
        """Good for five to ten minutes."""
        expires = (int(now) // WINDOW_SECONDS + 2) * WINDOW_SECONDS
        return f"{expires}.{self._seal(expires, environment)}"

    def admits(self, ticket: str, environment: str, now: float) -> bool:
        found = _TICKET.fullmatch(ticket)
        if found is None:
            return False
        expires = int(found[1])
        return hmac.compare_digest(found[2], self._seal(expires, environment)) and now < expires

    def _seal(self, expires: int, environment: str) -> str:
        sealed = f"{expires} {environment}".encode("utf-8", "surrogatepass")
        return base64.urlsafe_b64encode(hmac.digest(self._key, sealed, hashlib.sha256)).rstrip(b"=").decode()
