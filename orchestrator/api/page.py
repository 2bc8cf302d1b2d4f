"""The pages: every run and where it stands, and one run with the evidence of its gates as it grew.

Both show the projection that the API shows. No script, and no text unescaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from orchestrator.api.auth import PAGES, SIGN_OUT
from orchestrator.api.context import context_of
from orchestrator.api.sessions import SESSION, cookie_of, form_token
from orchestrator.core.chart import evidence_svg

router = APIRouter()

MOST_RUNS = 200
REFRESH_SECONDS = 5
COLUMNS = ("Run", "Plan", "Phase", "Environment", "Stage", "Step", "Exposure", "Held by", "Started", "Ended")

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { margin: 2rem auto; max-width: 80rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { border-bottom: 1px solid #8885; padding: .4rem .6rem; text-align: left; vertical-align: top }
.scroll { overflow-x: auto }
.facts th { width: 10rem }
svg { max-width: 100%; height: auto }
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
HEADERS = {"Content-Security-Policy": POLICY}

Run = Mapping[str, Any]


@router.get("/", response_class=HTMLResponse, include_in_schema=False)
async def show_page(request: Request) -> HTMLResponse:
    service = context_of(request).service
    active = [await service.status(one["run"]) for one in await service.list(True, MOST_RUNS)]
    ended = await service.list(False, MOST_RUNS)
    return HTMLResponse(render([*active, *ended], _signed_in(request)), headers=HEADERS)


@router.get(PAGES + "{run}", response_class=HTMLResponse, include_in_schema=False)
async def show_run(request: Request, run: str) -> HTMLResponse:
    service = context_of(request).service
    found = await service.status(await service.resolve_name(run))
    return HTMLResponse(render_run(found, _signed_in(request)), headers=HEADERS)


def _signed_in(request: Request) -> str:
    """Who looks at it, and the way out of a session."""
    secret = cookie_of(SESSION, request.headers, request.scope["scheme"])
    actor = request.state.actor
    if actor is None or secret is None or "authorization" in request.headers:
        return ""
    return (
        f'<form method="post" action="{SIGN_OUT}"><p>Signed in as {escape(actor.name)}, {escape(actor.role)} '
        f'<input type="hidden" name="form" value="{form_token(secret)}"><button>Sign out</button></p></form>'
    )


def render(runs: Iterable[Run], signed_in: str = "") -> str:
    rows = "".join(_row(_cells(run)) for run in runs)
    head = "".join(f'<th scope="col">{column}</th>' for column in COLUMNS)
    table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    nothing = "<p>No run yet: <code>rollout start plan.yaml</code> starts one.</p>"
    return _page("Staged rollouts", table if rows else nothing, signed_in)


def render_run(run: Run, signed_in: str = "") -> str:
    facts = "".join(f'<tr><th scope="row">{name}</th><td>{escape(value)}</td></tr>' for name, value in _facts(run))
    table = f'<table class="facts"><tbody>{facts}</tbody></table>'
    back = '<p><a href="/">All runs</a></p>'
    return _page(_text(run.get("run")), f"{back}{table}{_gate(run.get('gate'))}", signed_in)


def _page(title: str, content: str, signed_in: str) -> str:
    return framed(title, signed_in + content, f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">')


def framed(title: str, content: str, head: str = "") -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{head}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{content}</main></body></html>"
    )


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    yield from ((name, value) for name, value in zip(COLUMNS[1:], _cells(run)[1:], strict=True) if value)
    progress = run.get("progress") or {}
    if progress.get("of_seconds"):
        yield f"Time of the {progress['what']}", f"{progress['passed_seconds']:.0f} of {progress['of_seconds']:.0f} s"
    upcoming = run.get("next") or {}
    if upcoming.get("what"):
        yield "Next", " ".join(filter(None, (upcoming["what"], _text(upcoming.get("at")))))


def _gate(gate: Mapping[str, Any] | None) -> str:
    if not gate:
        return ""
    criteria = "".join(_criterion(one) for one in gate.get("criteria") or ())
    return f"<h2>Gate {escape(_text(gate.get('name')))}: {escape(_text(gate.get('verdict')))}</h2>{criteria}"


def _criterion(criterion: Mapping[str, Any]) -> str:
    head = f"<h3>{escape(criterion['name'])}: {escape(criterion['verdict'])}</h3>"
    sentence = f"<p>{escape(_text(criterion.get('sentence')))}</p>"
    drawn = evidence_svg(criterion["name"], criterion.get("trail") or (), criterion.get("evidence") or {})
    return head + sentence + drawn


def _cells(run: Run) -> list[str]:
    exposure = run.get("percentages") or {}
    holds = run.get("holds") or []
    return [
        _text(run.get("run")),
        _text(run.get("plan")),
        _text(run.get("outcome") or run.get("phase")),
        _text(run.get("environment")),
        _text(run.get("stage")),
        _text(run.get("step")),
        ", ".join(f"{flag} {percentage:g} %" for flag, percentage in exposure.items()),
        "; ".join(f"{hold['reason']}: {hold['detail']}" if hold.get("detail") else hold["reason"] for hold in holds),
        _text(run.get("started")),
        _text(run.get("ended")),
    ]


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _row(cells: list[str]) -> str:
    name = cells[0]
    linked = f'<td><a href="{PAGES}{quote(name, safe="")}">{escape(name)}</a></td>'
    return f"<tr>{linked}{''.join(f'<td>{escape(cell)}</td>' for cell in cells[1:])}</tr>"
