"""Measures criteria: PromQL as its server answers it, counters and history likewise, every other source as one number.

A criterion with ``expect`` asks a yes/no question; yes is measured as 1 and no as 0.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

from orchestrator.adapters.check import answer_of
from orchestrator.adapters.expectations import CannotTell, number_of
from orchestrator.adapters.sources import SourceReader, query_found
from orchestrator.errors import RolloutError
from orchestrator.ports import Scene
from stages.checks import Expect, Source, Standing
from stages.criteria.base import NOTHING_WANTED, Measurement, MeasurementState, SeriesValue, Wanted
from stages.criteria.threshold import Threshold

_SEVERITY = (
    MeasurementState.OK,
    MeasurementState.INSUFFICIENT,
    MeasurementState.MISSING,
    MeasurementState.STALE,
    MeasurementState.ERROR,
)


@dataclass(frozen=True, slots=True)
class SourceMeasurer:
    """Implements ``Measurer``."""

    reader: SourceReader

    async def measure(self, source: Source, scene: Scene, at: float, wanted: Wanted = NOTHING_WANTED) -> Measurement:
        """The measurement's ``at`` is *at*; if a server was asked, the whole second before, as of which it answered."""
        asked = [self._measure(source, scene, at)] if source.kind else []
        if not asked or wanted != NOTHING_WANTED:
            asked.append(self.reader.look(wanted, source, scene, at))
        if len(asked) == 1:
            return await self._safely(asked[0], at)
        return _together(await asyncio.gather(*(self._safely(one, at) for one in asked)))

    async def _safely(self, measured: Awaitable[Measurement], at: float) -> Measurement:
        try:
            return await measured
        except (CannotTell, RolloutError) as error:
            detail = self.reader.http.secrets.redactor.redact(str(error))
            return Measurement(MeasurementState.ERROR, at, detail=detail)

    async def _measure(self, source: Source, scene: Scene, at: float) -> Measurement:
        if isinstance(source, Threshold) and source.expect is not None:
            return await self._yes_or_no(source, source.expect, scene, at)
        if source.query is not None:
            return await self.reader.measure_query(source, scene, at)
        found = await self.reader.read(source, scene)
        if found.failed:
            said = f": {found.note}" if found.note else ""
            raise CannotTell(f"{found.failed}{said}")
        if found.numbers is not None:
            series = tuple(SeriesValue(number.labels, number.value, at) for number in found.numbers)
            return Measurement(MeasurementState.OK, at, series)
        if found.rows is not None and found.text in ("", "NULL"):
            return Measurement(MeasurementState.MISSING, at, detail=f"{found.what} is {found.text or 'empty'}")
        return Measurement(MeasurementState.OK, at, (SeriesValue("", number_of(found), at),))

    async def _yes_or_no(self, source: Source, expect: Expect, scene: Scene, at: float) -> Measurement:
        lookback_seconds = 0.0
        if source.query is not None:
            measured = await self.reader.measure_query(source, scene, at)
            at, lookback_seconds, found = measured.at, measured.lookback_seconds, query_found(measured)
        else:
            found = await self.reader.read(source, scene)
        answer = answer_of(expect, found)
        value = 1.0 if answer.standing is Standing.YES else 0.0
        detail = self.reader.http.secrets.redactor.redact(answer.detail)
        return Measurement(MeasurementState.OK, at, (SeriesValue("", value, at),), detail, lookback_seconds)


def _together(parts: Sequence[Measurement]) -> Measurement:
    """One measurement of all *parts*: the worst state, and counts only if that is OK. It reaches back as far as any."""
    worst = max(parts, key=lambda part: _SEVERITY.index(part.state))
    is_whole = worst.state is MeasurementState.OK
    return Measurement(
        state=worst.state,
        at=min(part.at for part in parts),
        series=tuple(entry for part in parts for entry in part.series),
        detail="; ".join(part.detail for part in parts if part.state is worst.state and part.detail),
        lookback_seconds=max(part.lookback_seconds for part in parts),
        counts=tuple(entry for part in parts for entry in part.counts) if is_whole else (),
        past=tuple(entry for part in parts for entry in part.past) if is_whole else (),
    )
