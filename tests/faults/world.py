"""A world with one controller, or several on one store, in which changes are made while something goes wrong.

`Drive` is a person at a terminal with much patience: what was not acknowledged is asked again under the same key, what
nobody can know is looked up and answered, and a controller that is dead is started again. In the end `promises` says
what was not kept.
"""

import asyncio
import contextlib
import json
import secrets
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.api.tokens import hashed
from orchestrator.core.events import EffectFinished, EffectRequested, Event, Paused, Resumed, TargetObserved
from orchestrator.errors import StoreError
from orchestrator.journal import chain, open_reading
from orchestrator.ports import Recorded
from stages.load import load_plan
from tests.acceptance.worlds.counting import CountingServer
from tests.faults.changes import Change
from tests.faults.lives import Json, Life, Reply
from tests.support.ports import free_port
from tests.support.process import DEADLINE_SECONDS, isolated_environment

TOKEN = "known-to-all-of-them"
KNOWN = {"state": "enabled", "percentage": 10}
END_SECONDS = 150.0


class Stuck(AssertionError):
    """It went nowhere in its time."""


@dataclass
class World:
    """*failpoints*: with what the first lives of each controller are started, in order."""

    folder: Path
    lives: list[Life]
    store: str
    counting: CountingServer
    postgres: str | None = None
    failpoints: dict[int, list[str]] = field(default_factory=dict)
    forked: bool = True
    ended: list[tuple[int, int | None]] = field(default_factory=list)  # lives that ended by themselves: whose, and how

    def start(self, life: Life) -> None:
        armed = self.failpoints.get(self.lives.index(life), [])
        life.start(armed[life.starts] if life.starts < len(armed) else "", forked=self.forked)

    def keep_alive(self) -> None:
        """Starts who is dead, and lets who is frozen go on."""
        for number, life in enumerate(self.lives):
            if not life.running:
                if life.starts:
                    if (life.exit_code or 0) > 0:
                        raise Stuck(f"the controller ended with {life.exit_code}: {life.log[-3000:]}")
                    self.ended.append((number, life.exit_code))
                self.start(life)
            elif life.is_stopped:
                self.ended.append((number, None))
                life.send(signal.SIGCONT)

    def ask(self, method: str, path: str, body: object = None, key: str | None = None) -> Reply | None:
        """Whoever answers; None if nobody does."""
        for life in self.lives:
            if (answer := life.ask(method, path, body, key)) is not None and answer.status < 500:
                return answer
        return None

    def records(self, run: str) -> list[Recorded]:
        """Tried again while the store is away."""
        until = time.monotonic() + DEADLINE_SECONDS
        while True:
            try:
                return self._read(run)
            except StoreError:
                if time.monotonic() > until:
                    raise
                time.sleep(1.0)

    def _read(self, run: str) -> list[Recorded]:
        async def read() -> list[Recorded]:
            store = open_reading(self.store)
            try:
                return list(await store.read(run))
            finally:
                await store.close()

        return asyncio.run(read())

    @property
    def log(self) -> str:
        return "\n".join(life.log for life in self.lives)


@contextlib.contextmanager
def world_in(
    folder: Path, *, store: str | None = None, postgres: str | None = None, controllers: int = 1, **environment: str
) -> Iterator[World]:
    """*store*: a shared one; else one of the only controller's own. *postgres*: a database for changes."""
    folder.mkdir(parents=True, exist_ok=True)
    lives = []
    tokens = folder / "tokens.json"
    allow = folder / "allow.yaml"
    allow.write_text('commands: ["*"]\nvariables: ["*"]\nsecrets: ["*"]\nfolders: ["/"]\nscripts: true\n')
    tokens.write_text(json.dumps([{"name": "ann", "role": "admin", "sha256": hashed(TOKEN)}]))
    own = f"sqlite:///{folder}/0/state/staged-rollout/rollout.db"
    for number in range(controllers):
        place = folder / str(number)
        place.mkdir()
        given = {**isolated_environment(place), "PG_URL": postgres or "", **environment}
        if store is None:
            lives.append(Life(place, given))
            continue
        listen = ("--listen", f"127.0.0.1:{free_port()}", "--token-file", str(tokens), "--allow", str(allow))
        lives.append(Life(place, {**given, "ROLLOUT_STORE": store}, listen, TOKEN))
    with ExitStack() as stack:
        counting = stack.enter_context(CountingServer())
        for life in lives:
            stack.callback(life.end)
        yield World(folder, lives, store or own, counting, postgres)


def submission(text: str, folder: Path) -> Json:
    """What the API takes for a plan with this text, whose files are in *folder*."""
    plan = load_plan(text, f"{folder}/plan.yaml", {}, read_file=lambda name: (folder / name).read_bytes())
    return {
        "plan": plan.name,
        "digest": plan.digest,
        "documents": [{"environment": environment, "plan": document} for environment, document in plan.raw],
        "files": dict(plan.files),
        "directory": str(folder),
    }


@dataclass
class Drive:
    """One change through a world. *impatient*: what is not known is not looked up but rolled back."""

    world: World
    change: Change
    impatient: bool = False
    on_tick: Callable[[], None] | None = None  # instead of keeping everybody alive
    run: str = ""
    acknowledged: dict[str, Any] = field(default_factory=dict)  # by key: what was asked and answered
    patience_seconds: float = END_SECONDS
    until: float = 0.0

    def whole(self) -> None:
        """From the start to the end. In the middle the controllers are told to end, one by one."""
        self.begin()
        self.flag_set()
        self.send("pause")
        self.send("resume")
        self.kill_switch()
        if self.change.parts.asks:
            self.wait(lambda status: bool(status["waiting"]), "to be asked")
            self.restart()
            self.send("approve")
        self.end()

    def unwanted(self) -> None:
        """As `whole`, by somebody who rolls back instead of finding out what became of an effect."""
        self.impatient = True
        self.begin()
        self.flag_set()
        self.end()

    def begin(self) -> None:
        self.until = time.monotonic() + self.patience_seconds
        body = submission(self.change.prepare().read_text(), self.change.folder)
        first = self.world.lives[0]
        self.poll(lambda: first.is_ready or bool(self.world.ended), "the first controller")
        self.run = self.ensure("POST", "/api/v1/runs", body)["run"]

    def flag_set(self) -> None:
        body = {"reason": "as it was before", **KNOWN}
        self.ensure("PATCH", "/api/v1/flags/known", body)

    def send(self, command: str, **more: object) -> None:
        key = f"{command}-{secrets.token_hex(4)}"
        body = {"command": command, "reason": "because", **more}
        self.acknowledged[key] = (body, self.ensure("POST", f"/api/v1/runs/{self.run}/commands", body, key))

    def kill_switch(self) -> None:
        self.ensure("POST", "/feature-flags/disable-all", {"reason": "smoke"})
        self._is_killed(True)
        self.ensure("DELETE", "/feature-flags/disable-all", {"reason": "no smoke", "confirm": True})
        if len(self.world.lives) == 1:
            self._is_killed(False)  # of several, one may come back with a latch that it had told nobody of when it died

    def _is_killed(self, wanted: bool) -> None:
        """At once; controllers that share a store hear of each other's switch within a second or two."""
        shown = self.ensure("GET", "/api/v1/flags/known")["killed"]
        if len(self.world.lives) == 1:
            assert shown is wanted, f"the kill switch was moved and acknowledged, and killed is {shown}"
        self.poll(lambda: self.ensure("GET", "/api/v1/flags/known")["killed"] is wanted, "the kill switch to be seen")

    def restart(self) -> None:
        for life in self.world.lives:
            if life.running:
                life.send(signal.SIGTERM)
                self.poll(lambda life=life: not life.running or life.is_stopped, "a controller to end", alive=False)  # type: ignore[misc]
            self.world.keep_alive()

    def end(self) -> None:
        self.wait(lambda status: status["outcome"] is not None, "to end")
        self.poll(self._is_settled, "every notice to be delivered")

    def _is_settled(self) -> bool:
        entries = self.world.ask("GET", f"/api/v1/runs/{self.run}/events")
        if entries is None or entries.status != 200:
            return False
        count = Counter(entry["type"] for entry in entries.body)
        return count["NoticeRequested"] == count["NoticeDelivered"]

    # --- patience -----------------------------------------------------------------------------------------------------

    def ensure(self, method: str, path: str, body: object = None, key: str | None = None) -> Any:
        """Asked until it is acknowledged; what is refused for good ends the test."""
        while True:
            answer = self.world.ask(method, path, body, key)
            if answer is not None and answer.status < 400:
                return answer.body
            if answer is not None and answer.status not in (404, 429):
                raise AssertionError(f"{method} {path} was refused: {answer.status} {answer.body}")
            self._tick(f"an answer to {method} {path}, last {answer}")

    def wait(self, is_so: Callable[[Json], bool], what: str) -> None:
        def look() -> bool:
            answer = self.world.ask("GET", f"/api/v1/runs/{self.run}")
            if answer is None or answer.status != 200:
                return False
            self._answer_for_holds(answer.body)
            return is_so(answer.body)

        self.poll(look, f"{self.run} {what}")

    def poll(self, is_so: Callable[[], bool], what: str, *, alive: bool = True) -> None:
        while not is_so():
            self._tick(what, alive=alive)

    def _tick(self, what: str, *, alive: bool = True) -> None:
        if time.monotonic() > self.until:
            status = self.world.ask("GET", f"/api/v1/runs/{self.run}")
            raise Stuck(f"waited in vain for {what}; {status}; {self.world.log[-4000:]}")
        if alive:
            (self.on_tick or self.world.keep_alive)()
        time.sleep(0.03)

    def _answer_for_holds(self, status: Json) -> None:
        back = status["phase"] == "rolling_back"
        for hold in status["holds"]:
            if hold["reason"] == "killed":
                self.world.ask("DELETE", "/feature-flags/disable-all", {"reason": "no smoke", "confirm": True})
            if hold["reason"] != "unknown_outcome":
                continue
            if self.impatient and not back:
                self.world.ask("POST", f"/api/v1/runs/{self.run}/commands", {"command": "rollback", "reason": "enough"})
                return
            target = hold["item"]
            done = self.change.was_done(target, self.world.counting, back=back)
            body = {
                "command": "resolve",
                "target": target,
                "taken_as": "done" if done else "not_done",
                "reason": "looked",
            }
            self.world.ask("POST", f"/api/v1/runs/{self.run}/commands", body)


# --- promises ---------------------------------------------------------------------------------------------------------


def broken_promises(drive: Drive) -> list[str]:
    """Everything that was promised and is not so; the run has ended."""
    world, change = drive.world, drive.change
    status = drive.ensure("GET", f"/api/v1/runs/{drive.run}")
    records = world.records(drive.run)
    found = [] if status["outcome"] == change.outcome else [f"outcome: {status['outcome']}"]
    found += change.complaints(world.counting, _flag(drive, change.flag), unsure=drive.impatient)
    found += broken_in(records)
    found += _of_commands(drive, [record.event for record in records])
    known = _flag(drive, "known")
    if known is not None and {name: known[name] for name in KNOWN} != KNOWN:
        found.append(f"a flag that somebody set: {known}")
    runs = drive.ensure("GET", "/api/v1/runs")
    if [run["run"] for run in runs if run["plan"] == change.name] != [drive.run]:
        found.append(f"runs: {runs}")
    return found


def _flag(drive: Drive, key: str) -> Json | None:
    """None if there is no such flag; whoever is dead at the moment is waited for."""
    found: list[Reply] = []

    def answered() -> bool:
        answer = drive.world.ask("GET", f"/api/v1/flags/{key}")
        found.extend([answer] if answer is not None else [])
        return bool(found)

    drive.poll(answered, f"flag {key}")
    return found[0].body if found[0].status == 200 else None


def broken_in(records: list[Recorded]) -> list[str]:
    """What is not so in a journal that may have been written by several lives of a controller."""
    found = []
    if [record.seq for record in records] != list(range(1, len(records) + 1)):
        found.append("the journal has gaps")
    if (place := chain.verify(records)) is not None:
        found.append(f"the chain breaks: {place}")
    observed: set[str] = set()
    asked: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    for record in records:
        match record.event:
            case TargetObserved(target=target):
                observed.add(target)
            case EffectRequested(effect=effect):
                asked[effect.id] += 1
                if effect.target not in observed:
                    found.append(f"{effect.target} was changed before it was looked at")
            case EffectFinished(effect=effect_id):
                ended[effect_id] += 1
            case _:
                continue
    found += [f"asked for {count} times: {effect}" for effect, count in asked.items() if count > 1]
    found += [f"ended {count} times: {effect}" for effect, count in ended.items() if count > 1]
    return found + [f"ended without being asked for: {effect}" for effect in ended.keys() - asked.keys()]


def _of_commands(drive: Drive, events: list[Event]) -> list[str]:
    found = []
    for kind, name in ((Paused, "pause"), (Resumed, "resume")):
        wanted = sum(body["command"] == name for body, _ in drive.acknowledged.values())
        there = sum(isinstance(event, kind) for event in events)
        if there != wanted:
            found.append(f"{wanted} acknowledged {name}, {there} in the journal")
    for key, (body, answer) in drive.acknowledged.items():
        again = drive.ensure("POST", f"/api/v1/runs/{drive.run}/commands", body, key)
        if again != answer:
            found.append(f"{body['command']} was answered with {answer}, and again with {again}")
    return found
