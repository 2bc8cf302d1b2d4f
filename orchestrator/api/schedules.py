"""Scheduled checks: rounds of questions that are asked at their times, outside of any run."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import Field

from orchestrator.allowance import Trust, acting_for
from orchestrator.api.auth import READS, Operator
from orchestrator.api.bodies import Answered, Received, Text, Why, refusals
from orchestrator.api.context import context_of
from orchestrator.api.encoding import Json
from orchestrator.errors import InvalidPlan
from orchestrator.schedule_port import Schedule

router = APIRouter(prefix="/api/v1/schedules", tags=["schedules"])


class ScheduleBody(Received):
    """A document as `rollout start` sends it: read, expanded and checked where it lies."""

    digest: Annotated[str, Field(description="SHA-256 over document and files, hexadecimal")]
    document: dict[str, Any]
    files: dict[str, str] = Field(default_factory=dict, description="path as written in the document -> text")
    directory: Annotated[
        str | None, Field(description="The document's folder. Taken from whoever runs the controller alone.")
    ] = None
    reason: Text = ""


class EndBody(Received):
    reason: Why


class TurnShown(Answered):
    """One asking of a round. `standing` is null until it was answered."""

    round: str
    due: str
    standing: str | None
    begun: str | None
    ended: str | None
    late_seconds: float | None
    missed_since: Annotated[str | None, Field(description="The first time since when nobody had asked.")]
    checks: list[dict[str, Any]]
    told: list[dict[str, Any]]
    controller: str


class RoundShown(Answered):
    name: str
    checks: int
    next: str | None
    last: TurnShown | None


class ScheduleShown(Answered):
    name: str
    digest: str
    by: str
    since: str
    timezone: str
    rounds: list[RoundShown]


class ScheduleTold(ScheduleShown):
    turns: Annotated[list[TurnShown], Field(description="Newest first.")]


class Scheduled(Answered):
    name: str
    scheduled: Annotated[bool, Field(description="false: the very same document was there.")]


class Ended(Answered):
    name: str
    ended: bool


@router.get("", dependencies=[READS], response_model=list[ScheduleShown], responses=refusals())
async def list_schedules(request: Request) -> Response:
    """Every document of scheduled checks, with the newest turn and the next time of each round."""
    return Json(await context_of(request).service.scheduling.shown())


@router.post("", response_model=Scheduled, responses=refusals(413), status_code=201)
async def schedule(body: ScheduleBody, request: Request, actor: Operator) -> Response:
    """Have the rounds of a document asked at their times, from now on (201); one of its name is replaced. The very same
    one changes nothing (200)."""
    context = context_of(request)
    is_owners = context.credentials.is_owner(request.state.identity)
    with acting_for(Trust.OWNER if is_owners else Trust.HANDED):
        name = await asyncio.to_thread(_checked, body)
    handed = Schedule(
        name=name,
        digest=body.digest,
        raw=body.document,
        files=body.files,
        directory=body.directory if is_owners else None,
        by=actor.name,
        at=0.0,
        is_owners=is_owners,
    )
    is_new = await context.service.schedule(handed, body.reason, actor)
    return Json({"name": name, "scheduled": is_new}, 201 if is_new else 200)


def _checked(body: ScheduleBody) -> str:
    """What a submitter says of a document is looked at again, as if nobody had."""
    from stages.load_schedule import load_schedule

    plain = json.dumps(body.document).replace("$", "$$")  # it was expanded before it was sent
    loaded = load_schedule(plain, "the document", {}, read_file=lambda path: _sent(body, path))
    if (loaded.digest, dict(loaded.plan.files)) != (body.digest, body.files):
        raise InvalidPlan("The digest is not that of the document and files that were sent.")
    return loaded.name


def _sent(body: ScheduleBody, path: str) -> bytes:
    if path not in body.files:
        raise FileNotFoundError(path)
    return body.files[path].encode()


@router.get("/{name}", dependencies=[READS], response_model=ScheduleTold, responses=refusals(404))
async def show_schedule(
    name: str,
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many turns, newest first.")] = 100,
) -> Response:
    """One document, with what its rounds were answered."""
    return Json(await context_of(request).service.scheduling.show(name, limit))


@router.delete("/{name}", response_model=Ended, responses=refusals(404, 413))
async def end_schedule(name: str, body: EndBody, request: Request, actor: Operator) -> Response:
    """Its rounds are asked no more. What they were answered stays in the store."""
    await context_of(request).service.unschedule(name, body.reason, actor)
    return Json({"name": name, "ended": True})
