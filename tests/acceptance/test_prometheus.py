"""Gates on a real Prometheus, through everything that may happen to it.

ROLLOUT_OUTAGE_SECONDS is how long it is away in the middle of a gate (20 unless it says otherwise).
"""

import os
import time
from pathlib import Path

import pytest

from tests.acceptance.worlds.host import Host, Json, reasons
from tests.support.metrics_app import MetricsApp
from tests.support.process import wait_until
from tests.support.prometheus import Prometheus

pytestmark = [pytest.mark.acceptance, pytest.mark.prometheus]
OUTAGE_SECONDS = float(os.environ.get("ROLLOUT_OUTAGE_SECONDS", "20"))

PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {{name: {name}}}
spec:
  prometheus: {{url: "{url}", timeout: 1s, scrape_interval: 1s}}
  flags: {{{name}: {{}}}}
  gates:
    health:
      every: 500ms
      criteria:
        - {{name: error rate, query: error_rate, pass: "< 10%", fail: "> 50%", for: {for_}}}
  stages:
    - {{name: only, kind: monitoring, flag: {name}, percentages: [20, 100], gate: health, bake: {bake}, settle: 0s}}
  watch: 500ms
"""


def plan(host: Host, prometheus: Prometheus, *, name: str = "gated", bake: str = "1s", for_: str = "0s") -> Path:
    return host.write(f"{name}.yaml", PLAN.format(name=name, url=prometheus.url, bake=bake, for_=for_))


def criterion(status: Json) -> Json:
    found: Json = status["gate"]["criteria"][0]
    return found


def test_a_gate_that_passes_leads_to_the_end(host: Host, prometheus: Prometheus) -> None:
    child, run = host.started(plan(host, prometheus))
    assert child.wait() == 0, child.output
    assert host.json("flag", "get", "gated")["percentage"] == 100
    assert host.json("status", run)["outcome"] == "promoted"


def test_a_gate_that_fails_takes_the_run_back_and_says_on_which_value(
    host: Host, prometheus: Prometheus, metrics_app: MetricsApp
) -> None:
    child, run = host.started(plan(host, prometheus, bake="10m", for_="1s"))
    host.wait_for(run, leg="baking")
    metrics_app.set("error_rate", 0.75)
    assert child.wait() == 3, child.output
    flag = host.json("flag", "get", "gated")
    assert (flag["state"], flag["percentage"]) == ("disabled", 0)
    (failed,) = [entry for entry in host.json("history", run) if entry["type"] == "GateFailed"]
    assert "0.75" in str(failed["data"]["evidence"])
    assert "0.75" in host.ok("report", run).output


def test_a_value_between_pass_and_fail_holds_and_moves_nothing(
    host: Host, prometheus: Prometheus, metrics_app: MetricsApp
) -> None:
    metrics_app.set("error_rate", 0.3)
    prometheus.wait_for("min_over_time(error_rate[3s]) > 0.2")  # a look is up to a second behind
    child, run = host.started(plan(host, prometheus))
    status = host.wait_for(run, hold="inconclusive")
    assert criterion(status)["verdict"] == "inconclusive"
    metrics_app.set("error_rate", 0.0)
    assert child.wait() == 0
    raised = [entry for entry in host.json("history", run) if entry["type"] == "EffectFinished"]
    assert len(raised) == 2


def test_nan_never_passes_and_infinity_is_beyond_every_bound(
    host: Host, prometheus: Prometheus, metrics_app: MetricsApp
) -> None:
    child, run = host.started(plan(host, prometheus, bake="4s"))
    host.wait_for(run, leg="baking")
    metrics_app.set("error_rate", float("nan"))
    # a scrape that comes too late has no series, which is inconclusive as well
    wait_until(lambda: "NaN" in criterion(host.wait_for(run, hold="inconclusive"))["sentence"], what="NaN to be seen")
    assert host.json("flag", "get", "gated")["percentage"] == 20
    metrics_app.set("error_rate", float("inf"))
    assert child.wait() == 3, child.output


def test_a_gate_that_fails_already_holds_its_stage_before_anything_is_changed(
    host: Host, prometheus: Prometheus, metrics_app: MetricsApp
) -> None:
    metrics_app.set("error_rate", 0.9)
    prometheus.wait_for("min_over_time(error_rate[3s]) > 0.8")  # a look is up to a second behind
    _, run = host.started(plan(host, prometheus))
    status = host.wait_for(run, hold="failing")
    assert "error rate is 0.9" in status["holds"][0]["detail"]
    assert status["percentages"] == {"gated": 0.0}


@pytest.mark.slow
@pytest.mark.timeout(OUTAGE_SECONDS + 300)
def test_while_prometheus_is_away_in_mid_gate_the_run_holds_says_so_and_goes_on_after_its_return(
    host: Host, prometheus: Prometheus
) -> None:
    child, run = host.started(plan(host, prometheus, bake="6s"))
    host.wait_for(run, leg="baking")
    prometheus.stop()
    status = host.wait_for(run, hold="inconclusive")
    (hold,) = status["holds"]
    assert "Prometheus" in hold["detail"]
    assert prometheus.url in criterion(status)["sentence"]
    assert "inconclusive" in host.ok("status", run).output

    until = time.monotonic() + OUTAGE_SECONDS
    while time.monotonic() < until:
        status = host.status(run) or {}
        assert (status["phase"], status["leg"], status["step"]) == ("running", "baking", "20%")
        assert status["percentages"] == {"gated": 20.0}
        assert reasons(status) == {"inconclusive"}
        time.sleep(0.5)
    assert host.json("flag", "get", "gated")["percentage"] == 20

    prometheus.start()
    returned = time.monotonic()
    host.wait_for(run, holds=[])
    print(f"away for {OUTAGE_SECONDS:g} s; goes on {time.monotonic() - returned:.1f} s after its return")
    assert child.wait() == 0, child.output


def test_a_hung_prometheus_delays_no_run_that_asks_another(
    host: Host, prometheus: Prometheus, prometheus_binary: Path, tmp_path: Path, metrics_app: MetricsApp
) -> None:
    with (
        Prometheus(prometheus_binary, tmp_path, [metrics_app.address]) as other,
        host.rollout.start("serve", "--listen", "127.0.0.1:0"),
    ):
        wait_until(host.controller, what="a controller")
        other.wait_for("error_rate")
        hung = host.detached(plan(host, prometheus, name="hung", bake="2s"))
        host.wait_for(hung, leg="baking")
        prometheus.freeze()
        host.wait_for(hung, hold="inconclusive")
        quick = host.detached(plan(host, other, name="quick"))
        began = time.monotonic()
        host.wait_for(quick, outcome="promoted")
        print(f"beside a hung Prometheus a run of 2.5 s took {time.monotonic() - began:.1f} s")
        status = host.status(hung)
        assert status is not None
        assert (status["percentages"], reasons(status)) == ({"hung": 20.0}, {"inconclusive"})
        prometheus.thaw()
        host.wait_for(hung, outcome="promoted")
