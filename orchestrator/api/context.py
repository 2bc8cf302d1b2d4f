"""What every route needs: the service, who may speak, and where the server listens."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from fastapi import Request

from orchestrator.api.credentials import Credentials
from orchestrator.api.limits import Places, RateLimit
from orchestrator.api.timelines import Timelines

if TYPE_CHECKING:
    from orchestrator.api.assets import Bundle
    from orchestrator.service import Service


@dataclass(frozen=True, slots=True)
class Timing:
    """Of event streams. ``stalled_seconds``: a client that takes nothing for so long is dropped."""

    heartbeat_seconds: float = 15.0
    stalled_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class ApiContext:
    """``streams``: event streams that are open now. ``bundle``: the script of the pages, if it was built."""

    service: Service
    credentials: Credentials
    listen_is_loopback: bool
    rate_limit: RateLimit | None = None
    timing: Timing = field(default_factory=Timing)
    streams: Places = field(default_factory=lambda: Places(1000))
    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    bundle: Bundle | None = None
    timelines: Timelines = field(default_factory=Timelines)


def context_of(request: Request) -> ApiContext:
    return cast(ApiContext, request.app.state.context)
