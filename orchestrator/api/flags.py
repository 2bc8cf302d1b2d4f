"""Flags for people, and the kill switch. Applications ask through OFREP."""

from __future__ import annotations

from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, ValidationError

from orchestrator.api.auth import KILL_SWITCH, READS, Approver, Operator
from orchestrator.api.bodies import FlagChanged, FlagPatch, FlagShown, KillBody, Latched, LiftBody, Lifted, refusals
from orchestrator.api.context import context_of
from orchestrator.api.encoding import Json
from orchestrator.reading import MOST_HISTORY, Kill

router = APIRouter(tags=["flags"])

Body = TypeVar("Body", bound=BaseModel)
Environment = Annotated[str, Query(min_length=1, max_length=200)]


def _body_of(model: type[BaseModel], *, required: bool) -> dict[str, object]:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


@router.get("/api/v1/flags", dependencies=[READS], response_model=list[FlagShown], responses=refusals())
async def list_flags(
    request: Request,
    environment: Annotated[str | None, Query(description="Left out: flags of all environments.")] = None,
    full_for_seconds: Annotated[
        float | None, Query(ge=0, description="Only those that have stood at 100 % for so long: they could go.")
    ] = None,
) -> Response:
    """All flags with who moves them."""
    return Json(await context_of(request).service.flags(environment, full_for_seconds))


@router.get(
    "/api/v1/flag-history/{key:path}", dependencies=[READS], response_model=list[FlagChanged], responses=refusals(404)
)
async def show_flag_history(
    key: str,
    request: Request,
    environment: Environment = "production",
    limit: Annotated[int, Query(ge=1, le=MOST_HISTORY)] = 100,
) -> Response:
    """Who changed what and why, newest first."""
    return Json(await context_of(request).service.flag_history(environment, key, limit))


@router.get("/api/v1/flags/{key:path}", dependencies=[READS], response_model=FlagShown, responses=refusals(404))
async def show_flag(key: str, request: Request, environment: Environment = "production") -> Response:
    """One flag as it stands."""
    return Json(await context_of(request).service.flag(environment, key))


@router.patch("/api/v1/flags/{key:path}", response_model=FlagShown, responses=refusals(409, 413))
async def change_flag(
    key: str, body: FlagPatch, request: Request, actor: Operator, environment: Environment = "production"
) -> Response:
    """A person's own change. A run that moves this flag holds, and asks what becomes of it."""
    service = context_of(request).service
    return Json(await service.set_flag(environment, key, body.change, body.reason, actor))


@router.post(
    KILL_SWITCH,
    response_model=Latched,
    responses=refusals(413),
    openapi_extra=_body_of(KillBody, required=False),
)
async def disable_all(request: Request, actor: Operator) -> Response:
    """The kill switch: every flag that is not permanent answers off at once, until an approver lifts it."""
    body = await _read(request, KillBody)
    return Json(await context_of(request).service.disable_all(Kill(**body.model_dump()), actor))


@router.get(KILL_SWITCH, dependencies=[READS], response_model=list[Latched], responses=refusals())
async def show_latches(request: Request) -> Response:
    """What the kill switch holds now; empty where it does not."""
    return Json(context_of(request).service.latches())


@router.delete(
    KILL_SWITCH,
    response_model=Lifted,
    responses=refusals(413),
    openapi_extra=_body_of(LiftBody, required=True),
)
async def lift(request: Request, actor: Approver) -> Response:
    """Lift the kill switch. Without `confirm` it stays, and the answer shows what each flag would return to."""
    body = await _read(request, LiftBody)
    service = context_of(request).service
    return Json(await service.lift(body.environment, body.key, body.reason, actor, body.confirm))


async def _read(request: Request, model: type[Body]) -> Body:
    """Whatever Content-Type is named (curl names a form's), and no body at all is an empty one."""
    raw = await request.body()
    try:
        return model.model_validate_json(raw.strip() or b"{}")
    except ValidationError as error:
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in error.errors()]) from None
