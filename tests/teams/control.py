"""A controller with people who may use it, each by a token of their own."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from orchestrator.api.tokens import hashed
from orchestrator.journal import open_reading
from orchestrator.ports import Recorded
from tests.faults.lives import Life
from tests.faults.world import broken_in
from tests.support.process import DEADLINE_SECONDS, Result, Rollout, isolated_environment
from tests.teams.team import Json, Person

ALLOW = 'commands: ["*"]\nvariables: ["*"]\nsecrets: ["*"]\nfolders: ["/"]\nscripts: true\n'


class Control:
    """The controller is a process of its own; people speak to it as they do to any: with ``rollout`` and by HTTP."""

    def __init__(self, folder: Path, environment: Mapping[str, str], people: Sequence[Person], port: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.url = url_at(port)
        self.people = tuple(people)
        tokens, allow = folder / "tokens.json", folder / "allow.yaml"
        listed = [
            {"name": one.name, "role": one.role, "groups": list(one.groups), "sha256": hashed(_token(one))}
            for one in people
        ]
        tokens.write_text(json.dumps(listed))
        allow.write_text(ALLOW)
        listen = ("--listen", self.url.removeprefix("http://"), "--token-file", str(tokens), "--allow", str(allow))
        self._environment = {**isolated_environment(folder), **environment}
        self.life = Life(folder, self._environment, listen, _token(people[0]))
        self._http = httpx.Client(base_url=self.url, trust_env=False, timeout=15.0)

    def start(self) -> None:
        self.life.start()
        self.life.wait_until_ready()

    def end(self) -> None:
        self.life.end()
        self._http.close()

    def ask(self, method: str, path: str, body: object = None, *, by: Person | None = None) -> Any:
        """What the controller says, asked again while it is dead or starting; AssertionError if it refuses."""
        until = time.monotonic() + DEADLINE_SECONDS
        while True:
            answer = self._try(method, path, body, by or self.people[0])
            if answer is not None and answer.is_success:
                return answer.json()
            refused = answer is not None and answer.status_code < 500 and answer.status_code != 429
            assert not refused, f"{method} {path} {body} was refused: {answer.text if answer else answer}"
            assert time.monotonic() < until, f"no answer to {method} {path}; it says {self.life.log[-3000:]}"
            time.sleep(0.1)

    def _try(self, method: str, path: str, body: object, by: Person) -> httpx.Response | None:
        try:
            return self._http.request(method, path, json=body, headers={"Authorization": f"Bearer {_token(by)}"})
        except httpx.TransportError:
            return None

    def rollout(self, *arguments: str | Path, by: Person | None = None) -> Result:
        """A ``rollout`` command of somebody, on the terminal of a machine that has what the plan's variables name."""
        environment = self._environment | self.settings(by or self.people[0])
        return _Person(self._folder, environment).run(*arguments)

    def settings(self, person: Person) -> dict[str, str]:
        """What makes ``rollout`` speak to this controller as that person."""
        return {"ROLLOUT_SERVER": self.url, "ROLLOUT_TOKEN": _token(person)}

    # --- runs ---------------------------------------------------------------------------------------------------------

    def begin(self, plan: Path, sets: Sequence[str] = ()) -> str:
        words = [word for one in sets for word in ("--set", one)]
        started = self.rollout("start", plan, "--detach", *words)
        assert started.code == 0, f"rollout start ended with {started.code}: {started.errors or started.output}"
        return started.last_line

    def status(self, run: str) -> Json:
        found: Json = self.ask("GET", f"/api/v1/runs/{run}")
        return found

    def history(self, run: str) -> list[Json]:
        found: list[Json] = self.ask("GET", f"/api/v1/runs/{run}/events")
        return found

    def broken(self, run: str) -> list[str]:
        """What is not so in the journal of a run, as it lies in the store."""

        async def read() -> list[Recorded]:
            store = open_reading(f"sqlite:///{self.life.state_dir}/rollout.db")
            try:
                return list(await store.read(run))
            finally:
                await store.close()

        return broken_in(asyncio.run(read()))

    def command(self, run: str, name: str, *, by: Person | None = None, **fields: object) -> None:
        body = {"command": name, "reason": "as the example wants it", **fields}
        self.ask("POST", f"/api/v1/runs/{run}/commands", body, by=by)

    def report(self, run: str) -> str:
        return str(self.rollout("report", run, "--format", "md").output)

    def flags(self) -> Json:
        """What each flag gives to whom, by environment; one that is off and gives nothing is as good as none."""
        standing: Json = {}
        for flag in self.ask("GET", "/api/v1/flags"):
            if flag["state"] == "enabled" and (flag["percentage"] or flag["targets"]):
                names = ("percentage", "targets", "parameters", "profile")
                standing[f"flag {flag['environment']}/{flag['key']}"] = {name: flag.get(name) for name in names}
        return standing


class _Person(Rollout):
    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = dict(environment)
        self.children = []


def _token(person: Person) -> str:
    return f"known-to-{person.name}-alone"


def url_at(port: int) -> str:
    return f"http://127.0.0.1:{port}"
