"""Freezes: nothing goes forward in an environment, or in any, until a time or a person ends it.

An operator freezes, since that only holds; ending it lets changes go on, and takes an approver, as lifting the kill
switch does.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import Field, field_validator

from orchestrator.api.auth import READS, Approver, Operator
from orchestrator.api.bodies import Answered, EnvironmentName, Received, Why, refusals
from orchestrator.api.context import context_of
from orchestrator.api.encoding import Json
from orchestrator.freezing import FreezeAsked, until_of

router = APIRouter(prefix="/api/v1", tags=["freezes"])


class FreezeBody(Received):
    environment: Annotated[EnvironmentName | None, Field(description="Left out: all environments.")] = None
    reason: Why
    until: Annotated[
        str | None,
        Field(
            max_length=100,
            description="A time with its zone, or for how long from now, such as 2h. Left out: until it is lifted.",
        ),
    ] = None

    @field_validator("until")
    @classmethod
    def _is_a_time(cls, value: str | None) -> str | None:
        if value is not None:
            until_of(value, 0.0)
        return value


class UnfreezeBody(Received):
    environment: Annotated[
        EnvironmentName | None,
        Field(description="Left out: the freeze over all environments. Those of single environments stay."),
    ] = None
    reason: Why


class FreezeShown(Answered):
    environment: Annotated[str, Field(description="* is all of them")]
    by: str
    reason: str
    at: str
    until: Annotated[str | None, Field(description="null: until it is lifted")]


class Frozen(FreezeShown):
    runs: Annotated[list[str], Field(description="Active runs that stand where it holds.")]
    frozen: Annotated[list[FreezeShown], Field(description="All freezes that stand now.")]


class Unfrozen(FreezeShown):
    frozen: Annotated[list[FreezeShown], Field(description="All freezes that still stand.")]


@router.get("/freeze", dependencies=[READS], response_model=list[FreezeShown], responses=refusals())
async def list_freezes(request: Request) -> Response:
    """The freezes that stand now; none: nothing is frozen."""
    return Json(await context_of(request).service.freezes())


@router.post("/freeze", response_model=Frozen, responses=refusals(400, 409, 413))
async def freeze(body: FreezeBody, request: Request, actor: Operator) -> Response:
    """No run goes forward there: here at once, within two seconds on every controller of the store."""
    asked = FreezeAsked(body.environment, body.until, body.reason)
    return Json(await context_of(request).service.freeze(asked, actor))


@router.delete("/freeze", response_model=Unfrozen, responses=refusals(400, 409, 413))
async def unfreeze(body: UnfreezeBody, request: Request, actor: Approver) -> Response:
    """End a freeze before its time. Runs go on, where nothing else holds them."""
    found: dict[str, Any] = await context_of(request).service.unfreeze(body.environment, body.reason, actor)
    return Json(found)
