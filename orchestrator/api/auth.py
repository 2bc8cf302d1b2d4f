"""Who asks, and whether they may: tokens at the door, roles at the routes.

The door is one table, so that a new route is closed until somebody opens it:

    PUBLIC     says nothing worth hiding (is it alive, what can it do, the script of the pages)
    LOOPBACK   open to everybody on this machine; from elsewhere, a token of any role
    TOKEN      always a token

A token is ``Authorization: Bearer TOKEN``. OFREP takes ``X-API-Key: TOKEN`` too, as its providers can be set to, and
the pages basic authorization (any user name; the password is the token). The cookie of who signed in is good for the
pages and for what they ask of the API. A token that is sent must be right, also where none is needed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers

from orchestrator.api.context import ApiContext
from orchestrator.api.credentials import Identity
from orchestrator.api.errors import Unauthorized
from orchestrator.core.commands import ROLES, Actor
from orchestrator.errors import Forbidden

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Access(StrEnum):
    PUBLIC = "public"
    LOOPBACK = "loopback"
    TOKEN = "token"


ACCESS: dict[str, Access] = {
    "/": Access.LOOPBACK,
    "/healthz": Access.PUBLIC,
    "/readyz": Access.PUBLIC,
    "/openapi.json": Access.PUBLIC,
    "/favicon.ico": Access.PUBLIC,  # there is none, and browsers ask nonetheless
    "/metrics": Access.LOOPBACK,
}
SIGN_IN, SIGN_OUT = "/sign-in", "/sign-out"
TO_PROVIDER, FROM_PROVIDER = "/sign-in/provider", "/sign-in/return"
ACCESS |= dict.fromkeys((SIGN_IN, SIGN_OUT), Access.PUBLIC)  # each form is held against its cookie
ACCESS |= dict.fromkeys((TO_PROVIDER, FROM_PROVIDER), Access.PUBLIC)  # and what comes back against its own
PAGES = "/runs/"
"""Below it each run has its pages."""
APPROVALS, FLAGS, CHECK = "/approvals", "/flags", "/check"
ACCESS |= dict.fromkeys((APPROVALS, FLAGS, CHECK), Access.LOOPBACK)
ASSETS = "/assets/"
API = "/api/v1/"
KILL_SWITCH = "/feature-flags/disable-all"
PREFIXES: dict[str, Access] = {
    PAGES: Access.LOOPBACK,
    ASSETS: Access.PUBLIC,
    "/ofrep/v1/": Access.LOOPBACK,
    "/flagd/v1/": Access.LOOPBACK,
    "/flags/v1/": Access.LOOPBACK,
}


def is_page(path: str) -> bool:
    """Whether a person looks at it in a browser."""
    return path in ("/", APPROVALS, FLAGS, CHECK) or path.startswith(PAGES)


def takes_session(path: str) -> bool:
    """Whether the cookie of who signed in is good for it: pages, and what their script asks."""
    return is_page(path) or path.startswith(API) or path == KILL_SWITCH


def access_to(path: str) -> Access:
    if path in ACCESS:
        return ACCESS[path]
    return next((access for prefix, access in PREFIXES.items() if path.startswith(prefix)), Access.TOKEN)


async def admit(context: ApiContext, path: str, headers: Headers, peer: str) -> Identity | None:
    """Who is at the door; None if they need no token and sent none. Raises Unauthorized or Forbidden, and what keeps
    that from being told."""
    access = access_to(path)
    if access is Access.PUBLIC:
        return None
    secret = _secret(path, headers)
    if secret is not None:
        return await context.credentials.identify(secret, peer)
    if access is Access.LOOPBACK and context.listen_is_loopback:
        _refuse_other_names(path, headers)
        return None
    raise Unauthorized(f"{path} needs a token: send it as `Authorization: Bearer TOKEN`.")


def _secret(path: str, headers: Headers) -> str | None:
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return rest.strip()
        case "basic" if is_page(path):
            return _password(rest.strip())
        case "":
            return headers.get("x-api-key") if path.startswith("/ofrep/") else None
        case _:
            raise Unauthorized(f"The scheme {scheme[:20]!r} is not known: send `Authorization: Bearer TOKEN`.")


def _password(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        raise Unauthorized("The basic authorization that was sent can't be read.") from None


def _refuse_other_names(path: str, headers: Headers) -> None:
    """A web site whose name is made to point at this machine must not read the page through its visitor's browser."""
    host = headers.get("host", "localhost")
    name = host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]
    if is_page(path) and name not in LOOPBACK_NAMES:
        raise Forbidden(f"Without a token this page answers to localhost only, not to {name[:100]!r}.")


# --- roles ------------------------------------------------------------------------------------------------------------

_BEARER = HTTPBearer(auto_error=False, description="A token of this server; its role decides what it may do.")


def needs(role: str) -> Callable[..., Actor]:
    """A dependency that gives the actor, or refuses one of a lower role."""

    def check(request: Request, _: Annotated[object, Security(_BEARER)] = None) -> Actor:
        actor: Actor | None = getattr(request.state, "actor", None)
        if actor is None:
            raise Unauthorized
        if ROLES.index(actor.role) < ROLES.index(role):
            raise Forbidden(f"{request.method} {request.url.path} needs the role {role}; {actor.name} is {actor.role}.")
        return actor

    return check


ADMINS = Depends(needs("admin"))
READS = Depends(needs("viewer"))  # for routes that need not know who reads
Viewer = Annotated[Actor, Depends(needs("viewer"))]
Operator = Annotated[Actor, Depends(needs("operator"))]
Approver = Annotated[Actor, Depends(needs("approver"))]
Admin = Annotated[Actor, Depends(needs("admin"))]
