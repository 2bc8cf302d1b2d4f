"""What people are asked, over all runs. It is answered by `approve` and `reject` of the run."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from orchestrator.api.auth import Viewer
from orchestrator.api.bodies import Asked, refusals
from orchestrator.api.context import context_of
from orchestrator.api.encoding import Json

router = APIRouter(prefix="/api/v1/approvals", tags=["runs"])


@router.get("", response_model=list[Asked], responses=refusals())
async def list_approvals(request: Request, actor: Viewer) -> Response:
    """Every item that waits for a person, what is due first coming first, and what the one who asks could answer."""
    return Json(await context_of(request).service.approvals(actor))
