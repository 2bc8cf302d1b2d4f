"""A Prometheus in every bad mood, asked by a real controller: each run holds, says why, and goes on when it is well.

One controller has all runs, and each run a server of its own at a path of the one server. It answers well while the
run opens, then badly until it is told to recover.
"""

import asyncio
import gzip
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.prometheus.instant import SAMPLED
from tests.faults.lives import Json
from tests.faults.world import World, submission, world_in
from tests.support.http_server import (
    Behaviour,
    Received,
    ScriptedServer,
    answer,
    answer_json,
    hang,
    reset,
    say_nonsense,
    talk_for_ever,
)
from tests.support.process import DEADLINE_SECONDS, wait_until

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]
GOOD_ANSWERS = 4
ANSWERS = 4  # while it is in its mood
LONG_AGO_SECONDS = 3600.0
MOVES = {"EffectRequested", "LegEntered", "StepEntered", "GateFailed", "RollbackStarted"}


def vector(*values: str, age_seconds: float = 0.0, **more: Any) -> Behaviour:
    """Series with these values, and what says when each was sampled."""

    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        now = time.time()
        labels = [{"n": str(number)} for number, _ in enumerate(values)]
        result = [{"metric": one, "value": [now, text]} for one, text in zip(labels, values, strict=True)]
        result += [{"metric": one | {SAMPLED: "at"}, "value": [now, str(now - age_seconds)]} for one in labels]
        data = {"resultType": "vector", "result": result}
        await answer_json({"status": "success", "data": data, **more})(received, writer)

    return behave


async def slow(received: Received, writer: asyncio.StreamWriter) -> None:
    """It answers well, later than anybody waits."""
    await asyncio.sleep(DEADLINE_SECONDS)
    await vector("0")(received, writer)


async def stop_in_the_middle(_: Received, writer: asyncio.StreamWriter) -> None:
    """Half of the answer, and the connection stays."""
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n{"status": "success", "data": {"resu')
    await writer.drain()
    await asyncio.Event().wait()


MANY = 20_000
BOMB = gzip.compress(b" " * 64 * 1024 * 1024)
MOODS: dict[str, tuple[Behaviour, str]] = {
    "slow": (slow, "did not answer within 1s"),
    "silent": (hang, "did not answer within 1s"),
    "half": (stop_in_the_middle, "did not answer within 1s"),
    "broken": (answer('{"status": "succ', length=200), "broke off"),
    "reset": (reset, "broke off"),
    "failing": (answer("upstream is away", 503), "is failing (503): upstream is away"),
    "overloaded": (answer("slow down", 429), "is asked too much (429)"),
    "malformed": (answer('{"status": "success", "data": {'), "not JSON"),
    "page": (answer("<html>Sign in</html>", 200, {"Content-Type": "text/html"}), "not JSON"),
    "moved": (answer("", 302, {"Location": "http://sign-in.invalid/"}), "redirects"),
    "nonsense": (say_nonsense, "broke off without a whole answer: Bad status line"),
    "nan": (vector("NaN"), "NaN"),
    "empty": (vector(), "has none for error_rate"),
    "stale": (vector("0", age_seconds=LONG_AGO_SECONDS), "old"),
    "partial": (vector("0", warnings=["a store is away"]), "a store is away"),
    "huge": (vector(*["0"] * MANY), "more than"),
    "endless": (talk_for_ever, "more than"),
    "bomb": (answer(BOMB, 200, {"Content-Encoding": "gzip"}), "more than"),
}


@dataclass
class Moody:
    """Behaves by the first part of a path; thread-safe."""

    url: str = ""
    asked: Counter[str] = field(default_factory=Counter)
    is_well: bool = False

    async def behave(self, received: Received, writer: asyncio.StreamWriter) -> None:
        name = received.target.split("/")[1]
        self.asked[name] += 1
        is_well = self.is_well or self.asked[name] <= GOOD_ANSWERS
        await (vector("0") if is_well else MOODS[name][0])(received, writer)


@contextmanager
def moody_server() -> Iterator[Moody]:
    moody, begun = Moody(), threading.Event()
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        async with ScriptedServer() as server:
            server.behave(moody.behave)
            moody.url = server.url
            begun.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    try:
        assert begun.wait(DEADLINE_SECONDS)
        yield moody
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(DEADLINE_SECONDS)
        loop.close()


HANGING = ("slow", "silent", "half")  # whatever else is wrong is to be told also where everything takes long


def plan(name: str, url: str) -> str:
    gate = {"every": "1s", "criteria": [{"name": "errors", "query": "error_rate", "pass": "< 10%", "fail": "> 50%"}]}
    few = {"name": "few", "kind": "monitoring", "flag": name, "percentages": [20], "gate": "health", "bake": "8s"}
    everybody = {"name": "all", "kind": "batch", "flag": name, "percentages": [100], "bake": "0s"}
    spec = {
        "prometheus": {"url": f"{url}/{name}", "timeout": "1s" if name in HANGING else "20s", "scrape_interval": "1s"},
        "flags": {name: {}},
        "gates": {"health": gate},
        "stages": [{**stage, "settle": "0s"} for stage in (few, everybody)],
        "watch": "0s",
    }
    metadata = {"name": name}
    return json.dumps(
        {"apiVersion": "stagedrollout.io/v1alpha1", "kind": "StagedRollout", "metadata": metadata, "spec": spec}
    )


@dataclass
class Seen:
    """Of each run: what was shown while it held, what it wrote from then on, and how it ended."""

    held: dict[str, Json] = field(default_factory=dict)
    moved: dict[str, set[str]] = field(default_factory=dict)
    last: dict[str, Json] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("moods")
    with moody_server() as moody, world_in(folder) as world:
        world.lives[0].start(forked=False)
        world.lives[0].wait_until_ready()
        yield all_moods(world, moody, folder)
        assert "Traceback" not in world.log


def all_moods(world: World, moody: Moody, folder: Path) -> Seen:
    found, runs = Seen(), {}
    for name in MOODS:
        reply = world.ask("POST", "/api/v1/runs", submission(plan(name, moody.url), folder))
        assert reply is not None
        assert reply.status == 201, reply
        runs[name] = reply.body["run"]

    def status(name: str) -> Json:
        answered = world.ask("GET", f"/api/v1/runs/{runs[name]}")
        return answered.body if answered is not None and answered.status == 200 else {"holds": [], "outcome": None}

    def holds(name: str) -> bool:
        shown = status(name)
        return moody.asked[name] > GOOD_ANSWERS and bool(shown["holds"])

    for name in MOODS:
        wait_until(lambda name=name: holds(name), what=f"a hold: {status(name)}", every_seconds=0.5)  # type: ignore[misc]
        found.held[name] = status(name)
    lengths = {name: len(world.records(runs[name])) for name in MOODS}
    before = moody.asked.copy()
    more = {name: before[name] + ANSWERS for name in MOODS}
    wait_until(lambda: moody.asked >= Counter(more), what="more looks", every_seconds=0.5)
    for name in MOODS:
        found.moved[name] = {one.event.type_name for one in world.records(runs[name])[lengths[name] :]}
        found.last[name] = status(name)
    moody.is_well = True
    for name in MOODS:
        shown = wait_until(lambda name=name: status(name)["outcome"], what=f"{name} to go on", every_seconds=0.5)  # type: ignore[misc]
        found.outcomes[name] = str(shown)
    return found


@pytest.mark.parametrize("mood", tuple(MOODS))
def test_in_each_mood_the_run_holds_says_why_and_moves_nothing_until_prometheus_is_well(mood: str, seen: Seen) -> None:
    for shown in (seen.held[mood], seen.last[mood]):
        assert [hold["reason"] for hold in shown["holds"]] == ["inconclusive"], shown["holds"]
        assert (shown["phase"], shown["percentages"]) == ("running", {mood: 20.0})
        (criterion,) = shown["gate"]["criteria"]
        detail = shown["holds"][0]["detail"]
        assert MOODS[mood][1] in detail
        assert "errors" in detail
        assert "\n" not in detail
        assert criterion["verdict"] == "inconclusive"
    assert not seen.moved[mood] & MOVES
    assert seen.outcomes[mood] == "promoted"
