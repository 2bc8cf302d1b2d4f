"""The real `rollout backtest` over the past that a real Prometheus has kept."""

import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.acceptance.worlds.host import Host, Json
from tests.support.process import wait_until
from tests.support.remote_write import Past, PastPrometheus

pytestmark = [pytest.mark.acceptance, pytest.mark.prometheus]
HOUR, SCRAPE = 3600.0, 15
HOURS = 13
PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {{name: shop}}
spec:
  prometheus: {{url: "{url}"}}
  flags: {{checkout: {{}}}}
  gates:
    health:
      criteria:
        - {{name: queue, query: queue_depth, fail: "> 100", for: 2m}}
        - {{name: errors, ratio: {{bad: 'requests_total{{code="500"}}', total: requests_total, at_most: 3%}}}}
  stages:
    - {{name: open, kind: monitoring, flag: checkout, percentages: [5, 50], gate: health, bake: 30m}}
"""


@pytest.fixture(scope="module")
def prometheus(prometheus_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PastPrometheus]:
    """It remembers half a day: a queue that was long at the hours 3.2 to 3.3, errors at 7.2 to 7.5."""
    with PastPrometheus(prometheus_binary, tmp_path_factory.mktemp("past")) as server:
        end = time.time() // 60 * 60
        begin = end - HOURS * HOUR
        queue = level("queue_depth", begin, end, within(begin, 3.2, 3.3, 5, 250))
        server.remember([*requests(begin, end, pods=3), queue])
        yield server


def within(begin: float, first: float, last: float, usual: float, high: float) -> Callable[[float], float]:
    return lambda at: high if first <= (at - begin) / HOUR < last else usual


def level(name: str, begin: float, end: float, value: Callable[[float], float]) -> Past:
    times = [begin + SCRAPE * place for place in range(int((end - begin) / SCRAPE) + 1)]
    return Past({"__name__": name, "job": "shop"}, [(at, value(at)) for at in times])


def requests(begin: float, end: float, pods: int) -> Iterator[Past]:
    """A pod's counters begin anew in the middle."""
    share = within(begin, 7.2, 7.5, 0.01, 0.2)
    for pod in range(pods):
        dice = random.Random(pod)
        counts = {"200": 1000.0, "500": 10.0}
        samples: dict[str, list[tuple[float, float]]] = {code: [] for code in counts}
        for place in range(int((end - begin) / SCRAPE) + 1):
            at = begin + SCRAPE * place + pod
            bad = sum(dice.random() < share(at) for _ in range(50))
            if pod == 0 and place == 1500:
                counts = dict.fromkeys(counts, 0.0)
            counts = {"200": counts["200"] + 50 - bad, "500": counts["500"] + bad}
            for code, count in counts.items():
                samples[code].append((at, count))
        for code, found in samples.items():
            yield Past({"__name__": "requests_total", "job": "shop", "instance": f"pod-{pod}", "code": code}, found)


def plan(host: Host, prometheus: PastPrometheus, url: str | None = None) -> Path:
    return host.write("plan.yaml", PLAN.format(url=url or prometheus.url))


def test_it_says_how_often_gates_failed_and_what_would_have_been_quiet(host: Host, prometheus: PastPrometheus) -> None:
    picture = host.folder / "shop.svg"
    result = host.ok("backtest", plan(host, prometheus), "--last", "12h", "--output", "json", "--plot", picture)
    found: Json = json.loads(result.output)
    (gate,) = found["gates"]
    assert (gate["replayed"], gate["failed"], gate["not_measurable"]) == (12, 2, 0)
    criteria = {one["name"]: one for one in gate["criteria"]}
    assert [criteria[name]["failed"] for name in ("queue", "errors")] == [1, 1]
    assert criteria["queue"]["proposals"][0]["change"] == {"fail": "> 280"}
    quiet = [one for one in criteria["errors"]["proposals"] if not one["failed"] and not one["held"]]
    assert [list(one["change"]) for one in quiet] == [["at_most"]]
    assert 0.008 < criteria["errors"]["values"]["median"] < 0.012  # the reset counts once
    texts = "".join(ET.fromstring(picture.read_text()).itertext())
    assert all(word in texts for word in ("UTC", "a release failed", "fail > 100", "at_most 3%", "1 failed"))


def test_people_read_it_as_a_table_and_as_a_page(host: Host, prometheus: PastPrometheus) -> None:
    said = host.ok("backtest", plan(host, prometheus), "--last", "12h")
    assert "of 12 releases of 1h, one after the other, 2 failed" in said.output
    assert "queue is 250" in said.output
    page = host.ok("backtest", plan(host, prometheus), "--last", "2h", "--gate", "health", "--output", "html").output
    assert page.startswith("<!doctype html>")
    assert "<svg" in page


def test_a_prometheus_that_is_away_at_first_is_waited_for(host: Host, prometheus: PastPrometheus) -> None:
    prometheus.stop()
    try:
        child = host.rollout.start("backtest", plan(host, prometheus), "--last", "2h")
        wait_until(lambda: "asking again in" in child.errors, what="a second try")
    finally:
        prometheus.start()
    assert child.wait() == 0, child.errors
    assert "releases of 1h" in child.output


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    (
        (("--last", "30d"), 1, "has no past of what the gates measure before"),
        (("--last", "a week"), 2, "--last: a duration such as 30s, 5m or 48h is expected, not 'a week'"),
        (("--last", "10s"), 2, "--last 10s is too short"),
        (("--last", "30m"), 2, "a release of stage open takes 1h, longer than the past"),
        (("--gate", "wealth"), 2, "the plan has no gate wealth; it has health"),
        (("--environment", "moon"), 2, "the plan has no environment moon; it has production"),
        (("--plot", "picture.png"), 2, "the file's name ends in .svg"),
        (("--plot", "nowhere/picture.svg"), 2, "there is no folder"),
    ),
)
def test_what_can_not_be_replayed_is_refused_in_a_sentence(
    host: Host, prometheus: PastPrometheus, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    said = host.refused("backtest", plan(host, prometheus), *arguments, code=code)
    assert sentence in said
    assert len(said.strip().splitlines()) == 1
