"""What machines ask of the controller: does it live, can it work, and how does it do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from orchestrator.api.context import context_of
from orchestrator.api.encoding import Json
from orchestrator.api.feed import streams_of
from orchestrator.api.ofrep_stream import change_streams
from orchestrator.errors import StoreError
from orchestrator.metrics import now, process
from orchestrator.metrics.families import CONTENT_TYPE, gauge

if TYPE_CHECKING:
    from orchestrator.service import Service

router = APIRouter(tags=["operation"])


@router.get("/healthz", responses={200: {"description": "The process serves"}})
async def healthz() -> Response:
    """Whether the process serves at all."""
    return Json({"status": "ok"})


@router.get(
    "/readyz", responses={200: {"description": "It can work"}, 503: {"description": "Its store does not answer"}}
)
async def readyz(request: Request) -> Response:
    """Whether it can do its work: its store answers."""
    service = context_of(request).service
    if await service.ready():
        return Json({"status": "ready", **await _members(service)})
    return Json({"status": "not ready", "message": "The store does not answer; the log says why."}, 503)


async def _members(service: Service) -> dict[str, object]:
    """Where several controllers share the store: which one this is, and how many there are."""
    if service.sharing is None:
        return {}
    members = await service.sharing.membership.members()
    return {"controller": service.sharing.me.name, "controllers": len(members)}


@router.get("/metrics", responses={200: {"description": "Prometheus' text format", "content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Numbers for Prometheus. While the store is away, all but those that are read in it."""
    service = context_of(request).service
    try:
        counts = await service.counts()
    except StoreError:
        counts = None
    clients = {"feed": streams_of(request.app.state).places.taken, "ofrep": change_streams(request.scope).places.taken}
    lines = [
        *now.lines(counts, await now.seen(service.walked())),
        *gauge(
            "staged_rollout_runs_unwalked",
            "Runs that this controller can't walk now: they crash, or can't be read.",
            service.unwalked(),
        ),
        *gauge("staged_rollout_frozen", "Freezes that stand now.", len(service.freezing.standing())),
        *gauge("staged_rollout_flag_clients", "Open streams of flags, by protocol.", clients, "protocol"),
        *service.meter.lines(),
        *process.lines(),
    ]
    return PlainTextResponse("\n".join(lines) + "\n", media_type=CONTENT_TYPE)
