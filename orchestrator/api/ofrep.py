"""OpenFeature Remote Evaluation Protocol 0.3 over HTTP: ``flags.ofrep`` answers, this carries its bytes.

Which environment is asked: ``?environment=``, else the header ``X-Rollout-Environment``, else the token's own, else
``production``. Who may ask is in ``auth.py``, what browsers of other origins are allowed in ``guard.py``.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response

from flags.ofrep import Answer, evaluate_bulk, evaluate_single, too_many_requests
from orchestrator.api.context import context_of

router = APIRouter(prefix="/ofrep/v1/evaluate/flags", tags=["evaluation"])

DEFAULT_ENVIRONMENT = "production"
EnvironmentQuery = Annotated[str | None, Query(alias="environment", max_length=200)]
EnvironmentHeader = Annotated[str | None, Header(alias="X-Rollout-Environment", max_length=200)]

_CONTEXT: dict[str, Any] = {
    "requestBody": {
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "context": {
                            "type": "object",
                            "properties": {"targetingKey": {"type": "string"}},
                            "additionalProperties": True,
                        }
                    },
                },
                "example": {"context": {"targetingKey": "user-1", "country": "DE"}},
            }
        }
    }
}


def _answers(**more: str) -> dict[int | str, dict[str, Any]]:
    both = {
        "400": "`{key, errorCode, errorDetails}`: the context is no context, or lacks its targetingKey",
        "401": "`{errorCode, errorDetails}`: a valid token is needed",
        "413": "`{errorCode, errorDetails}`: the context is too large",
        "422": "`{errorCode, errorDetails}`: the environment has no possible name",
        "429": "`{errorDetails}` and Retry-After",
        "500": "`{errorDetails}`",
    }
    return {int(status): {"description": words} for status, words in (both | more).items()}


@router.post(
    "", openapi_extra=_CONTEXT, responses=_answers(**{"200": "`{flags, metadata}` with an ETag", "304": "As before"})
)
async def evaluate_all(
    request: Request,
    environment: EnvironmentQuery = None,
    environment_header: EnvironmentHeader = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """All flags for one context."""
    refused = _over_limit(request)
    if refused is not None:
        return _response(refused)
    snapshot = context_of(request).service.snapshot(_environment(request, environment, environment_header))
    return _response(evaluate_bulk(snapshot, await request.body(), if_none_match))


@router.post(
    "/{key:path}",
    openapi_extra=_CONTEXT,
    responses=_answers(
        **{"200": "`{key, value, reason, variant, metadata}`", "404": "`{key, errorCode, errorDetails}`: no such flag"}
    ),
)
async def evaluate_one(
    key: str,
    request: Request,
    environment: EnvironmentQuery = None,
    environment_header: EnvironmentHeader = None,
) -> Response:
    """One flag for one context. The key may have slashes in it."""
    refused = _over_limit(request)
    if refused is not None:
        return _response(refused)
    snapshot = context_of(request).service.snapshot(_environment(request, environment, environment_header))
    return _response(evaluate_single(snapshot, key, await request.body()))


def _environment(request: Request, query: str | None, header: str | None) -> str:
    return query or header or request.state.environment or DEFAULT_ENVIRONMENT


def _over_limit(request: Request) -> Answer | None:
    context = context_of(request)
    if context.rate_limit is None:
        return None
    client = request.client.host if request.client is not None else ""
    wait_seconds = context.rate_limit.wait_seconds(client, context.monotonic())
    return too_many_requests(wait_seconds) if wait_seconds else None


def _response(answer: Answer) -> Response:
    return Response(answer.content, answer.status, dict(answer.headers))
