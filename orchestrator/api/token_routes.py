"""Who asks; and for admins tokens: made, listed, revoked; and the log of that and of who was refused."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from orchestrator.api.auth import ADMINS, Admin, Viewer
from orchestrator.api.bodies import (
    LAST_SEQ,
    BlockBody,
    Me,
    Noted,
    RevocationBody,
    TokenBody,
    TokenMade,
    TokenShown,
    refusals,
)
from orchestrator.api.context import ApiContext, context_of
from orchestrator.api.encoding import Json
from orchestrator.api.issued import IssuedTokens
from orchestrator.core.times import iso
from orchestrator.errors import NotFound
from orchestrator.token_port import IssuedToken, Note

router = APIRouter(prefix="/api/v1", tags=["tokens"])


@router.get("/me", response_model=Me, responses=refusals())
async def show_me(request: Request, actor: Viewer) -> Response:
    """Who asks, and as what."""
    who = {"name": actor.name, "role": actor.role, "groups": list(actor.groups)}
    return Json({**who, "csrf": request.state.form})


@router.post("/tokens", response_model=TokenMade, responses=refusals(400, 409, 413), status_code=201)
async def create_token(body: TokenBody, request: Request, actor: Admin) -> Response:
    """Make a token. Its secret is in this answer and nowhere else."""
    issued = _issued(context_of(request))
    token, secret = await issued.issue(body, actor)
    return Json({**_shown(token, issued.now()), "secret": secret}, 201)


@router.get("/tokens", dependencies=[ADMINS], response_model=list[TokenShown], responses=refusals(404))
async def list_tokens(request: Request, limit: Annotated[int, Query(ge=1, le=10_000)] = 1000) -> Response:
    """Tokens that were made here, newest first, also those that are over. Those of a token file are not among them."""
    issued = _issued(context_of(request))
    now = issued.now()
    return Json([_shown(token, now) for token in await issued.storage.tokens(limit)])


@router.delete("/tokens/{token:path}", response_model=TokenShown, responses=refusals(404, 409, 413))
async def revoke_token(token: str, body: RevocationBody, request: Request, actor: Admin) -> Response:
    """Revoke the token of that id, or the live one of that name. At once here, within two seconds everywhere."""
    issued = _issued(context_of(request))
    return Json(_shown(await issued.revoke(token, body.reason, actor), issued.now()))


@router.post("/blocks", response_model=TokenShown, responses=refusals(400, 404, 409, 413), status_code=201)
async def block_provider(body: BlockBody, request: Request, actor: Admin) -> Response:
    """Take away what the OpenID Connect provider vouches for: somebody's tokens and sessions, or one token. At once
    here, within two seconds everywhere. It stands among the tokens as `blocked`, and ends by being revoked."""
    issued = _issued(context_of(request))
    return Json(_shown(await issued.block(body, actor), issued.now()), 201)


@router.get("/audit", dependencies=[ADMINS], response_model=list[Noted], responses=refusals(404))
async def read_audit(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    before: Annotated[int | None, Query(ge=1, le=LAST_SEQ, description="Entries with a lower seq only.")] = None,
) -> Response:
    """Who made and revoked tokens, and who was refused what, newest first."""
    return Json([_noted(note) for note in await _issued(context_of(request)).storage.notes(limit, before)])


def _issued(context: ApiContext) -> IssuedTokens:
    if context.credentials.issued is None:
        raise NotFound("This server keeps no tokens.")
    return context.credentials.issued


def _shown(token: IssuedToken, now: float) -> dict[str, Any]:
    revoked = token.revoked
    state = "revoked" if revoked is not None else "expired" if token.has_expired(now) else "live"
    return {
        "id": token.id,
        "name": token.name,
        "role": token.role,
        "groups": list(token.groups),
        "environment": token.environment,
        "created": iso(token.created),
        "by": token.by,
        "expires": iso(token.expires),
        "state": state,
        "revoked": None if revoked is None else {"at": iso(revoked.at), "by": revoked.by, "reason": revoked.reason},
    }


def _noted(note: Note) -> dict[str, Any]:
    return {"seq": note.seq, "time": iso(note.at), "what": note.what, "by": note.by, "detail": dict(note.detail)}
