"""Plans: whether one is valid, said by the controller that would run it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from fastapi import APIRouter
from fastapi.responses import Response

from orchestrator.allowance import Allowance
from orchestrator.api.auth import READS
from orchestrator.api.bodies import Valid, ValidationBody, refusals
from orchestrator.api.encoding import Json

router = APIRouter(prefix="/api/v1/plans", tags=["plans"])


@router.post("/validate", dependencies=[READS], response_model=Valid, responses=refusals(413))
async def validate_plan(body: ValidationBody) -> Response:
    """The document and its files: nothing is asked of the systems that it names. 422 lists every problem at its place,
    in the document or in the SQL of its migrations."""
    return await asyncio.to_thread(_validate, body)


def _validate(body: ValidationBody) -> Response:
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
    return Json(
        {
            "plan": plan.name,
            "digest": plan.digest,
            "environments": [environment for environment, _ in plan.documents],
            "warnings": [asdict(warning) for warning in (*plan.warnings, *linted.warnings)],
        }
    )
