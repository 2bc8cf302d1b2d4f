"""Requests about a run that another controller of the store acts for: passed on to that one, as they came.

With the same token, or session, and idempotency key: those that the store keeps all controllers know, those of a token
file only if they were started with the same one. Once only: who gets a request that was passed on answers it, or says
that the run has moved.
"""

from __future__ import annotations

from urllib.parse import quote

from fastapi import Request
from fastapi.responses import Response

from orchestrator.api.context import context_of
from orchestrator.api.errors import Unauthorized
from orchestrator.api.sessions import FORM_TOKEN, SESSION, cookie_of, cookies_for_peer
from orchestrator.errors import Temporary
from orchestrator.ports import Member, Passed

PASSED_BY = "X-Rollout-Passed-By"
_PASSED_ON = ("authorization", "content-type", "accept", "idempotency-key", FORM_TOKEN)
_PASSED_BACK = ("content-type", "location", "retry-after")
_MOVED_SECONDS = 2.0


async def passed_on(request: Request, run: str) -> Response | None:
    """The answer of the controller that acts for *run*; None if it is to be answered here. Raises ``Temporary`` while
    nobody does, or that one can't be asked."""
    service = context_of(request).service
    owner = await service.elsewhere(run)
    if owner is None or service.sharing is None or service.sharing.peers is None:
        return None
    if PASSED_BY in request.headers:
        raise Temporary(f"{run} has moved to the controller {owner.name}; ask again", _MOVED_SECONDS)
    headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
    if request.state.form is not None and (secret := cookie_of(SESSION, request.headers, request.scope["scheme"])):
        headers["Cookie"] = cookies_for_peer(secret)
    path = quote(request.scope["path"]) + (f"?{request.url.query}" if request.url.query else "")
    passed = Passed(request.method, path, {**headers, PASSED_BY: service.sharing.me.name}, await request.body())
    answer = await service.sharing.peers.ask(owner, passed)
    if answer.status == 401:
        raise Unauthorized(_unknown_token(run, owner))
    kept = {name: answer.headers[name] for name in _PASSED_BACK if name in answer.headers}
    return Response(answer.body, answer.status, kept)


def _unknown_token(run: str, owner: Member) -> str:
    return (
        f"The controller {owner.name}, which acts for {run}, does not know this token: make one that all know "
        f"with `rollout token create`, start all with the same --token-file, or ask that one at {owner.address}."
    )
