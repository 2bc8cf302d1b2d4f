"""What else speaks Prometheus' HTTP API, beside a Prometheus that was told the same.

ROLLOUT_COMPATIBLE_URL is where a plan would ask it, ROLLOUT_COMPATIBLE_WRITE where a Prometheus would write to it
(remote_write). Without them nothing is run. A server may be used again and again: series have a job of their own. A
query-frontend of Thanos passes with --no-query-range.align-range-with-step.

    victoria-metrics -httpListenAddr=127.0.0.1:8428
    ROLLOUT_COMPATIBLE_URL=http://127.0.0.1:8428 ROLLOUT_COMPATIBLE_WRITE=http://127.0.0.1:8428/api/v1/write \
        .venv/bin/pytest tests/acceptance/test_compatible.py
"""

import os
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.adapters.http_client import HttpClient
from orchestrator.adapters.prometheus import PrometheusClient
from orchestrator.adapters.prometheus.archive import PrometheusArchive
from orchestrator.adapters.secrets import Secrets
from orchestrator.ports import PastSeries
from stages.criteria.base import Counting, History, Measurement, MeasurementState, Wanted
from tests.acceptance.worlds.host import Host
from tests.support.process import DEADLINE_SECONDS, wait_until
from tests.support.remote_write import Past, PastPrometheus, write

URL, WRITE = os.environ.get("ROLLOUT_COMPATIBLE_URL", ""), os.environ.get("ROLLOUT_COMPATIBLE_WRITE", "")
if not (URL and WRITE):
    pytest.skip("ROLLOUT_COMPATIBLE_URL and ROLLOUT_COMPATIBLE_WRITE name no server", allow_module_level=True)
pytestmark = [pytest.mark.acceptance, pytest.mark.prometheus]
STATE = MeasurementState
SCRAPE, PAST_SECONDS = 5, 1200.0
(ENDED,) = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))  # what Prometheus writes after a last sample
PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {{name: gated}}
spec:
  prometheus: {{url: "{url}", scrape_interval: {scrape}s}}
  flags: {{gated: {{}}}}
  gates:
    health:
      every: {scrape}s
      warmup: 5s
      criteria:
        - {{name: level, query: 'level{{job="{job}"}}', fail: "> 10"}}
        - name: errors
          ratio: {{bad: 'live_total{{job="{job}",code="500"}}', total: 'live_total{{job="{job}"}}', at_most: 5%}}
          for: 10s
  stages:
    - {{name: only, kind: monitoring, flag: gated, percentages: [100], gate: health, bake: {bake}, settle: 0s}}
  watch: 1s
"""


@dataclass(frozen=True, slots=True)
class Twins:
    """Two servers, *urls*, that know the same series of *job* until *end*, a whole second."""

    urls: tuple[str, str]
    job: str
    end: float

    def of(self, name: str) -> str:
        return f'{name}{{job="{self.job}"}}'

    async def look(self, wanted: Wanted) -> list[Measurement]:
        client = PrometheusClient(HttpClient(Secrets(environ={})))
        try:
            return [await client.look(wanted, settings(url), time.time()) for url in self.urls]
        finally:
            await client.close()

    async def measure(self, query: str) -> list[Measurement]:
        client = PrometheusClient(HttpClient(Secrets(environ={})))
        try:
            return [await client.measure(query, settings(url), self.end) for url in self.urls]
        finally:
            await client.close()


def settings(url: str) -> dict[str, Any]:
    return {"url": url, "timeout": "10s", "scrape_interval": f"{SCRAPE}s"}


@pytest.fixture(scope="module")
def twins(prometheus_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    job, end = f"compatible-{uuid.uuid4().hex[:8]}", float(time.time() // 1)
    with PastPrometheus(prometheus_binary, tmp_path_factory.mktemp("twin")) as prometheus:
        past = the_past(job, end)
        prometheus.remember(past)
        write(WRITE, past)
        twins = Twins((prometheus.url, URL), job, end)
        wait_until(lambda: samples_of(twins.of("level"), end), what=f"{URL} to show what it was told")
        yield twins


def samples_of(selector: str, end: float) -> Any:
    asked = {"query": f"{selector}[{SCRAPE - 1}s]", "time": str(end)}
    answer = httpx.get(f"{URL}/api/v1/query", params=asked, trust_env=False).raise_for_status()
    return answer.json()["data"]["result"]


def the_past(job: str, end: float) -> list[Past]:
    """A counter that begins anew, a series that is new, one that ends, a target that was away, and levels."""
    times = [end - PAST_SECONDS + at for at in range(0, int(PAST_SECONDS) + 1, SCRAPE)]

    def series(name: str, labels: dict[str, str], value: Callable[[float], float | None]) -> Past:
        samples = [(at, value(at - end)) for at in times]
        return Past(
            {"__name__": name, "job": job, **labels}, [(at, found) for at, found in samples if found is not None]
        )

    return [
        *(series("up", {"instance": instance}, lambda _: 1.0) for instance in "ab"),
        series("events_total", {"instance": "a"}, lambda at: 9000 + at if at < -600 else 603 + at),
        series("events_total", {"instance": "b"}, lambda at: 70_000 + 2 * at if at < -400 or at > -200 else None),
        series("errors_total", {"instance": "a"}, lambda at: 300 + at if at > -290 else None),
        series("ended_total", {"instance": "b"}, lambda at: 5000 + at if at < -100 else ENDED if at == -100 else None),
        series("queue", {"instance": "a"}, lambda at: 2.0 if at > -15 else 1.0),
        series("ended", {"instance": "b"}, lambda at: 1.0 if at < -20 else ENDED if at == -20 else None),
        series("level", {}, lambda _: 1.0),
    ]


async def test_a_query_is_evaluated_at_the_time_that_is_asked_for(twins: Twins) -> None:
    """Its value has changed 15 s ago, and a series has ended 20 s ago. First, as it is about the last half minute."""
    for query in (twins.of("queue"), f"sum({twins.of('queue')})", f"max_over_time({twins.of('queue')}[10s])"):
        for measured in await twins.measure(query):
            assert [one.value for one in measured.series] == [2], (query, measured)
            assert measured.state is STATE.OK
    assert [one.state for one in await twins.measure(f"sum({twins.of('ended')})")] == [STATE.MISSING, STATE.MISSING]


@pytest.mark.parametrize(
    ("from_", "to"), ((-1100, -5), (-700, -500), (-450, -390), (-390, -150), (-300, -100), (-120, -80), (-60, -5))
)
async def test_counts_are_those_of_prometheus(twins: Twins, from_: float, to: float) -> None:
    selectors = {name: twins.of(f"{name}_total") for name in ("events", "errors", "ended")}
    theirs, found = await twins.look(Wanted(Counting(selectors, twins.end + from_, twins.end + to, ("instance",))))
    assert found.state is theirs.state is STATE.OK, (found.detail, theirs.detail)
    assert found.counts == theirs.counts
    assert sum(one.value for one in found.counts) > 0


async def test_what_is_not_there_is_missing_and_what_is_no_query_is_refused(twins: Twins) -> None:
    wanted = Wanted(Counting({"it": twins.of("nowhere_total")}, twins.end - 60, twins.end))
    assert [one.state for one in await twins.look(wanted)] == [STATE.MISSING, STATE.MISSING]
    assert [one.state for one in await twins.measure(twins.of("nowhere"))] == [STATE.MISSING, STATE.MISSING]
    for wrong in (f"sum({twins.of('queue')}", f"nosuchfunction({twins.of('queue')})"):
        for measured in await twins.measure(wrong):
            assert measured.state is STATE.ERROR
            assert "refuses the query" in measured.detail


@pytest.mark.parametrize(("span", "step"), ((45, 5.0), (1100, 5.0), (1100, 7.0), (900, 300.0)))
async def test_a_past_is_that_of_prometheus(twins: Twins, span: float, step: float) -> None:
    expression = f"max by (instance) ({twins.of('queue')} or {twins.of('ended_total')})"
    history = History("it", expression, twins.end - span, twins.end, step, ("instance",))
    theirs, found = await twins.look(Wanted(history=(history,)))
    assert found.state is theirs.state is STATE.OK, (found.detail, theirs.detail)
    assert sorted(found.past, key=repr) == sorted(theirs.past, key=repr)


async def test_a_backtest_reads_the_same_of_both(twins: Twins) -> None:
    read: list[list[Any]] = []
    for url in twins.urls:
        archive = PrometheusArchive(HttpClient(Secrets(environ={})), settings(url))
        names = ("events_total", "errors_total", "ended_total")
        rises = [one for name in names for one in await archive.rises(twins.of(name), twins.end - 1100, twins.end)]
        values = await archive.values(twins.of("queue"), twins.end - 1101, twins.end, 7.0)
        read.append([*sorted(map(told, rises)), *map(told, values)])
        await archive.close()
    assert read[0] == read[1]


def told(series: PastSeries) -> tuple[str, list[tuple[float, float]]]:
    name = f"{series.labels.get('__name__')} {series.labels.get('instance')}"
    return name, list(zip(series.times.tolist(), series.values.tolist(), strict=True))


class Live:
    """Writes ten events a second until it is left, of which *bad_of_ten* are bad."""

    def __init__(self, job: str) -> None:
        self.bad_of_ten = 0
        self._job, self._stop = job, threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> "Live":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _write(self) -> None:
        counts = {"200": 1000.0, "500": 10.0}
        while not self._stop.wait(1.0):
            counts["500"] += self.bad_of_ten
            counts["200"] += 10 - self.bad_of_ten
            at = time.time()
            live = [
                Past({"__name__": "live_total", "job": self._job, "code": code}, [(at, counts[code])])
                for code in counts
            ]
            write(WRITE, [*live, Past({"__name__": "level", "job": self._job}, [(at, 1.0)])])


@pytest.mark.slow
def test_a_run_is_promoted_and_another_is_rolled_back(host: Host, twins: Twins) -> None:
    with Live(twins.job) as live:
        good = host.write("good.yaml", PLAN.format(url=URL, job=twins.job, scrape=SCRAPE, bake="10s"))
        child, run = host.started(good)
        assert child.wait(2 * DEADLINE_SECONDS) == 0, child.output
        assert host.json("status", run)["outcome"] == "promoted"
        evil = host.write("evil.yaml", PLAN.format(url=URL, job=twins.job, scrape=SCRAPE, bake="10m"))
        child, run = host.started(evil)
        host.wait_for(run, leg="baking")
        live.bad_of_ten = 5
        assert child.wait(2 * DEADLINE_SECONDS) == 3, child.output
        assert "errors:" in host.ok("report", run).output
