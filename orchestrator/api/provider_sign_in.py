"""Signing in to the pages at an OpenID Connect provider: the authorization-code flow, with PKCE, state and nonce.

Theory of operation. The browser gets a cookie with 256 random bits when it is sent to the provider. State, nonce and
the verifier of PKCE are each made of them by a keyed hash, so whoever comes back with the provider's answer must be the
very browser that went, any controller of the store can take it, and nothing waits in memory for those who never come
back. The code is exchanged by the server itself; what the provider signs then must be meant for this client and have
the nonce in it. Of it remains who it is and until when.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from orchestrator.api.errors import Unauthorized
from orchestrator.api.oidc import Oidc, OidcSettings, Verified, looks_like_one
from orchestrator.api.tokens import new_secret
from orchestrator.errors import NotFound, Permanent, Temporary

MOST_AT_ONCE: Final = 8
MOST_LETTERS: Final = 2048
COOKIE_SECONDS: Final = 600
_OTHER_BROWSER: Final = "This sign-in was not begun in this browser, or too long ago: begin it again."


@dataclass(frozen=True, slots=True)
class Begun:
    """Where the browser goes, and what its cookie holds."""

    url: str
    cookie: str


class ProviderSignIn:
    def __init__(self, oidc: Oidc) -> None:
        self._oidc = oidc
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)

    async def begin(self, page: str, back: str) -> Begun:
        """*back*: our address that the provider sends the browser to. Raises ``Temporary`` while it is away."""
        settings, secret = self._settings(), new_secret()
        asked = {
            "response_type": "code",
            "client_id": settings.client_id or "",
            "redirect_uri": back,
            "scope": " ".join(settings.scopes),
            "state": _made(secret, "state"),
            "nonce": _made(secret, "nonce"),
            "code_challenge": _encoded(hashlib.sha256(_made(secret, "verifier").encode()).digest()),
            "code_challenge_method": "S256",
        }
        where = await self._oidc.endpoint("authorization_endpoint")
        joined = "&" if "?" in where else "?"
        return Begun(f"{where}{joined}{urlencode(asked)}", f"{secret}.{_encoded(page.encode())}")

    async def finish(self, answer: Mapping[str, str], cookie: str | None, back: str) -> tuple[Verified, str, str]:
        """Who it is, the token that says so, and the page to go on to. Raises ``Unauthorized``, ``Forbidden``,
        ``Temporary``."""
        secret, _, page = (cookie or "").partition(".")
        if not secret or not _is(answer.get("state"), _made(secret, "state")):
            raise Unauthorized(_OTHER_BROWSER)
        if answer.get("iss", self._oidc.issuer) != self._oidc.issuer:
            raise Unauthorized("This answer is of another provider.")
        code = answer.get("code")
        if code is None or not 0 < len(code) <= MOST_LETTERS:
            raise Unauthorized(f"The provider let nobody in: {_shown(answer.get('error'))}.")
        async with self._turns:
            token = await self._exchanged(code, _made(secret, "verifier"), back)
        found = await self._oidc.verify_own(token, _made(secret, "nonce"))
        return found, token, _decoded(page)

    async def _exchanged(self, code: str, verifier: str, back: str) -> str:
        settings = self._settings()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": back,
            "code_verifier": verifier,
            "client_id": settings.client_id or "",
        }
        where = await self._oidc.endpoint("token_endpoint")
        try:
            answered = json.loads(await self._oidc.post(where, form, settings.client_secret))
        except Permanent as problem:
            raise Unauthorized(f"The provider takes back what it said: {problem}.") from None
        except (ValueError, RecursionError):
            raise Temporary("The provider's answer can't be read; come again.") from None
        token = answered.get("id_token") if isinstance(answered, dict) else None
        if not isinstance(token, str) or not looks_like_one(token):
            raise Unauthorized("The provider does not say who it is: its answer has no ID token.")
        return token

    def _settings(self) -> OidcSettings:
        settings = self._oidc.settings
        if settings.client_id is None:
            raise NotFound("Nobody signs in at a provider here: `rollout serve --oidc-client-id` makes it possible.")
        return settings


def _made(secret: str, what: str) -> str:
    """43 letters, as long as a verifier has to be."""
    return _encoded(hmac.digest(secret.encode("utf-8", "surrogateescape"), what.encode(), hashlib.sha256))


def _is(sent: str | None, wanted: str) -> bool:
    return sent is not None and hmac.compare_digest(sent.encode("utf-8", "surrogateescape"), wanted.encode())


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _decoded(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        return "/"


def _shown(error: str | None) -> str:
    """One of the words that the standard has for it."""
    known = error is not None and len(error) < 60 and error.isascii() and error.replace("_", "").isalpha()
    return error.replace("_", " ") if known and error is not None else "it does not say why"
