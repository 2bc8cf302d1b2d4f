"""Gates held against a real Prometheus that remembers a day: what is asked is understood, and the numbers come out."""

import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flags.exposure_names import ARM, BAND, BAND_ENDS, BANDS, FLAG, OUTCOME, VARIANT
from orchestrator.adapters.http_client import HttpClient
from orchestrator.adapters.measure import SourceMeasurer
from orchestrator.adapters.prometheus import PrometheusClient
from orchestrator.adapters.secrets import Secrets
from orchestrator.adapters.sources import SourceReader
from orchestrator.errors import Temporary
from orchestrator.findings import Finding, Level
from orchestrator.ports import scene_of
from orchestrator.survey_gates import survey_gates
from stages.compile import compile_plan
from stages.plan import StagedRollout
from tests.orchestrator.core.drive import plan_of
from tests.support.remote_write import Past, PastPrometheus

DAY_SECONDS, SCRAPE_SECONDS = 86_400, 60
EVENTS_PER_SECOND, BAD_SHARE = 200.0, 0.01
WIDTHS = [end - begin for end, begin in zip(BAND_ENDS, (0.0, *BAND_ENDS), strict=False)]


@pytest.fixture(scope="module")
def end() -> float:
    return float(math.floor(time.time()))


@pytest.fixture(scope="module")
def prometheus(
    prometheus_binary: Path, tmp_path_factory: pytest.TempPathFactory, end: float
) -> Iterator[PastPrometheus]:
    with PastPrometheus(prometheus_binary, tmp_path_factory.mktemp("past")) as server:
        server.remember([*_exposure(end), *_service(end), *_durations(end)])
        yield server


def _counter(end: float, per_second: float, seed: int, **labels: str) -> Past:
    """A Poisson stream's counter over the day."""
    random = np.random.default_rng(seed)
    times = np.arange(end - DAY_SECONDS, end + 1, SCRAPE_SECONDS)
    values = np.cumsum(random.poisson(per_second * SCRAPE_SECONDS, times.size))
    return Past(labels, [(float(at), float(value)) for at, value in zip(times, values, strict=True)])


def _exposure(end: float) -> Iterator[Past]:
    for index, (band, width) in enumerate(zip(BANDS, WIDTHS, strict=True)):
        for outcome, share in (("ok", 1 - BAD_SHARE), ("error", BAD_SHARE)):
            labels = {FLAG: "beta", VARIANT: "off", ARM: "control", BAND: band, OUTCOME: outcome}
            rate = EVENTS_PER_SECOND * width / 100 * share
            yield _counter(end, rate, 100 + 2 * index + len(outcome), __name__="rollout_exposures_total", **labels)


def _service(end: float) -> Iterator[Past]:
    for track, rate in (("canary", 5.0), ("stable", 45.0)):
        yield _counter(end, rate, len(track), __name__="http_requests_total", track=track, code="200")
        yield _counter(end, rate / 100, 9 + len(track), __name__="http_requests_total", track=track, code="500")
    times = [end - at for at in range(2400, -1, -SCRAPE_SECONDS)]
    yield Past({"__name__": "going"}, [(at, float(index % 2)) for index, at in enumerate(times)])
    yield Past({"__name__": "old"}, [(end - 400, 5.0), (end - 200, 6.0)])


def _durations(end: float) -> Iterator[Past]:
    for track, rate in (("canary", 5.0), ("stable", 45.0)):
        for le, share in (("0.1", 0.5), ("0.5", 0.9), ("1", 0.99), ("+Inf", 1.0)):
            rates = {"__name__": "seconds_bucket", "track": track, "le": le}
            yield _steady(end, rate * share, rates)
        yield _steady(end, rate, {"__name__": "seconds_count", "track": track})
    yield _steady(end, 1.0, {"__name__": "summed_count", "track": "stable"})


def _steady(end: float, per_second: float, labels: dict[str, str]) -> Past:
    times = range(0, DAY_SECONDS + 1, SCRAPE_SECONDS)
    return Past(labels, [(end - DAY_SECONDS + at, per_second * at) for at in times])


class _Away:
    async def observe(self, _observation: Any, _scene: Any) -> Any:
        raise Temporary("no flags here")


async def surveyed(prometheus: PastPrometheus, end: float, criterion: dict[str, Any]) -> list[Finding]:
    written = {
        "prometheus": {"url": prometheus.url, "scrape_interval": f"{SCRAPE_SECONDS}s"},
        "flags": {"beta": {}},
        "gates": {"health": {"every": "60s", "criteria": [{"name": "it", "for": "60s", **criterion}]}},
        "stages": [
            {
                "name": "open",
                "kind": "monitoring",
                "flag": "beta",
                "percentages": [5, 25],
                "bake": "20m",
                "gate": "health",
            }
        ],
    }
    program = compile_plan([("production", StagedRollout.model_validate(plan_of(written)))], "d", {})
    client = PrometheusClient(HttpClient(Secrets(environ={})))
    nothing: Any = None
    measurer = SourceMeasurer(SourceReader(HttpClient(Secrets(environ={})), client, nothing, nothing, nothing))
    clock = SimpleNamespace(now=lambda: end)
    world: Any = SimpleNamespace(clock=clock, observers={"observe_flag": _Away()}, measurer=measurer)
    try:
        return await survey_gates(program, program.environments[0], world, scene_of(program, "production"))
    finally:
        await client.close()


def sentences(found: list[Finding], level: Level) -> list[str]:
    return [one.sentence for one in found if one.level is level]


async def test_the_arms_of_a_flag_are_added_up_from_its_bands(prometheus: PastPrometheus, end: float) -> None:
    found = await surveyed(prometheus, end, {"compare": {"max_increase": "5%"}})
    assert [one for one in found if one.level is not Level.NOTE] == []
    (seen,) = [one for one in sentences(found, Level.NOTE) if "it sees" in one]
    match = re.fullmatch(
        r"at ([\d.]+) events/s with 1 % bad it sees ([\d.]+)x at 5 % within 20m, ([\d.]+)x at 25 % within 20m", seen
    )
    assert match is not None, seen
    assert float(match[1]) == pytest.approx(EVENTS_PER_SECOND, rel=0.05)
    assert 1.1 < float(match[3]) < float(match[2]) < 2.5


async def test_arms_by_labels_are_counted_apart(prometheus: PastPrometheus, end: float) -> None:
    criterion = {
        "standard": "http-errors",
        "selector": "{}",
        "arms": {"canary": '{track="canary"}', "control": '{track="stable"}'},
    }
    found = await surveyed(prometheus, end, criterion)
    assert [one for one in found if one.level is not Level.NOTE] == []
    assert re.search(r"at 5[01] events/s with (0\.99|1) % bad it sees", sentences(found, Level.NOTE)[0])


async def test_edges_of_a_histogram_are_found(prometheus: PastPrometheus, end: float) -> None:
    arms = {"canary": '{track="canary"}', "control": '{track="stable"}'}
    found = await surveyed(prometheus, end, {"latency": {"histogram": "seconds", "arms": arms}})
    notes = sentences(found, Level.NOTE)
    assert any("of events slower than 0.5: at 50 events/s with 10 % bad" in one for one in notes)
    assert any("of events slower than 1: at 50 events/s with 1 % bad" in one for one in notes)
    (error,) = sentences(
        await surveyed(prometheus, end, {"latency": {"histogram": "summed", "arms": arms}}), Level.ERROR
    )
    assert "summed_bucket has no series, though summed_count has: a summary" in error


async def test_a_share_is_held_against_its_bound(prometheus: PastPrometheus, end: float) -> None:
    found = await surveyed(prometheus, end, {"standard": "http-errors", "selector": "{}", "at_most": "2%"})
    assert any(re.search(r"it sees [23](\.\d)? % at 5 % within 20m", one) for one in sentences(found, Level.NOTE))


@pytest.mark.parametrize(
    ("total", "words"),
    (
        ("going", "going went down 20 times within the hour, but counters only rise"),
        ("old", "the newest sample is 200s old, more than two scrapes of 1m"),
        ("nowhere", "the counter of all events nowhere has no series now"),
    ),
)
async def test_what_is_no_living_counter_is_told(
    prometheus: PastPrometheus, end: float, total: str, words: str
) -> None:
    found = await surveyed(
        prometheus, end, {"ratio": {"bad": f'{total}{{code="500"}}', "total": total, "at_most": "1%"}}
    )
    assert any(words in one for one in sentences(found, Level.WARNING)), found


async def test_a_server_that_is_away_is_an_error(prometheus: PastPrometheus, end: float) -> None:
    away = SimpleNamespace(url="http://127.0.0.1:9")
    found = await surveyed(away, end, {"compare": {}})  # type: ignore[arg-type]
    (error,) = sentences(found, Level.ERROR)
    assert error.startswith("it can't be measured: ")
