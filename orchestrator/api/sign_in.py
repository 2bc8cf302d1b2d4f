"""Signing in to the pages with a token, and out again. A form without a script; see :mod:`.sessions`."""

from __future__ import annotations

from html import escape
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.datastructures import Headers
from starlette.types import Scope

from orchestrator.api.auth import FROM_PROVIDER, SIGN_IN, SIGN_OUT, TO_PROVIDER, is_page
from orchestrator.api.context import context_of
from orchestrator.api.errors import Failure, Refusal, TooManyRequests, Unauthorized, failure_of, peer_of
from orchestrator.api.forms import SEE_OTHER, fields_of
from orchestrator.api.provider_sign_in import COOKIE_SECONDS
from orchestrator.api.sessions import (
    FORM,
    PROVIDER,
    SESSION,
    Sessions,
    check_form,
    cookie_of,
    form_token,
    give_cookie,
    new_secret,
)
from orchestrator.api.shell import HEADERS, framed
from orchestrator.errors import Forbidden

router = APIRouter(include_in_schema=False)


@router.get(SIGN_IN)
async def show_form(request: Request, page: str = "/") -> Response:
    return form_for(request.scope, page, provider=context_of(request).credentials.provider_name)


@router.post(SIGN_IN)
async def sign_in(request: Request) -> Response:
    fields, scope = await fields_of(request), request.scope
    check_form(fields.get("form", ""), cookie_of(FORM, request.headers, scope["scheme"]), request.headers)
    credentials, target = context_of(request).credentials, _page(fields.get("page", "/"))
    sessions = Sessions(credentials)
    try:
        identity = await credentials.identify(fields.get("token", "").strip(), peer_of(scope))
    except (Unauthorized, TooManyRequests) as refused:
        failure = failure_of(refused)
        credentials.audit.refused(Refusal.of(failure, scope))
        return form_for(scope, target, failure, provider=credentials.provider_name)
    await sessions.end(cookie_of(SESSION, request.headers, scope["scheme"]))
    answer = RedirectResponse(target, SEE_OTHER)
    give_cookie(answer, SESSION, await sessions.begin(identity), scope["scheme"])
    give_cookie(answer, FORM, None, scope["scheme"])
    return answer


@router.get(TO_PROVIDER)
async def go_to_provider(request: Request, page: str = "/") -> Response:
    """Changes nothing: whoever is sent here from elsewhere is asked by the provider whether he means it."""
    credentials, scheme = context_of(request).credentials, request.scope["scheme"]
    begun = await credentials.go_there(_page(page), _back(request))
    answer = RedirectResponse(begun.url, SEE_OTHER)
    give_cookie(answer, PROVIDER, begun.cookie, scheme, COOKIE_SECONDS)
    return answer


@router.get(FROM_PROVIDER)
async def come_from_provider(request: Request) -> Response:
    credentials, scope = context_of(request).credentials, request.scope
    sessions, cookie = Sessions(credentials), cookie_of(PROVIDER, request.headers, scope["scheme"])
    try:
        identity, page = await credentials.come_back(request.query_params, cookie, _back(request), peer_of(scope))
    except (Unauthorized, TooManyRequests, Forbidden) as refused:
        failure = failure_of(refused)
        credentials.audit.refused(Refusal.of(failure, scope))
        answer = form_for(scope, "/", failure, provider=credentials.provider_name)
    else:
        answer = _onwards(_page(page))
        give_cookie(answer, SESSION, await sessions.begin(identity), scope["scheme"])
    give_cookie(answer, PROVIDER, None, scope["scheme"])
    return answer


def _onwards(page: str) -> HTMLResponse:
    """A page that leads on: a browser that was sent here by another site would not send the cookie with a redirect."""
    there = escape(page)
    words = f'<p>You are signed in. <a href="{there}">Go on</a></p>'
    return HTMLResponse(framed("Signed in", words), headers={**HEADERS, "Refresh": f"0; url={quote(page)}"})


def _back(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}{FROM_PROVIDER}"


@router.post(SIGN_OUT)
async def sign_out(request: Request) -> Response:
    fields, scheme = await fields_of(request), request.scope["scheme"]
    secret = cookie_of(SESSION, request.headers, scheme)
    check_form(fields.get("form", ""), secret, request.headers)
    await Sessions(context_of(request).credentials).end(secret)
    answer = RedirectResponse(SIGN_IN, SEE_OTHER)
    give_cookie(answer, SESSION, None, scheme)
    return answer


def form_for(
    scope: Scope, page: str, refused: Failure | None = None, *, is_first: bool = False, provider: str | None = None
) -> Response:
    """The form, with a cookie that what it sends is held against. Who comes for the *first* time did nothing wrong.
    *provider*: the host of one where people sign in too."""
    secret = cookie_of(FORM, Headers(scope=scope), scope["scheme"]) or new_secret()
    said = f'<p role="alert">{escape(refused.message)}</p>' if refused is not None and not is_first else ""
    form = (
        f'{said}<form method="post" action="{SIGN_IN}">'
        f'<input type="hidden" name="form" value="{form_token(secret)}">'
        f'<input type="hidden" name="page" value="{escape(_page(page))}">'
        '<p><label>Token <input type="password" name="token" required autocomplete="current-password"></label> '
        "<button>Sign in</button></p></form>"
        f"{_link(provider, page)}<p>An admin makes one with <code>rollout token create NAME --role viewer</code>.</p>"
    )
    status, more = (200, {}) if refused is None else (refused.status, refused.headers)
    answer = HTMLResponse(framed("Sign in", form), status, {**HEADERS, **more})
    give_cookie(answer, FORM, secret, scope["scheme"])
    return answer


def _link(provider: str | None, page: str) -> str:
    if provider is None:
        return ""
    there = escape(f"{TO_PROVIDER}?{urlencode({'page': _page(page)})}")
    return f'<p>or <a href="{there}">sign in at {escape(provider)}</a></p>'


def _page(path: str) -> str:
    """Only a page of ours is gone on to."""
    is_ours = is_page(path) and not path.startswith("//") and path.isprintable() and "\\" not in path
    return path if is_ours else "/"
