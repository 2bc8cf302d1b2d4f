"""What all routes that serve flags have in common: whose flags are meant, what a client knows already, and what is made
of them once for all who ask.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from starlette.datastructures import QueryParams
from starlette.types import Scope

from flags.values import name
from orchestrator.api.limits import KIB

if TYPE_CHECKING:
    from orchestrator.flag_board import Standing

DEFAULT_ENVIRONMENT: Final = "production"
PIECE_BYTES: Final = 64 * KIB
"""Of an answer or a frame that is larger: what waits in this process for a slow client is a piece of it."""

MANY_FLAGS: Final = 500
"""From so many on, work over all flags of an environment is done beside the event loop: gates and leases must not wait
for it."""

MOST_ENVIRONMENTS: Final = 100
T = TypeVar("T")


def environment_of(scope: Scope) -> str:
    """``?environment=``, else the header ``X-Rollout-Environment``, else the token's own, else ``production``. Raises
    InvalidFlag for what is no name."""
    found = _in_query(scope["query_string"]) or header_of(scope, b"x-rollout-environment")
    return name(found or scope["state"]["environment"] or DEFAULT_ENVIRONMENT, "environment")


@lru_cache(1024)
def _in_query(query: bytes) -> str | None:
    return QueryParams(query).get("environment")


def header_of(scope: Scope, wanted: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == wanted), None)


def parameters(*more: tuple[str, str]) -> dict[str, Any]:
    """For OpenAPI, of a route that takes them by hand: the environment's, and *more* as pairs of place and name."""
    places = (("query", "environment"), ("header", "X-Rollout-Environment"), *more)
    return {
        "parameters": [
            {"name": key, "in": place, "required": place == "path", "schema": {"type": "string"}}
            for place, key in places
        ]
    }


class MadeOnce(Generic[T]):
    """What *make* makes of an environment's flags: once for each version, for the environments asked for lately."""

    def __init__(self, make: Callable[[Standing], T]) -> None:
        self._make = make
        self._latest: OrderedDict[str, tuple[Standing, T]] = OrderedDict()
        self._making = asyncio.Lock()

    async def of(self, standing: Standing) -> T:
        known = self._known(standing)
        if known is None:
            async with self._making:
                known = self._known(standing)
                if known is None:
                    known = standing, await self._made(standing)
                    self._latest[standing.feed.environment] = known
                    if len(self._latest) > MOST_ENVIRONMENTS:
                        self._latest.popitem(last=False)
        return known[1]

    def _known(self, standing: Standing) -> tuple[Standing, T] | None:
        known = self._latest.get(standing.feed.environment)
        if known is None or known[0].feed.version != standing.feed.version:
            return None
        self._latest.move_to_end(standing.feed.environment)
        return known

    async def _made(self, standing: Standing) -> T:
        if len(standing.feed.documents) < MANY_FLAGS:
            return self._make(standing)
        return await asyncio.to_thread(self._make, standing)
