"""Every refusal in one form: ``{"error": CLASS, "message": SENTENCE, "problems": [...]}``; OFREP's has its own.

What went wrong inside is never shown, only where to look: a message of ours must not carry somebody's secret.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any, Self

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from flags.errors import ErrorCode, FlagError
from orchestrator.api.encoding import Json
from orchestrator.errors import RolloutError, Temporary
from stages.problems import InvalidPlan, path_text

log = structlog.get_logger()

OFREP = "/ofrep/"
MOST_PROBLEMS = 100
_NO_JSON_SENT = ("model_attributes_type", "dict_type", "model_type")


class Unauthorized(RolloutError):
    """A token is needed: send it as `Authorization: Bearer TOKEN`."""

    http_status = 401


class BadRequest(RolloutError):
    """The request can't be understood."""

    http_status = 400


class TooManyRequests(Temporary):
    """Too many requests."""

    http_status = 429


class TooLarge(HTTPException):
    """Raised while a body is read; the framework lets this class alone through from there."""

    def __init__(self, limit_bytes: int) -> None:
        detail = f"The body is larger than {limit_bytes:,} bytes, which is what is accepted here."
        super().__init__(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, {"Connection": "close"})


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer that is no success."""

    status: int
    error: str
    message: str
    problems: tuple[Mapping[str, Any], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_refusal(self) -> bool:
        """Whether somebody may not do this, as against that it can't be done."""
        return self.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is written down of one: *peer* is the address that it came from, *by* who it was, if that is known."""

    method: str
    path: str
    status: int
    why: str
    peer: str
    by: str | None = None

    @classmethod
    def of(cls, failure: Failure, scope: Scope, by: str | None = None) -> Self:
        return cls(scope["method"], scope["path"], failure.status, failure.message, peer_of(scope), by)


def peer_of(scope: Scope) -> str:
    """The address that a request comes from, which is a proxy's where one stands in front."""
    client = scope.get("client")
    return str(client[0]) if client else ""


INTERNAL = Failure(500, "InternalError", "Something went wrong inside the controller; its log says what.")


def respond(failure: Failure, path: str) -> Response:
    body: dict[str, Any] = {"error": failure.error, "message": failure.message}
    if failure.problems:
        body["problems"] = list(failure.problems)
    if path.startswith(OFREP):
        code = ErrorCode.FLAG_NOT_FOUND if failure.status == HTTPStatus.NOT_FOUND else ErrorCode.GENERAL
        body = {"errorCode": code.value, "errorDetails": failure.message}
    return Json(body, failure.status, dict(failure.headers))


def failure_of(error: Exception) -> Failure:
    """What is said of an error of ours. Anything else is ``INTERNAL``."""
    match error:
        case RolloutError():
            return Failure(error.http_status, type(error).__name__, str(error), _problems(error), _headers(error))
        case InvalidPlan():
            return Failure(422, "InvalidPlan", _first_of(error), _problems(error))
        case FlagError():
            return Failure(error.http_status, type(error).__name__, str(error))
        case RequestValidationError():
            return _invalid(error.errors())
        case HTTPException():
            return _of_framework(error)
        case _:
            return INTERNAL


def _first_of(error: InvalidPlan) -> str:
    more = f" (and {len(error.problems) - 1} more)" if len(error.problems) > 1 else ""
    return f"The plan is not valid: {error.problems[0]}{more}"


def _problems(error: Exception) -> tuple[Mapping[str, Any], ...]:
    """Errors about plans carry ``problems``: everything that was found, each with its place."""
    found: Iterable[Any] = getattr(error, "problems", None) or ()
    return tuple(dict(one) if isinstance(one, Mapping) else asdict(one) for one in found)


def _headers(error: RolloutError) -> dict[str, str]:
    if isinstance(error, Unauthorized):
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, Temporary) and error.retry_after_seconds is not None:
        return {"Retry-After": str(max(math.ceil(error.retry_after_seconds), 1))}
    return {}


def _of_framework(error: HTTPException) -> Failure:
    status = HTTPStatus(error.status_code)
    if status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return Failure(status, "TooLarge", error.detail, headers=error.headers or {})
    if status is HTTPStatus.BAD_REQUEST:  # the framework's word for a body that the parser gave up on
        message = "The body can't be read: it is no JSON, nested too deeply, or has too long a number."
        return Failure(status, "BadRequest", message)
    name = "".join(word.capitalize() for word in status.phrase.split())
    return Failure(status, name, error.detail, headers=error.headers or {})


# --- bodies and parameters that are not as they must be ---------------------------------------------------------------


def _invalid(errors: Iterable[Mapping[str, Any]]) -> Failure:
    found = list(errors)[:MOST_PROBLEMS]
    first = found[0]
    if first["type"] == "json_invalid":
        detail = first.get("ctx", {}).get("error", "it ends too early")
        return Failure(400, "BadRequest", f"The body is not JSON: {detail} at character {first['loc'][-1]}.")
    if first["loc"] == ("body",) and isinstance(first.get("input"), bytes) and first["type"] in _NO_JSON_SENT:
        return Failure(415, "UnsupportedMediaType", "The body must be JSON, sent with Content-Type: application/json.")
    problems = tuple({"path": _place(one["loc"]), "message": _sentence(one)} for one in found)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    message = f"The request is not valid: {problems[0]['path']}: {problems[0]['message']}{more}."
    return Failure(422, "InvalidRequest", message, problems)


def _place(loc: tuple[str | int, ...]) -> str:
    return path_text(loc[1:]) if len(loc) > 1 else str(loc[0])


def _sentence(error: Mapping[str, Any]) -> str:
    match error["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "is not known here"
        case "string_pattern_mismatch" if error.get("ctx", {}).get("pattern") == r"\S":
            return "may not be empty"
        case "tuple_type" | "list_type":
            return "a list is expected"
        case "dict_type" | "model_type" | "model_attributes_type":
            return "an object is expected"
        case "too_short":
            return "at least one entry is expected"
        case _:
            message = str(error["msg"])
            return message.removeprefix("Value error, ").removesuffix(".")


# --- registered with the framework ------------------------------------------------------------------------------------


async def _answer(request: Request, error: Exception) -> Response:
    failure = failure_of(error)
    if isinstance(error, HTTPException) and failure.status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        failure = _no_such_route(request)
    if failure.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("request failed", method=request.method, path=request.url.path, error=failure.error)
    actor = getattr(request.state, "actor", None)
    by = actor.name if actor is not None else None
    if failure.is_refusal:
        request.app.state.context.credentials.audit.refused(Refusal.of(failure, request.scope, by))
    if "text/html" in request.headers.get("accept", ""):
        from orchestrator.api.shell import for_person  # it needs what is here

        return for_person(request, failure) or respond(failure, request.url.path)
    return respond(failure, request.url.path)


def _no_such_route(request: Request) -> Failure:
    methods = sorted(_methods_at(request.app.state.routes, request))
    if not methods:
        return Failure(404, "NotFound", f"There is nothing at {request.url.path}; /openapi.json lists what there is.")
    words = " or ".join(methods)
    message = f"{request.method} is not possible at {request.url.path}; {words} is."
    return Failure(405, "MethodNotAllowed", message, headers={"Allow": ", ".join(methods)})


def _methods_at(routes: Iterable[BaseRoute], request: Request) -> set[str]:
    """The framework names only those of the first route that fits the path."""
    fitting = (route for route in routes if route.matches(request.scope)[0] is not Match.NONE)
    return {method for route in fitting for method in getattr(route, "methods", None) or ()}


def install(app: FastAPI, routes: Iterable[BaseRoute]) -> None:
    app.state.routes = tuple(routes)
    for kind in (RolloutError, FlagError, InvalidPlan, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _answer)
