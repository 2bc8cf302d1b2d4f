"""The pages: what stands at their addresses without a script. See :mod:`.shell` for what the script finds there.

All show the projections that the API shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from orchestrator.api.auth import APPROVALS, CHECK, FLAGS, PAGES
from orchestrator.api.context import context_of
from orchestrator.api.shell import page, to_sign_in
from orchestrator.core.chart import evidence_svg
from orchestrator.core.report import html_content

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

MOST_RUNS = 200
COLUMNS = ("Run", "Plan", "Phase", "Environment", "Stage", "Step", "Exposure", "Held by", "Started", "Ended")

Run = Mapping[str, Any]


@router.get("/")
async def show_page(request: Request) -> HTMLResponse:
    service = context_of(request).service
    active, ended = await service.list(True, MOST_RUNS), await service.list(False, MOST_RUNS)
    return page(request, "Staged rollouts", _runs([*active, *ended]))


@router.get(PAGES + "{run}")
async def show_run(request: Request, run: str) -> Response:
    service = context_of(request).service
    name = await service.resolve_name(run)
    if name != run:  # the newest run of a plan is another one tomorrow
        return RedirectResponse(PAGES + quote(name, safe=""))
    return page(request, name, _run(await service.status(name)))


@router.get(PAGES + "{run}/report")
async def show_report(request: Request, run: str) -> Response:
    """For who has a token, as the journal is."""
    if request.state.actor is None:
        return to_sign_in(request)
    service = context_of(request).service
    name = await service.resolve_name(run)
    report = (await service.report(name))["report"]
    back = f'<p><a href="{PAGES}{quote(name, safe="")}">{escape(name)}</a></p>'
    return page(request, f"Report of {name}", back + html_content(report), refreshes=False)


@router.get(APPROVALS)
async def show_approvals(request: Request) -> HTMLResponse:
    service = context_of(request).service
    active = [await service.status(one["run"]) for one in await service.list(True, MOST_RUNS)]
    waiting = [(run, item) for run in active for item in run.get("waiting") or ()]
    rows = [
        (_link(run), _cell(item["item"]), _cell(item["text"]), _cell(", ".join(item["by"])), _cell(item["until"]))
        for run, item in waiting
    ]
    return page(request, "Approvals", _table(("Run", "Item", "What", "From", "Until"), rows, "Nothing waits."))


@router.get(FLAGS)
async def show_flags(request: Request) -> HTMLResponse:
    names = ("key", "environment", "state", "percentage", "run", "by", "at")
    found = await context_of(request).service.flags()
    rows = [
        (*(_cell(flag.get(name)) for name in names), _cell("killed" if flag.get("killed") else "")) for flag in found
    ]
    heads = ("Flag", "Environment", "State", "Percentage", "Moved by run", "Changed by", "At", "Kill switch")
    return page(request, "Flags", _table(heads, rows, "No flag yet."))


@router.get(CHECK)
async def show_check(request: Request) -> HTMLResponse:
    words = "<p>A plan is checked here by a script, or by <code>rollout validate plan.yaml</code>.</p>"
    return page(request, "Check a plan", words, refreshes=False)


# --- runs -------------------------------------------------------------------------------------------------------------


def _runs(runs: Iterable[Run]) -> str:
    rows = [(_link(run), *map(_cell, _cells(run)[1:])) for run in runs]
    return _table(COLUMNS, rows, "No run yet: <code>rollout start plan.yaml</code> starts one.")


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]], empty: str) -> str:
    """*rows* of cells, and *empty*, are HTML."""
    body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    whole = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return whole if body else f"<p>{empty}</p>"


def _cell(value: object) -> str:
    return f"<td>{escape(_text(value))}</td>"


def _link(run: Run) -> str:
    name = _text(run.get("run"))
    return f'<td><a href="{PAGES}{quote(name, safe="")}">{escape(name)}</a></td>'


def _run(run: Run) -> str:
    facts = "".join(f'<tr><th scope="row">{name}</th><td>{escape(value)}</td></tr>' for name, value in _facts(run))
    table = f'<table class="facts"><tbody>{facts}</tbody></table>'
    here = PAGES + quote(_text(run.get("run")), safe="")
    back = "" if run.get("kept") else f'<a href="{here}/rollback">Roll back…</a> · '
    ways = f'<p>{back}<a href="{here}/report">Report</a></p>'
    return f"{table}{ways}{_gate(run.get('gate'))}"


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    yield from ((name, value) for name, value in zip(COLUMNS[1:], _cells(run)[1:], strict=True) if value)
    progress = run.get("progress") or {}
    if progress.get("of_seconds"):
        yield f"Time of the {progress['what']}", f"{progress['passed_seconds']:.0f} of {progress['of_seconds']:.0f} s"
    if kept := run.get("kept"):
        yield "Journal", kept["sentence"]
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
