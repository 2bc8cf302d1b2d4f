"""Plans: whether one is valid, said by the controller that would run it, and what it would meet."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from orchestrator.allowance import Allowance
from orchestrator.api.auth import READS, needs
from orchestrator.api.bodies import Foreseen, Valid, ValidationBody, refusals
from orchestrator.api.context import context_of
from orchestrator.api.encoding import Json
from orchestrator.core.events import PlanDocument

if TYPE_CHECKING:
    from orchestrator.submission import Submission
    from stages.load import LoadedPlan

router = APIRouter(prefix="/api/v1/plans", tags=["plans"])


@router.post("/validate", dependencies=[READS], response_model=Valid, responses=refusals(413))
async def validate_plan(body: ValidationBody) -> Response:
    """The document and its files: nothing is asked of the systems that it names. 422 lists every problem at its place,
    in the document or in the SQL of its migrations."""
    _, answer = await asyncio.to_thread(_validated, body)
    return Json(answer)


@router.post("/foresee", dependencies=[Depends(needs("operator"))], response_model=Foreseen, responses=refusals(413))
async def foresee_plan(body: ValidationBody, request: Request) -> Response:
    """As `validate`, and then asks the systems that the plan names: flags, queries, what each gate can see of each
    step, databases, clusters, and what would stay on a rollback. Nothing is changed, and no command is run."""
    context = context_of(request)
    plan, answer = await asyncio.to_thread(_validated, body)
    is_owners = context.credentials.is_owner(request.state.identity)
    found = await context.service.foresee(_submission(plan, is_owners=is_owners))
    return Json({**answer, "findings": [{**asdict(one), "level": str(one.level)} for one in found]})


def _validated(body: ValidationBody) -> tuple[LoadedPlan, dict[str, Any]]:
    from orchestrator.app import lint_plan
    from stages.load import load_plan
    from stages.problems import InvalidPlan

    def read_file(path: str) -> bytes:
        if path not in body.files:
            raise FileNotFoundError(path)
        return body.files[path].encode()

    plan = load_plan(body.text, body.file, body.variables, body.sets, read_file=read_file)
    linted = lint_plan(plan, body.file, None, Allowance())
    if linted.errors:
        raise InvalidPlan(linted.errors)
    return plan, {
        "plan": plan.name,
        "digest": plan.digest,
        "environments": [environment for environment, _ in plan.documents],
        "warnings": [asdict(warning) for warning in (*plan.warnings, *linted.warnings)],
    }


def _submission(plan: LoadedPlan, *, is_owners: bool) -> Submission:
    from orchestrator.submission import Submission

    documents = tuple(PlanDocument(environment=environment, plan=document) for environment, document in plan.raw)
    return Submission(plan.name, plan.digest, documents, dict(plan.files), is_owners=is_owners)
