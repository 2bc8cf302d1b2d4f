"""The page: every run and where it stands, from the projection that the API shows. No script, and no text unescaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from orchestrator.api.context import context_of

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
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@router.get("/", response_class=HTMLResponse, include_in_schema=False)
async def show_page(request: Request) -> HTMLResponse:
    service = context_of(request).service
    active = [await service.status(one["run"]) for one in await service.list(True, MOST_RUNS)]
    ended = await service.list(False, MOST_RUNS)
    return HTMLResponse(render([*active, *ended]), headers={"Content-Security-Policy": POLICY})


def render(runs: Iterable[Mapping[str, Any]]) -> str:
    rows = "".join(_row(_cells(run)) for run in runs)
    head = "".join(f'<th scope="col">{column}</th>' for column in COLUMNS)
    table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    nothing = "<p>No run yet: <code>rollout start plan.yaml</code> starts one.</p>"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Staged rollouts</title><style>{STYLE}</style></head>"
        f"<body><main><h1>Staged rollouts</h1>{table if rows else nothing}</main></body></html>"
    )


def _cells(run: Mapping[str, Any]) -> list[str]:
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


def _row(cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
