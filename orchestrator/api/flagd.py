"""Flags for flagd and its in-process providers as one document, and documents of flagd taken over.

The same document over gRPC is in ``orchestrator.flagd_sync``.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Any, cast

import structlog
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from flags.flagd import encode, unsaid
from flags.flagd_reading import read_data
from flags.ofrep import is_named
from orchestrator.api.auth import Operator
from orchestrator.api.bodies import can_be_kept, refusals
from orchestrator.api.context import context_of
from orchestrator.api.encoding import Json
from orchestrator.api.flag_routes import MadeOnce, environment_of, parameters

if TYPE_CHECKING:
    from orchestrator.flag_board import Standing

router = APIRouter()
log = structlog.get_logger()

# --- what is served ---------------------------------------------------------------------------------------------------


def flagd_text(standing: Standing) -> bytes:
    """One environment as flagd reads it. What cannot be said there goes into the log."""
    for sentence in unsaid(standing.feed.documents):
        log.warning("flagd.unsaid", environment=standing.feed.environment, what=sentence)
    return encode(standing.snapshot, standing.feed.version)


def _tagged_text(standing: Standing) -> tuple[bytes, str]:
    """The entity tag is of the text, not of the version: a controller that says the same flags otherwise is heard."""
    text = flagd_text(standing)
    return text, hashlib.blake2b(text, digest_size=16).hexdigest()


def _texts(request: Request) -> MadeOnce[tuple[bytes, str]]:
    """Those of this application."""
    state = request.app.state
    if not hasattr(state, "flagd_texts"):
        state.flagd_texts = MadeOnce(_tagged_text)
    return cast("MadeOnce[tuple[bytes, str]]", state.flagd_texts)


@router.get(
    "/flagd/v1/flags.json",
    tags=["evaluation"],
    openapi_extra=parameters(("header", "If-None-Match")),
    responses=refusals()
    | {200: {"description": "`{flags, metadata}` with an ETag"}, 304: {"description": "As before"}},
)
async def flags_json(request: Request) -> Response:
    """All flags of an environment for flagd (a source of kind `http`) and its in-process providers."""
    text, tag = await _texts(request).of(context_of(request).service.standing(environment_of(request.scope)))
    headers = {"ETag": f'"{tag}"', "Cache-Control": "no-cache"}  # may be kept, and is asked for again
    if is_named(tag, request.headers.get("if-none-match")):
        return Response(status_code=304, headers=headers)
    return Response(text, headers=headers, media_type="application/json")


# --- what is taken over -----------------------------------------------------------------------------------------------


class FlagdImport(BaseModel):
    """A document of flagd, and why it is taken over."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flagd: dict[str, Any]
    reason: Annotated[str, Field(min_length=1, max_length=2000)]

    _reason_can_be_kept = field_validator("reason")(can_be_kept)


class FlagdImported(BaseModel):
    """Keys of flags that were written and of those that were the same already."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: str
    written: list[str]
    unchanged: list[str]
    runs: Annotated[dict[str, str], Field(description="The active run of each written flag that has one; it holds.")]
    notes: list[str]


@router.post("/api/v1/flags/import", tags=["flags"], response_model=FlagdImported, responses=refusals(409, 413))
async def import_flags(
    body: FlagdImport,
    request: Request,
    actor: Operator,
    environment: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
) -> Response:
    """Take over a document of flagd, or an export: all of it if every flag can be said here, else nothing."""
    found = read_data(body.flagd, environment)
    service = context_of(request).service
    written = [one.key for one in found.documents if await service.put_flag(one, body.reason, actor)]
    runs = {one["key"]: one["run"] for one in await service.flags(found.environment) if one["run"] is not None}
    answer = FlagdImported(
        environment=found.environment,
        written=written,
        unchanged=[one.key for one in found.documents if one.key not in written],
        runs={key: run for key, run in runs.items() if key in written},
        notes=list(found.notes),
    )
    return Json(answer.model_dump())
