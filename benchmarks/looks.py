"""What a look of a gate costs the controller: three criteria over fifty series each, asked, counted and judged.

A server of its own process answers what a Prometheus would, at once: raw samples of fifty series for each selector.
Everything else is the real thing: the adapter with its HTTP client, the kinds, their memory as JSON between looks.
Time is the processor's, of this process alone. ``cores_for_1000_gates`` is what a thousand such gates take at a look
every 15 s, as a share of one core.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

from benchmarks._machine import machine, versions
from orchestrator.adapters.http_client import HttpClient
from orchestrator.adapters.prometheus import PrometheusClient
from orchestrator.adapters.secrets import Secrets
from stages.criteria import AnyCriterion, Compare, Latency, Ratio
from stages.criteria.base import Measurement, MeasurementState, Memory, Setting
from stages.criteria.judging import judge, wanted

SERIES = 50
EVERY_SECONDS = 15.0
GATES = 1000
CRITERIA: dict[str, AnyCriterion] = {
    "compare": Compare.model_validate({"name": "errors", "compare": {}}),
    "latency": Latency.model_validate({"name": "latency", "latency": {}}),
    "ratio": Ratio.model_validate(
        {"name": "ratio", "ratio": {"bad": 'requests_total{code="500"}', "total": "requests_total", "at_most": "5%"}}
    ),
}


def run(quick: bool) -> dict[str, Any]:
    rounds = 40 if quick else 200
    server = subprocess.Popen([sys.executable, "-m", "benchmarks._look_server", str(SERIES)], stdout=subprocess.PIPE)
    assert server.stdout is not None
    try:
        url = server.stdout.readline().decode().strip()
        alone = {name: asyncio.run(_looks(url, {name: one}, rounds)) for name, one in CRITERIA.items()}
        gate = asyncio.run(_looks(url, CRITERIA, rounds))
    finally:
        server.terminate()
        server.wait()
    return {
        "look_ms": {**{name: one["look_ms"] for name, one in alone.items()}, "gate": gate["look_ms"]},
        "judge_ms": {**{name: one["judge_ms"] for name, one in alone.items()}, "gate": gate["judge_ms"]},
        "cores_for_1000_gates": round(GATES * gate["look_ms"]["median"] / 1000 / EVERY_SECONDS, 3),
        "memory_bytes": {name: one["memory_bytes"] for name, one in alone.items()},
        "series": SERIES,
        "rounds": rounds,
        "machine": machine(),
        "versions": versions(),
    }


async def _looks(url: str, criteria: dict[str, AnyCriterion], rounds: int) -> dict[str, Any]:
    clock = time.time()
    client = PrometheusClient(HttpClient(Secrets()), lambda: clock)
    settings = {"url": url, "timeout": "5s", "scrape_interval": "15s"}
    begin = float(int(time.time()))
    setting = Setting(since=begin, before=begin, every_seconds=EVERY_SECONDS, flag="beta", percentage=5.0)
    memories = dict.fromkeys(criteria, Memory())
    whole, judging = [], []
    for index in range(1, rounds + 1):
        at = begin + EVERY_SECONDS * index
        began = time.process_time()
        asked = (client.look(wanted(one, setting, memories[name], at), settings, at) for name, one in criteria.items())
        measured = await asyncio.gather(*asked)
        middle = time.process_time()
        for (name, one), found in zip(criteria.items(), measured, strict=True):
            memories[name] = _judged(one, found, memories[name], setting)
        whole.append((time.process_time() - began) * 1000)
        judging.append((time.process_time() - middle) * 1000)
    await client.close()
    sizes = [len(json.dumps(memory.extra)) for memory in memories.values()]
    return {"look_ms": _spread(whole), "judge_ms": _spread(judging), "memory_bytes": sum(sizes)}


def _judged(criterion: AnyCriterion, found: Measurement, memory: Memory, setting: Setting) -> Memory:
    if found.state is not MeasurementState.OK:
        raise RuntimeError(f"{criterion.name} was not measured: {found.detail}")
    after = judge(criterion, found, memory, setting).memory
    return replace(after, extra=json.loads(json.dumps(after.extra)))


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values[len(values) // 10 :])  # the first ones import, connect and ask for history
    return {"median": round(statistics.median(ordered), 2), "p95": round(ordered[int(0.95 * len(ordered))], 2)}


def table(result: dict[str, Any]) -> str:
    lines = [f"{'processor ms a look':<22}{'whole':>8}{'p95':>8}{'judging':>9}"]
    for name, look in result["look_ms"].items():
        words = "all three" if name == "gate" else name
        lines.append(f"{words:<22}{look['median']:>8}{look['p95']:>8}{result['judge_ms'][name]['median']:>9}")
    lines.append(f"{GATES:,} gates every {EVERY_SECONDS:g} s: {result['cores_for_1000_gates']} of a core")
    lines.append(f"{result['series']} series a selector, {result['rounds']} looks; {result['machine']}")
    return "\n".join(lines)
