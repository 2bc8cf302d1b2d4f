"""Runs: starting, reading, following, commanding.

Wherever a run is named, a unique beginning of its name or its plan's name (then the newest run is meant) will do.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import PlainTextResponse, Response
from pydantic import Field, ValidationError

from orchestrator.allowance import Allowance, Trust, acting_for
from orchestrator.api.auth import READS, Operator, Viewer
from orchestrator.api.bodies import (
    LAST_SEQ,
    Accepted,
    CommandBody,
    Course,
    Entry,
    Offers,
    Received,
    Report,
    RunStatus,
    Started,
    SubmissionBody,
    refusals,
)
from orchestrator.api.context import context_of
from orchestrator.api.encoding import Json, large_json, listed_json
from orchestrator.api.errors import BadRequest
from orchestrator.api.passing import passed_on
from orchestrator.api.streams import EVENT_STREAM, stream_run
from orchestrator.core.commands import Command
from orchestrator.errors import InvalidPlan
from orchestrator.reading import PIECE_ENTRIES, Entries

JSON_LINES = "application/jsonl"

router = APIRouter(prefix="/api/v1/runs", tags=["runs"])


class Which(Received):
    """Part of a journal."""

    after: Annotated[int, Field(ge=0, le=LAST_SEQ, description="Entries with a higher seq only.")] = 0
    limit: Annotated[int | None, Field(ge=1, le=100_000)] = None


@router.post("", response_model=Started, responses=refusals(409, 413), status_code=201)
async def start_run(body: SubmissionBody, request: Request, actor: Operator) -> Response:
    """Start a plan (201), or attach to the active run of the very same plan (200)."""
    from orchestrator.submission import Submission

    context = context_of(request)
    is_owners = context.credentials.is_owner(request.state.identity)
    with acting_for(Trust.OWNER if is_owners else Trust.HANDED):
        await asyncio.to_thread(_check, body)  # a large plan takes its time, and gates must not wait
    if body.supersede is not None:
        old = await context.service.resolve_name(body.supersede)
        if (answer := await passed_on(request, old)) is not None:
            return answer
    submission = Submission(
        plan=body.plan,
        digest=body.digest,
        documents=body.documents,
        files=body.files,
        directory=body.directory if is_owners else None,
        supersede=body.supersede,
        reason=body.reason,
        is_owners=is_owners,
    )
    warnings = [f"{one.where}: {one.sentence}" for one in await context.service.lint(submission)]
    run, started = await context.service.start(submission, actor)
    headers = {"Location": f"/api/v1/runs/{run}"}
    return Json({"run": run, "started": started, "warnings": warnings}, 201 if started else 200, headers)


def _check(body: SubmissionBody) -> None:
    """What a submitter says of its plan is looked at again, as if nobody had: the digest decides which run is attached
    to, and what `rollout start` refuses is refused here too."""
    from orchestrator.app import lint_plan
    from stages.load import from_raw, load_data
    from stages.problems import InvalidPlan as Problems

    try:
        plan = from_raw([(one.environment, one.plan) for one in body.documents], body.files)
    except ValidationError as error:
        raise InvalidPlan(
            f"The plan is not valid: {error.error_count()} problems; `rollout validate` lists them."
        ) from error
    if (plan.name, plan.digest) != (body.plan, body.digest):
        raise InvalidPlan("Name or digest are not those of the documents and files that were sent.")
    for document in {json.dumps(one.plan) for one in body.documents}:
        plain = json.loads(document.replace("$", "$$"))  # it was expanded before it was sent
        load_data(plain, body.plan, {}, read_file=lambda path: _sent(body, path))
    linted = lint_plan(plan, body.plan, body.directory, Allowance())
    if linted.errors:
        raise Problems(linted.errors)


def _sent(body: SubmissionBody, path: str) -> bytes:
    if path not in body.files:
        raise FileNotFoundError(path)
    return body.files[path].encode()


@router.get("", dependencies=[READS], response_model=list[RunStatus], responses=refusals())
async def list_runs(
    request: Request,
    active: Annotated[
        bool | None, Query(description="true: those that have not ended; false: those that have.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=5000)] = 100,
) -> Response:
    """Runs, newest first, in a short form of their status."""
    return Json(await context_of(request).service.list(active, limit))


@router.get("/{run}", dependencies=[READS], response_model=RunStatus, responses=refusals(404))
async def show_run(run: str, request: Request) -> Response:
    """Where a run stands, what it waits for, and what comes next."""
    service = context_of(request).service
    return Json(await service.status(await service.resolve_name(run)))


@router.get("/{run}/commands", response_model=Offers, responses=refusals(404))
async def show_commands(run: str, request: Request, actor: Viewer) -> Response:
    """What the one who asks could ask of a run now, and what would be refused and why. What the role never may is
    left out."""
    service = context_of(request).service
    found = await service.offers(await service.resolve_name(run), actor)
    who = {"name": actor.name, "role": actor.role, "groups": list(actor.groups)}
    return Json({"actor": who, "commands": found})


@router.post("/{run}/commands", response_model=Accepted, responses=refusals(400, 404, 409, 410, 413))
async def command_run(
    run: str,
    body: CommandBody,
    request: Request,
    actor: Operator,
    idempotency_key: Annotated[
        str | None, Header(min_length=1, max_length=255, description="Sent again, it gives the same answer again.")
    ] = None,
) -> Response:
    """Ask something of a run. Once this is answered with success, it survives any crash."""
    service = context_of(request).service
    name = await service.resolve_name(run)
    if (answer := await passed_on(request, name)) is not None:
        return answer
    return Json(await service.command(name, _with_key(body, idempotency_key), actor))


def _with_key(command: Command, key: str | None) -> Command:
    if key is None:
        return command
    if command.key not in (None, key):
        raise BadRequest("The header Idempotency-Key and the field key differ: send one of them.")
    return command.model_copy(update={"key": key})


@router.get(
    "/{run}/events",
    response_model=list[Entry],
    dependencies=[READS],
    responses={
        **refusals(400, 404),
        200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}}}, "description": "The journal"},
        204: {"description": "To one who follows again: the run has ended and everything was sent"},
    },
)
async def read_events(
    run: str,
    request: Request,
    which: Annotated[Which, Query()],
    accept: Annotated[str, Header()] = "*/*",
    last_event_id: Annotated[str | None, Header(description="Of a stream: the seq that came last.")] = None,
) -> Response:
    """The journal of a run: as a list, or with `Accept: text/event-stream` as it grows, until the run has ended."""
    context = context_of(request)
    name = await context.service.resolve_name(run)
    if EVENT_STREAM in accept:
        return await stream_run(context, name, _seq(last_event_id), which.after)
    pieces = context.service.pieces(name, which.after, which.limit)
    first: Entries = await anext(pieces, [])  # what can't be read is refused before anything is sent
    return Json(first) if len(first) < PIECE_ENTRIES else listed_json(_with(first, pieces))


async def _with(first: Entries, others: AsyncIterator[Entries]) -> AsyncIterator[Entries]:
    yield first
    async for piece in others:
        yield piece


def _seq(last_event_id: str | None) -> int | None:
    if not last_event_id:
        return None
    if not (last_event_id.isascii() and last_event_id.isdecimal() and len(last_event_id) < 19):
        raise BadRequest("Last-Event-ID must be the id of an event that was received, a number.")
    return int(last_event_id)


class Piece(Received):
    """Part of a journal, its newest entries first."""

    after: Annotated[int, Field(ge=0, le=LAST_SEQ, description="Entries with a higher seq only.")] = 0
    before: Annotated[int | None, Field(ge=1, le=LAST_SEQ, description="Entries with a lower seq only.")] = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100


@router.get("/{run}/timeline", dependencies=[READS], response_model=Course, responses=refusals(404))
async def show_timeline(run: str, request: Request, which: Annotated[Piece, Query()]) -> Response:
    """How the percentages moved, what to mark beside them, and the journal in sentences, newest first."""
    context = context_of(request)
    name = await context.service.resolve_name(run)
    return Json(await context.timelines.shown(context.service, name, which.after, which.before, which.limit))


@router.get(
    "/{run}/journal",
    dependencies=[READS],
    response_class=PlainTextResponse,
    responses={**refusals(400, 404, 410), 200: {"content": {JSON_LINES: {"schema": {"type": "string"}}}}},
)
async def export_journal(
    run: str,
    request: Request,
    after: Annotated[int, Query(ge=0, le=LAST_SEQ, description="Begin behind the entry with this seq.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1000,
) -> Response:
    """The journal as it was written, a JSON object a line with the hash that chains it to the one before."""
    service = context_of(request).service
    lines = await service.journal_lines(await service.resolve_name(run), after, limit)
    return Response("".join(f"{one}\n" for one in lines), media_type=JSON_LINES)


@router.get("/{run}/report", dependencies=[READS], response_model=Report, responses=refusals(404))
async def report_run(run: str, request: Request) -> Response:
    """Everything about a run in one document: how it stands (or ended), and every fact with its evidence."""
    service = context_of(request).service
    found = await service.report(await service.resolve_name(run))
    return Json(found) if len(found["history"]) <= PIECE_ENTRIES else large_json(found)
