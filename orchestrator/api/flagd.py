"""Flags for flagd and its in-process providers as one document, and documents of flagd taken over.

Which environment is read: ``?environment=``, else the header ``X-Rollout-Environment``, else the token's own, else
``production``. The same document over gRPC is in ``orchestrator.flagd_sync``.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import structlog
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from flags.feed import FeedVersion
from flags.flagd import encode, unsaid
from flags.flagd_reading import read_data
from flags.model import FlagDocument
from orchestrator.api.auth import Operator
from orchestrator.api.bodies import refusals
from orchestrator.api.context import context_of
from orchestrator.api.encoding import Json
from orchestrator.core.commands import Actor
from orchestrator.errors import Conflict
from orchestrator.ports import FlagWrite

if TYPE_CHECKING:
    from orchestrator.flag_board import Standing
    from orchestrator.service import Service

router = APIRouter()
log = structlog.get_logger()

DEFAULT_ENVIRONMENT = "production"
MANY_FLAGS = 500
MOST_TEXTS = 100
FLAG_WRITES = 5
_ENTITY_TAG = re.compile(r'(?:W/)?"([^"]*)"')

EnvironmentQuery = Annotated[str | None, Query(alias="environment", max_length=200)]
EnvironmentHeader = Annotated[str | None, Header(alias="X-Rollout-Environment", max_length=200)]


# --- what is served ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FlagdText:
    """One environment as flagd reads it, at one version."""

    version: FeedVersion
    content: bytes
    tag: str


class FlagdTexts:
    """The newest text of each environment, written once for all who ask.

    Where there are many flags this is done beside the event loop: gates and leases must not wait for it.
    """

    def __init__(self) -> None:
        self._known: dict[str, FlagdText] = {}
        self._writing = asyncio.Lock()

    async def of(self, standing: Standing) -> FlagdText:
        environment, version = standing.feed.environment, standing.feed.version
        known = self._known.get(environment)
        if known is not None and known.version == version:
            return known
        async with self._writing:
            known = self._known.get(environment)
            if known is not None and known.version == version:
                return known
            if len(standing.feed.documents) < MANY_FLAGS:
                made = _written(standing)
            else:
                made = await asyncio.to_thread(_written, standing)
            self._keep(environment, made)
        for sentence in unsaid(standing.feed.documents):
            log.warning("flagd.unsaid", environment=environment, what=sentence)
        return made

    def _keep(self, environment: str, made: FlagdText) -> None:
        self._known.pop(environment, None)
        self._known[environment] = made
        if len(self._known) > MOST_TEXTS:
            self._known.pop(next(iter(self._known)))


def _written(standing: Standing) -> FlagdText:
    content = encode(standing.snapshot, standing.feed.version)
    return FlagdText(standing.feed.version, content, hashlib.blake2b(content, digest_size=16).hexdigest())


def _texts(request: Request) -> FlagdTexts:
    """Those of this application."""
    state = request.app.state
    found = getattr(state, "flagd_texts", None)
    if found is None:
        found = state.flagd_texts = FlagdTexts()
    assert isinstance(found, FlagdTexts)
    return found


@router.get(
    "/flagd/v1/flags.json",
    tags=["evaluation"],
    responses=refusals()
    | {200: {"description": "`{flags, metadata}` with an ETag"}, 304: {"description": "As before"}},
)
async def flags_json(
    request: Request,
    environment: EnvironmentQuery = None,
    environment_header: EnvironmentHeader = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """All flags of an environment for flagd (a source of kind `http`) and its in-process providers."""
    name = environment or environment_header or request.state.environment or DEFAULT_ENVIRONMENT
    text = await _texts(request).of(context_of(request).service.standing(name))
    headers = {"ETag": f'"{text.tag}"', "Cache-Control": "no-cache"}  # may be kept, and is asked for again
    if if_none_match is not None and _names(if_none_match, text.tag):
        return Response(status_code=304, headers=headers)
    return Response(text.content, headers=headers, media_type="application/json")


def _names(if_none_match: str, tag: str) -> bool:
    return if_none_match.strip() == "*" or tag in _ENTITY_TAG.findall(if_none_match)


# --- what is taken over -----------------------------------------------------------------------------------------------


class FlagdImport(BaseModel):
    """A document of flagd, and why it is taken over."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flagd: dict[str, Any]
    reason: Annotated[str, Field(min_length=1, max_length=2000)]


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
    written = [one.key for one in found.documents if await _write(service, one, actor, body.reason)]
    runs = {one["key"]: one["run"] for one in await service.flags(found.environment) if one["run"] is not None}
    answer = FlagdImported(
        environment=found.environment,
        written=written,
        unchanged=[one.key for one in found.documents if one.key not in written],
        runs={key: run for key, run in runs.items() if key in written},
        notes=list(found.notes),
    )
    return Json(answer.model_dump())


async def _write(service: Service, document: FlagDocument, actor: Actor, reason: str) -> bool:
    """False if the flag is like that already. A run that moves it hears of the write, and holds."""
    for _ in range(FLAG_WRITES):
        record = await service.board.get(document.environment, document.key)
        expected = record.document.version if record is not None else None
        if record is not None and replace(document, version=record.document.version) == record.document:
            return False
        try:
            await service.board.write(FlagWrite(document, expected, actor.name, reason), service.clock.now())
        except Conflict:
            continue
        return True
    raise Conflict(f"others keep writing flag {document.key}; those before it in the document were taken over")
