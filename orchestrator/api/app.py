"""The HTTP server's composition: routes, the guard around them, and their description at /openapi.json."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI

from orchestrator.api import (
    approvals,
    assets,
    errors,
    feed,
    flagd,
    flags,
    freezes,
    health,
    ofrep,
    page,
    plans,
    rollback_page,
    runs,
    schedules,
    sign_in,
    token_routes,
)
from orchestrator.api.assets import FOLDER, Bundle
from orchestrator.api.context import ApiContext, Timing
from orchestrator.api.credentials import Credentials
from orchestrator.api.guard import Guard
from orchestrator.api.limits import RateLimit
from orchestrator.api.tokens import TokenStore
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.service import Service

DESCRIPTION = """
Staged rollouts: start plans, watch runs, command them, read and set flags.

Every route under `/api/v1` and the kill switch need `Authorization: Bearer TOKEN`, or the cookie of who signed in to
the pages and, to change something, the session's `X-CSRF-Token`. Roles include those before them:
*viewer* reads, *operator* starts, commands and sets flags, *approver* advances and lifts the kill switch, *admin* does
everything. Evaluation (`/ofrep/v1`) and `/metrics` are open on loopback; beyond it they need a token of any role.

A refusal is `{"error": KIND, "message": SENTENCE}`, with `problems` where several things are wrong at once.
"""

TAGS = [
    {"name": "runs", "description": "One execution of a plan: start, read, follow, command."},
    {"name": "plans", "description": "Whether a plan is valid."},
    {"name": "flags", "description": "Flags for people, and the kill switch."},
    {"name": "freezes", "description": "Nothing goes forward in an environment until a time or a person ends it."},
    {"name": "schedules", "description": "Rounds of checks that are asked at their times, outside of any run."},
    {"name": "evaluation", "description": "OpenFeature Remote Evaluation Protocol 0.3, for applications."},
    {
        "name": "tokens",
        "description": "Who may speak to the controller: made and revoked by an admin, and the log of it.",
    },
    {"name": "operation", "description": "For probes and for Prometheus."},
]


def create_app(
    service: Service,
    tokens: TokenStore | Credentials,
    listen_is_loopback: bool,
    *,
    rate_limit: RateLimit | None = None,
    timing: Timing | None = None,
    pages: Path = FOLDER,
) -> FastAPI:
    """An ASGI application for a service that is open already and is closed by whoever opened it.

    *rate_limit* bounds how often one client evaluates flags, *pages* is where the script of the pages was built. Raises
    UsageError if the server would be open to others without tokens.
    """
    credentials = tokens if isinstance(tokens, Credentials) else Credentials(tokens)
    if not listen_is_loopback and not credentials.may_be_there:
        raise UsageError("Listening beyond loopback needs tokens: give --token-file, or listen on 127.0.0.1.")
    context = ApiContext(service, credentials, listen_is_loopback, rate_limit, bundle=Bundle.read(pages))
    return _assembled(context if timing is None else replace(context, timing=timing))


def _assembled(context: ApiContext) -> FastAPI:
    app = FastAPI(
        title="staged-rollout",
        summary="Takes a change from 0 to 100 %, one gate at a time, and back by itself.",
        description=DESCRIPTION,
        version=_version(),
        openapi_tags=TAGS,
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    app.state.context = context
    api = (runs, approvals, plans, flags, freezes, schedules, ofrep, feed, flagd, token_routes, health)
    routers = [module.router for module in (*api, page, rollback_page, sign_in, assets)]
    for router in routers:
        app.include_router(router)
    errors.install(app, [*app.routes, *(route for router in routers for route in router.routes)])
    app.add_middleware(feed.Shortcut)
    app.add_middleware(Guard, context=context)
    return app


def _version() -> str:
    try:
        return version("staged-rollout")
    except PackageNotFoundError:
        return "0"
