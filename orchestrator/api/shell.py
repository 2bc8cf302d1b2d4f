"""What every page is made of: readable without a script, and the frame of one for who is signed in.

Who has a session is sent the script too, which takes the place of what stands in ``#page`` and speaks with the API
(``orchestrator/web``). It needs what only a page of ours knows, the session's form token. Everybody else is sent words
alone. No text is unescaped.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Final
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse

from orchestrator.api.assets import Bundle
from orchestrator.api.auth import ASSETS, SIGN_IN, SIGN_OUT, is_page
from orchestrator.api.context import context_of
from orchestrator.api.errors import Failure
from orchestrator.api.forms import SEE_OTHER
from orchestrator.core.commands import Actor

REFRESH_SECONDS = 5

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { margin: 2rem auto; max-width: 80rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { border-bottom: 1px solid #8885; padding: .4rem .6rem; text-align: left; vertical-align: top }
td, h1, p, li { overflow-wrap: anywhere }
.scroll { overflow-x: auto }
.facts th { width: 10rem }
svg { max-width: 100%; height: auto }
input, textarea, button { font: inherit; max-width: 100% }
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
_COMMON = "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; img-src data:; {_COMMON}"
SCRIPT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    f"require-trusted-types-for 'script'; trusted-types 'none'; {_COMMON}"
)
HEADERS: Final = {"Content-Security-Policy": POLICY}
LINKS: Final = (("/", "Runs"), ("/approvals", "Approvals"), ("/flags", "Flags"), ("/check", "Check a plan"))


def page(request: Request, title: str, content: str, *, refreshes: bool = True) -> HTMLResponse:
    """*content* is HTML. One that *refreshes* is fetched again every few seconds where no script runs."""
    actor: Actor | None = request.state.actor
    form: str | None = request.state.form
    again = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">' if refreshes else ""
    words = _around(actor, form, request.url.path) + f"<main><h1>{escape(title)}</h1>{content}</main>"
    bundle = context_of(request).bundle
    if actor is None or form is None or bundle is None:
        return HTMLResponse(_document(title, again + _OWN_STYLE, words), headers=HEADERS)
    head = _script(bundle) + _meta(actor, form) + (f"<noscript>{again}</noscript>" if again else "")
    with_place = f'<div id="page">{words}</div>'
    return HTMLResponse(_document(title, head, with_place), headers={"Content-Security-Policy": SCRIPT_POLICY})


def for_person(request: Request, failure: Failure) -> HTMLResponse | None:
    """A refusal at the address of a page, as a page; None at others."""
    if not is_page(request.url.path):
        return None
    words = _around(request.state.actor, request.state.form, "/")
    content = f'<main><h1>{failure.status}</h1><p role="alert">{escape(failure.message)}</p></main>'
    document = _document(str(failure.status), _OWN_STYLE, words + content)
    return HTMLResponse(document, failure.status, {**HEADERS, **failure.headers})


def to_sign_in(request: Request) -> RedirectResponse:
    """For who may look at most pages without a session, as on loopback, and not at this one."""
    return RedirectResponse(_sign_in_for(request.url.path), SEE_OTHER)


def _sign_in_for(path: str) -> str:
    return f"{SIGN_IN}?page={quote(path, safe='')}"


def framed(title: str, content: str) -> str:
    """A page for nobody in particular, such as the form to sign in."""
    return _document(title, _OWN_STYLE, f"<main><h1>{escape(title)}</h1>{content}</main>")


_OWN_STYLE = f"<style>{STYLE}</style>"


def _document(title: str, head: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,">{head}<title>{escape(title)}</title></head><body>{body}</body></html>'
    )


def _script(bundle: Bundle) -> str:
    return (
        f'<link rel="stylesheet" href="{ASSETS}{bundle.style}">'
        f'<script type="module" src="{ASSETS}{bundle.script}"></script>'
    )


def _meta(actor: Actor, form: str) -> str:
    facts = {"csrf": form, "actor": actor.name, "role": actor.role}
    return "".join(f'<meta name="{name}" content="{escape(value)}">' for name, value in facts.items())


def _around(actor: Actor | None, form: str | None, path: str) -> str:
    """The way to the other pages, who looks at it, and the way into a session and out of it."""
    return f"<header>{_head(actor, form, path)}</header>"


def _head(actor: Actor | None, form: str | None, path: str) -> str:
    links = " · ".join(f'<a href="{there}">{name}</a>' for there, name in LINKS)
    navigation = f'<nav aria-label="Pages">{links}</nav>'
    if form is not None and actor is not None:
        return (
            f'{navigation}<form method="post" action="{SIGN_OUT}">'
            f"<p>Signed in as {escape(actor.name)}, {escape(actor.role)} "
            f'<input type="hidden" name="form" value="{form}"><button>Sign out</button></p></form>'
        )
    if actor is not None:
        return navigation
    return f'{navigation}<p><a href="{_sign_in_for(path)}">Sign in</a> to act, and to follow live.</p>'
