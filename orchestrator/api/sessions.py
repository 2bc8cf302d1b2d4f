"""Sessions of browsers: who signed in to the pages with a token gets a cookie, good for them and what they ask the API.

The cookie holds 256 random bits; the store has their SHA-256, so every controller of it knows the session. It lasts as
long as its token does, and twelve hours at most. A request that changes something must bring what only a page of ours
could have given it: what is made of the form's own cookie, or of the session's, in a field of the form or in a header.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import Response

from orchestrator.api.credentials import Credentials, Identity
from orchestrator.core.commands import Actor
from orchestrator.errors import Forbidden, NotFound, RolloutError
from orchestrator.token_port import Session

LONGEST_SECONDS: Final = 12 * 3600.0
SESSION, FORM, PROVIDER = "rollout", "rollout-form", "rollout-provider"
FORM_TOKEN: Final = "X-CSRF-Token"
"""The header in which a script brings what a form brings in a field."""
_CHANGE_NOTHING: Final = ("GET", "HEAD", "OPTIONS")
_HOST: Final = "__Host-"
"""A browser takes a cookie of this name over https only, from this very host."""


def new_secret() -> str:
    return secrets.token_urlsafe(32)


def hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def form_token(secret: str) -> str:
    """What a form carries that belongs to a cookie: made of it, and no way back."""
    return hmac.digest(secret.encode("utf-8", "surrogateescape"), b"form", hashlib.sha256).hex()


class Sessions:
    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def begin(self, identity: Identity) -> str:
        """What the cookie is to hold."""
        issued = self._credentials.issued
        if issued is None:
            raise NotFound("This server keeps no sessions: send a token with each request.")
        now, secret = issued.now(), new_secret()
        expires = min(now + LONGEST_SECONDS, identity.expires if identity.expires is not None else float("inf"))
        await issued.storage.begin(Session(hashed(secret), _written(identity), expires), now)
        return secret

    async def identify(self, secret: str | None) -> Identity | None:
        """None for one that is over, or whose token is. Raises StoreError."""
        issued = self._credentials.issued
        found = await issued.storage.session(hashed(secret)) if issued is not None and secret else None
        if issued is None or found is None or found.expires <= issued.now():
            return None
        identity = _read(found.identity)
        return identity if await self._credentials.holds(identity) else None

    async def still_holds(self, secret: str) -> bool:
        """Not while that can't be told."""
        try:
            return await self.identify(secret) is not None
        except RolloutError:
            return False

    async def end(self, secret: str | None) -> None:
        if self._credentials.issued is not None and secret:
            await self._credentials.issued.storage.end(hashed(secret))


def _written(identity: Identity) -> str:
    actor = identity.actor
    return json.dumps(
        {
            "actor": [actor.name, actor.role, list(actor.groups)],
            "environment": identity.environment,
            "key": identity.key,
            "expires": identity.expires,
            "sha256": identity.sha256,
            "proof": identity.proof,
            "subject": identity.subject,
            "token_id": identity.token_id,
        }
    )


def _read(text: str) -> Identity:
    kept = json.loads(text)
    name, role, groups = kept.pop("actor")
    return Identity(Actor(name, role, tuple(groups)), **kept)


# --- cookies ----------------------------------------------------------------------------------------------------------


def cookie_of(name: str, headers: Headers, scheme: str) -> str | None:
    found: Mapping[str, str] = cookie_parser(headers.get("cookie", ""))
    return found.get(_named(name, scheme)) or None


def give_cookie(response: Response, name: str, value: str | None, scheme: str, seconds: int | None = None) -> None:
    """None takes it away. It ends with the browser's session, no script can read it, and no other site sends it.

    One that lasts for *seconds* comes along when the browser is sent to us by a provider, and with nothing else from
    elsewhere.
    """
    is_secure = scheme == "https"
    response.set_cookie(
        _named(name, scheme), value or "", max_age=seconds if value else 0, path="/",
        secure=is_secure, httponly=True, samesite="strict" if seconds is None else "lax",
    )  # fmt: skip


def _named(name: str, scheme: str) -> str:
    return f"{_HOST}{name}" if scheme == "https" else name


def cookies_for_peer(secret: str) -> str:
    """The session as another controller of the store looks for it, whatever it is asked over."""
    return f"{SESSION}={secret}; {_HOST}{SESSION}={secret}"


def check_form(sent: str, secret: str | None, headers: Headers) -> None:
    """Raises ``Forbidden`` for what did not come from a page of ours."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("This came from another site: open the page of this server, and ask there.")
    if secret is None or not hmac.compare_digest(sent.encode(), form_token(secret).encode()):
        raise Forbidden("This form is too old, or came from another site: load the page again.")


def check_request(method: str, secret: str, headers: Headers) -> None:
    """Of what a script asks in a session: whatever may change something is held against it like a form. Raises
    ``Forbidden``."""
    if method not in _CHANGE_NOTHING:
        check_form(headers.get(FORM_TOKEN, ""), secret, headers)
