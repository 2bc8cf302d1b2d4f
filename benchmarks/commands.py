"""How long a person waits who asks something of one of many runs: pause, resume and rollback over HTTP, under load.

One controller walks many runs, each judged by three criteria every 15 s (``_fleet.py``). Runs are drawn at random;
one is paused or resumed every now and then, and measured is the time until that is acknowledged (the answer is there,
and what was asked is durable) and until it is acted upon (the run's status says that it is held, or no longer). Then
some others are rolled back, and measured is the time until the flag is where it was before the run: off.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks._flag_server import percentile
from benchmarks._fleet import EVERY_SECONDS, Fleet
from benchmarks._machine import load, machine, stated, versions
from benchmarks._stored_fleet import stored_fleet_of
from tests.support.process import wait_until

QUICK, USUAL = 100, 10_000  # runs
COMMANDS, QUICK_COMMANDS = 200, 20
ROLLBACKS, QUICK_ROLLBACKS = 20, 5
APART_SECONDS = 0.2
SETTLED_SECONDS, QUICK_SECONDS = 2.0 * EVERY_SECONDS, 3.0
LOOKED_EVERY_SECONDS = 0.01
SEED = 11
Json = dict[str, Any]


def run(quick: bool) -> dict[str, Any]:
    runs = QUICK if quick else USUAL
    commands, rollbacks = (QUICK_COMMANDS, QUICK_ROLLBACKS) if quick else (COMMANDS, ROLLBACKS)
    with (
        tempfile.TemporaryDirectory(prefix="rollout-commands-") as folder,
        stored_fleet_of(runs, Path(folder)) as fleet,
        _client(fleet) as client,
    ):
        time.sleep(QUICK_SECONDS if quick else SETTLED_SECONDS)
        drawn = random.Random(SEED).sample(_names(client, runs), commands // 2 + rollbacks)
        person = _Person(client)
        for name in (*drawn[rollbacks:], *drawn[rollbacks:]):
            person.turn(name)
        for name in drawn[:rollbacks]:
            person.roll_back(name)
        return {
            "runs": runs,
            **_spread("acknowledged", person.acknowledged),
            **_spread("acted", person.acted),
            **_spread("flag_off", person.off),
            "commands": len(person.acknowledged),
            "rollbacks": len(person.off),
            "load": load(),
            "machine": machine(),
            "versions": versions(),
        }


def table(result: dict[str, Any]) -> str:
    head = f"{result['runs']} runs, milliseconds"
    lines = [f"{head:<44}{'p50':>9}{'p99':>9}{'most':>9}"]
    rows = {
        "acknowledged": f"{result['commands']} commands: acknowledged",
        "acted": "acted upon",
        "flag_off": f"{result['rollbacks']} rollbacks: the flag is off",
    }
    for name, words in rows.items():
        numbers = "".join(f"{result[f'{name}_{which}_ms']:>9.1f}" for which in ("p50", "p99", "most"))
        lines.append(f"{words:<44}{numbers}")
    lines.append(stated(result))
    return "\n".join(lines)


class _Person:
    """Asks one thing after the other. All times in milliseconds from the moment at which it was sent."""

    def __init__(self, client: httpx.Client) -> None:
        self.acknowledged: list[float] = []
        self.acted: list[float] = []
        self.off: list[float] = []
        self._client = client
        self._paused: set[str] = set()

    def turn(self, run: str) -> None:
        """Pauses it, or resumes what was paused before."""
        was_paused = run in self._paused
        sent = self._ask(run, "resume" if was_paused else "pause")
        sent.wait_for(lambda: _is_held(self._show(run)) is not was_paused, f"{run} to do what it was asked")
        self._paused ^= {run}
        self.acknowledged.append(sent.answered_ms)
        self.acted.append(sent.passed_ms)
        time.sleep(APART_SECONDS)

    def roll_back(self, run: str) -> None:
        (flag,) = self._show(run)["percentages"]
        sent = self._ask(run, "rollback")
        path = f"/api/v1/flags/{flag}?environment=production"
        sent.wait_for(lambda: _get(self._client, path)["state"] == "disabled", f"{flag} to be off again")
        self.off.append(sent.passed_ms)
        time.sleep(APART_SECONDS)

    def _ask(self, run: str, command: str) -> "_Sent":
        began = time.perf_counter()
        body = {"command": command, "reason": "to see how long it takes"}
        answer = self._client.post(f"/api/v1/runs/{run}/commands", json=body)
        assert answer.status_code == 200, answer.text
        return _Sent(began, answered_ms=_since(began))

    def _show(self, run: str) -> Json:
        return _get(self._client, f"/api/v1/runs/{run}")


@dataclass
class _Sent:
    began: float
    answered_ms: float
    passed_ms: float = 0.0

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        wait_until(condition, what=what, every_seconds=LOOKED_EVERY_SECONDS)
        self.passed_ms = _since(self.began)


def _is_held(status: Json) -> bool:
    return any(hold["reason"] == "paused" for hold in status["holds"])


def _client(fleet: Fleet) -> httpx.Client:
    """Over one connection, as a browser does."""
    note = fleet.life.note()
    assert note is not None, fleet.life.log[-3000:]
    headers = {"Authorization": f"Bearer {note['token']}"}
    return httpx.Client(base_url=note["url"], headers=headers, trust_env=False, timeout=60.0)


def _names(client: httpx.Client, runs: int) -> list[str]:
    """So many of them as a list may have."""
    found = client.get(f"/api/v1/runs?active=true&limit={min(runs, 5000)}").json()
    return [one["run"] for one in found]


def _get(client: httpx.Client, path: str) -> Json:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def _since(began: float) -> float:
    return 1000 * (time.perf_counter() - began)


def _spread(name: str, values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    numbers = {"p50": statistics.median(ordered), "p99": percentile(ordered, 0.99), "most": ordered[-1]}
    return {f"{name}_{which}_ms": round(value, 1) for which, value in numbers.items()}
