"""The client that gates, triggers and checks measure with."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from orchestrator.adapters.http_client import HttpClient
from orchestrator.adapters.prometheus import history
from orchestrator.adapters.prometheus.answers import UnusableAnswer
from orchestrator.adapters.prometheus.api import Api, Server, end, noticed, too_late
from orchestrator.adapters.prometheus.counting import Counted, count
from orchestrator.adapters.prometheus.instant import lookback_of, measure_query
from orchestrator.adapters.prometheus.line import Patience
from orchestrator.adapters.prometheus.once import OncePerSecond
from orchestrator.errors import RolloutError
from stages.criteria.base import Measurement, MeasurementState, Past, Wanted
from stages.values import Json


class PrometheusClient:
    """Measures PromQL and counters. For one event loop; ``close`` ends what is still being asked."""

    def __init__(self, http: HttpClient, now: Callable[[], float] = time.time) -> None:
        """*now* is the wall clock that the servers' clocks should show as well."""
        self._api = Api(http, now)
        self._measured = OncePerSecond[asyncio.Task[Measurement]](asyncio.Task.done)

    async def measure(
        self, query: str, settings: Mapping[str, Json], at: float, directory: str | None = None
    ) -> Measurement:
        """What *query* is at *at*, by a server with these *settings* (of ``stages.plan.Prometheus``, as JSON).

        The measurement's ``at`` is the time of evaluation, the whole second before. Never raises but when cancelled.
        All who ask the same as of the same second are given the same; who is cancelled leaves it to the others.
        """
        server, second = Server.of(settings, directory), float(math.floor(at))
        task = self._measured.get((server.key, query), second, lambda: self._begin(server, query, second))
        return task.result() if task.done() and not task.cancelled() else await asyncio.shield(task)

    async def look(
        self, wanted: Wanted, settings: Mapping[str, Json], at: float, directory: str | None = None
    ) -> Measurement:
        """What is *wanted* at a look at *at*: all of it within the server's time limit (``Patience``), or none of it.

        The lookback reaches to where the counted interval begins; where nothing is counted, over one scrape: so far
        back everything was counted before. The measurement's ``at`` is the whole second before. Never raises but when
        cancelled.
        """
        server, second = Server.of(settings, directory), float(math.floor(at))
        measured = await self._safely(server, second, self._looked(server, wanted, second))
        begin = wanted.counting.from_ if wanted.counting is not None else second - server.scrape_seconds
        return replace(measured, lookback_seconds=max(second - begin, 0.0))

    async def close(self) -> None:
        await end(self._measured.take_all())
        await self._api.close()

    def _begin(self, server: Server, query: str, second: float) -> asyncio.Task[Measurement]:
        task = asyncio.create_task(self._measure(server, query, second), name=f"measure {query[:40]}")
        task.add_done_callback(noticed)
        return task

    async def _measure(self, server: Server, query: str, second: float) -> Measurement:
        measured = await self._safely(server, second, measure_query(self._api, server, query, second))
        return replace(measured, lookback_seconds=lookback_of(server, query))

    async def _looked(self, server: Server, wanted: Wanted, second: float) -> Measurement:
        counted, past = await asyncio.gather(self._counted(server, wanted, second), self._past(server, wanted, second))
        if counted.state is not MeasurementState.OK:
            return Measurement(counted.state, second, detail=counted.detail)
        return Measurement(MeasurementState.OK, second, counts=counted.counts, past=past)

    async def _past(self, server: Server, wanted: Wanted, second: float) -> tuple[Past, ...]:
        found = await asyncio.gather(*(history.ask(self._api, server, one, second) for one in wanted.history))
        return tuple(past for values in found for past in values)

    async def _counted(self, server: Server, wanted: Wanted, second: float) -> Counted:
        if wanted.counting is None:
            return Counted(MeasurementState.OK)
        return await count(self._api, server, wanted.counting, second)

    async def _safely(self, server: Server, second: float, measured: Awaitable[Measurement]) -> Measurement:
        """*measured*, or why it could not be, within the server's time limit (``Patience``) and without secrets."""
        try:
            async with Patience(server.settings.timeout):
                found = await measured
        except TimeoutError:
            found = Measurement(MeasurementState.ERROR, second, detail=f"{server.name} {too_late(server)}")
        except UnusableAnswer as error:
            found = Measurement(MeasurementState.ERROR, second, detail=f"{server.name} {error}")
        except (RolloutError, ValueError) as error:  # ValueError: the server's address is none
            found = Measurement(MeasurementState.ERROR, second, detail=f"Prometheus could not be asked: {error}")
        return replace(found, detail=self._api.http.secrets.redactor.redact(found.detail))
