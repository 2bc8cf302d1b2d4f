"""Many runs at once: one controller, as many plans as are asked for, and a server that answers like Prometheus.

Every run stands in the long bake of its flag's only step, and is judged by three criteria every 15 s. Each question is
asked for five runs on average, as it is where teams share services; or, *different*, each for one alone.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from stages.load import load_plan
from tests.faults.lives import Life
from tests.support.process import Child, isolated_environment, wait_until

EVERY_SECONDS, SHARED_BY = 15, 5
TICKS = os.sysconf("SC_CLK_TCK")
STARTS_AT_ONCE = 4
ASKED = {
    "errors": 'sum(rate(failures_total{{service="{0}"}}[2m])) / sum(rate(requests_total{{service="{0}"}}[2m]))',
    "latency": 'histogram_quantile(0.99, sum by (le) (rate(request_seconds_bucket{{service="{0}"}}[2m])))',
    "saturation": 'worker_saturation{{service="{0}"}}',
}


def plan_of(number: int, service: int, prometheus: str, every_seconds: int = EVERY_SECONDS) -> dict[str, Any]:
    flag = f"flag-{number}"
    criteria = [
        {"name": name, "query": query.format(f"s{service}"), "pass": "< 0.05", "fail": "> 0.10"}
        for name, query in ASKED.items()
    ]
    stage = {"name": "only", "kind": "monitoring", "flag": flag, "percentages": [50], "gate": "health", "bake": "7d",
             "settle": "0s"}  # fmt: skip
    return {
        "apiVersion": "stagedrollout.io/v1alpha1",
        "kind": "StagedRollout",
        "metadata": {"name": f"run-{number}"},
        "spec": {
            "prometheus": {"url": prometheus},
            "flags": {flag: {}},
            "gates": {"health": {"every": f"{every_seconds}s", "criteria": criteria}},
            "stages": [stage],
        },
    }


@dataclass
class Fleet:
    life: Life
    prometheus: str
    runs: int
    different: bool
    every_seconds: int = EVERY_SECONDS

    @property
    def questions(self) -> int:
        """How many different ones the runs have."""
        groups = self.runs if self.different else -(-self.runs // SHARED_BY)
        return groups * len(ASKED)

    def start_all(self) -> float:
        """Hands in every plan; how many a second were started."""
        began = time.monotonic()
        with ThreadPoolExecutor(STARTS_AT_ONCE) as pool:
            for number, answer in enumerate(pool.map(self._start, range(self.runs)), start=1):
                assert answer.status_code == 201, answer.text
                if number % 500 == 0:
                    print(f"fleet: {number} of {self.runs} runs started", file=sys.stderr)
        return self.runs / (time.monotonic() - began)

    def _start(self, number: int) -> httpx.Response:
        service = number if self.different else number // SHARED_BY
        text = json.dumps(plan_of(number, service, self.prometheus, self.every_seconds))
        plan = load_plan(text, f"run-{number}.yaml", {}, read_file=_no_file)
        documents = [{"environment": environment, "plan": document} for environment, document in plan.raw]
        body = {"plan": plan.name, "digest": plan.digest, "documents": documents, "files": {}}
        return self.ask("POST", "/api/v1/runs", body)

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        note = self.life.note()
        assert note is not None, self.life.log[-3000:]
        headers = {"Authorization": f"Bearer {note['token']}", **headers}
        with httpx.Client(trust_env=False, timeout=60.0) as client:
            return client.request(method, note["url"] + path, json=body, headers=headers)

    def asked(self) -> dict[str, Any]:
        """What the server was asked since this was called last."""
        told: dict[str, Any] = httpx.get(f"{self.prometheus}/asked", trust_env=False, timeout=60.0).json()
        return told

    @property
    def processor_seconds(self) -> float:
        fields = Path(f"/proc/{self.life.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    @property
    def memory_mib(self) -> float:
        line = next(one for one in Path(f"/proc/{self.life.pid}/status").read_text().splitlines() if "VmRSS" in one)
        return int(line.split()[1]) / 1024


@contextmanager
def fleet_of(runs: int, folder: Path, *, different: bool = False) -> Iterator[Fleet]:
    """A controller of its own, not forked off anything, so that its memory is its own."""
    with ExitStack() as stack:
        url = stack.enter_context(steady_server(folder))
        life = Life(folder, isolated_environment(folder))
        stack.callback(life.end)
        life.start(forked=False)
        life.wait_until_ready()
        yield Fleet(life, url, runs, different)


@contextmanager
def steady_server(folder: Path) -> Iterator[str]:
    """The address of what answers like a healthy Prometheus."""
    server = Child([sys.executable, "-m", "benchmarks._steady_server"], folder)
    try:
        server.start()
        wait_until(lambda: bool(server.output.strip()), what=f"the server's address; it says {server.errors}")
        yield server.output.strip()
    finally:
        server.kill()


def _no_file(name: str) -> bytes:
    raise FileNotFoundError(name)
