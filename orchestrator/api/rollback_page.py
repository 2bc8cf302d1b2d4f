"""Rolling a run back from a page without a script: what comes back and what does not, a reason, and a button.

A page of its own, as that of the run is fetched again every few seconds, and with it would go what somebody types.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import ValidationError

from orchestrator.api.auth import PAGES
from orchestrator.api.bodies import CommandBody
from orchestrator.api.context import context_of
from orchestrator.api.errors import BadRequest, failure_of
from orchestrator.api.forms import SEE_OTHER, fields_of
from orchestrator.api.passing import passed_on
from orchestrator.api.sessions import SESSION, check_form, cookie_of, new_secret
from orchestrator.api.shell import page, to_sign_in
from orchestrator.core.commands import Actor
from orchestrator.core.phases import CommandName
from orchestrator.errors import Forbidden, Refused

router = APIRouter(include_in_schema=False)

Offer = Mapping[str, Any]


@router.get(PAGES + "{run}/rollback")
async def show_rollback(request: Request, run: str) -> Response:
    actor = _person(request)
    if actor is None:
        return to_sign_in(request)
    return await _form(request, await context_of(request).service.resolve_name(run), actor)


@router.post(PAGES + "{run}/rollback")
async def roll_back(request: Request, run: str) -> Response:
    actor, fields = _person(request), await fields_of(request)
    if actor is None:
        return to_sign_in(request)
    check_form(fields.get("form", ""), cookie_of(SESSION, request.headers, request.scope["scheme"]), request.headers)
    service = context_of(request).service
    name = await service.resolve_name(run)
    if (answer := await passed_on(request, name)) is not None:
        return answer
    try:
        done = await service.command(name, _command(fields), actor)
    except (BadRequest, Forbidden, Refused) as error:
        return await _form(request, name, actor, error)
    return RedirectResponse(_page(done.get("run_started") or name), SEE_OTHER)


def _person(request: Request) -> Actor | None:
    """Who has a session: no other can prove that the form came from here."""
    actor: Actor | None = request.state.actor
    return actor if request.state.form is not None else None


def _command(fields: Mapping[str, str]) -> CommandBody:
    if not fields.get("reason", "").strip():
        raise BadRequest("Say why: the reason goes into the journal.")
    try:
        return CommandBody(
            command=CommandName.ROLLBACK,
            reason=fields["reason"].strip(),
            with_schema=fields.get("with_schema") == "yes",
            key=fields.get("key") or None,
        )
    except ValidationError as error:
        raise BadRequest(f"The reason can't be kept: {error.errors()[0]['msg']}.") from None


async def _form(
    request: Request, run: str, actor: Actor, refused: BadRequest | Forbidden | Refused | None = None
) -> Response:
    found = await context_of(request).service.offers(run, actor)
    offers = [one for one in found if one["command"] == CommandName.ROLLBACK and one["stage"] is None]
    said = f'<p role="alert">{escape(str(refused))}</p>' if refused is not None else ""
    back = f'<p><a href="{_page(run)}">{escape(run)}</a></p>'
    answer = page(request, f"Roll back {run}", back + said + _asked(request, run, offers), refreshes=False)
    answer.status_code = failure_of(refused).status if refused is not None else 200
    return answer


def _asked(request: Request, run: str, offers: Sequence[Offer]) -> str:
    possible = [one for one in offers if one["refused"] is None]
    if not possible:
        why = next((one["refused"] for one in offers), "It can't be rolled back now, or your role may not.")
        return f"<p>{escape(why)}</p>"
    schema = [one for one in possible if one["with_schema"]]
    plain = next((one for one in possible if not one["with_schema"]), None)
    choice = '<input type="hidden" name="with_schema" value="yes">' if plain is None else ""
    if plain is not None and schema:
        choice = '<p><label><input type="checkbox" name="with_schema" value="yes"> The schema too</label></p>'
    shown = plain or schema[0]
    return (
        f"{_list('What comes back', shown['returns'])}{_list('What stays', shown['stays'])}"
        f'<form method="post" action="{_page(run)}/rollback">{choice}'
        f'<input type="hidden" name="form" value="{request.state.form}">'
        f'<input type="hidden" name="key" value="{new_secret()}">'
        '<p><label>Reason <input name="reason" required maxlength="4000" size="50"></label></p>'
        "<p><button>Roll back</button></p></form>"
    )


def _list(title: str, texts: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<h2>{title}</h2>{f'<ul>{items}</ul>' if items else '<p>Nothing.</p>'}"


def _page(run: str) -> str:
    return PAGES + quote(run, safe="")
