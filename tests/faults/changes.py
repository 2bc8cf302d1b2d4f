"""A change as a team makes it, over every kind of target there is, and what the world must look like when it has ended.

Everything that it touches bears its name, so that many of them go on beside each other. Each command and request is
one that somebody would notice if it happened twice.
"""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.acceptance.worlds.counting import CountingServer

ROWS = 60
FLAG_IN_A_FILE = {
    "state": "ENABLED",
    "variants": {"on": True, "off": False},
    "defaultVariant": "off",
    "targeting": {"fractional": [["on", 0], ["off", 100]]},
}
EFFECTS = ("probed", "bare")
REQUESTS = ("repeatable", "once")


@dataclass(frozen=True)
class Parts:
    """What a change consists of. *goes_back*: it fails at its end, and all of it is taken back."""

    goes_back: bool
    asks: bool = True  # waits for a person at its end
    sqlite: bool = True
    postgres: str | None = None  # the address of a database, which no other change that goes on has
    postgres_in: str = "PG_URL"  # the variable of the controllers that holds it
    counting: str | None = None  # the address of a CountingServer
    flag_file: bool = True
    cluster: str | None = None  # the namespace of a workload
    bake: str = "200ms"
    takes_long: bool = False  # its commands go on until they are ended


@dataclass(frozen=True)
class Change:
    name: str
    folder: Path
    parts: Parts

    # --- before -------------------------------------------------------------------------------------------------------

    def prepare(self) -> Path:
        """The plan's file, with everything that it names."""
        seconds = 3600 if self.parts.takes_long else 0.05
        self._script("effect.sh", f'echo $$ >> {self.folder}/pids\nsleep {seconds}\necho "$1" >> {self.log}\n')
        self._script("was.sh", f'grep -qx "$1" {self.log}\n')
        self._script("fails.sh", "exit 1\n")
        self.log.touch()
        self._write("flags.json", json.dumps({"flags": {self.filed: FLAG_IN_A_FILE}}))
        for name in ("up", "lite_up"):
            self._write(
                self._sql(name),
                f"CREATE TABLE {self.name}_applied (id int);\nINSERT INTO {self.name}_applied VALUES (1);\n",
            )
        for name in ("down", "lite_down"):
            self._write(self._sql(name), f"DROP TABLE {self.name}_applied;\n")
        self._write(self._sql("more"), f"INSERT INTO {self.name}_applied VALUES (2);\n")
        self._write(self._sql("less"), f"DELETE FROM {self.name}_applied WHERE id = 2;\n")
        people = f"{self.name}_people"
        self._write(
            self._sql("index"),
            f"SET lock_timeout = '2s';\nCREATE INDEX CONCURRENTLY IF NOT EXISTS {people}_n ON {people} (name);\n",
        )
        self._write(self._sql("no_index"), f"DROP INDEX CONCURRENTLY IF EXISTS {people}_n;\n")
        self._write(self._sql("fill"), f"UPDATE {people} SET filled = filled + 1 WHERE id BETWEEN :from AND :to;\n")
        if self.parts.postgres is not None:
            with psycopg.connect(self.parts.postgres, autocommit=True) as connection:
                connection.execute(
                    f"CREATE TABLE {people} (id int PRIMARY KEY, name text, filled int NOT NULL DEFAULT 0)".encode()
                )
                connection.execute(
                    f"INSERT INTO {people} SELECT i, 'n' || i FROM generate_series(1, {ROWS}) i".encode()
                )
        path = self.folder / "plan.yaml"
        path.write_text(json.dumps(self.plan()))
        return path

    def _sql(self, name: str) -> str:
        """A file's name: what ran in a database is known by it."""
        return f"{self.name}_{name}.sql"

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text)

    def _script(self, name: str, text: str) -> None:
        self._write(name, f"#!/bin/sh\n{text}")
        (self.folder / name).chmod(0o755)

    @property
    def log(self) -> Path:
        return self.folder / "effects.log"

    @property
    def begun(self) -> list[int]:
        """The processes of its commands that have begun."""
        path = self.folder / "pids"
        return [int(word) for word in path.read_text().split()] if path.exists() else []

    @property
    def flag(self) -> str:
        return f"{self.name}Raised"

    @property
    def filed(self) -> str:
        return f"{self.name}Filed"

    # --- the plan -----------------------------------------------------------------------------------------------------

    def plan(self) -> dict[str, Any]:
        """Its paths are whole: only the owner of a controller may say what they are relative to."""
        parts = self.parts
        spec: dict[str, Any] = {"flags": {self.flag: {}}, "stages": self._stages(), "watch": "0s"}
        if parts.flag_file:
            spec["flag_systems"] = {"files": {"flagd": {"file": f"{self.folder}/flags.json"}}}
            spec["flags"][self.filed] = {"system": "files"}
        if parts.cluster is not None:
            spec["kubernetes"] = {"namespace": parts.cluster}
        if parts.counting is not None:
            news = [{"when": ["started", "stage", "rollback_started", "promoted", "rolled_back"], "channels": ["team"]}]
            spec["notify"] = {"channels": {"team": {"webhook": {"url": self._url("told")}}}, "news": news}
        return {
            "apiVersion": "stagedrollout.io/v1alpha1",
            "kind": "StagedRollout",
            "metadata": {"name": self.name},
            "spec": spec,
        }

    def _url(self, word: str) -> str:
        return f"{self.parts.counting}/{self.name}/{word}"

    def _stages(self) -> list[dict[str, Any]]:
        parts = self.parts
        stages: list[dict[str, Any]] = []
        back = {"on_rollback": "down", "allow_data_loss": True}
        if parts.sqlite:
            files = [
                {"up": self._sql("lite_up"), "down": self._sql("lite_down")},
                {"up": self._sql("more"), "down": self._sql("less")},
            ]
            stages.append(
                {
                    "name": "lite",
                    "kind": "migration",
                    "database": f"sqlite:///{self.folder}/world.db",
                    "migrations": files,
                    **back,
                }
            )
        if parts.postgres is not None:
            files = [
                {"up": self._sql("up"), "down": self._sql("down")},
                {"up": self._sql("index"), "down": self._sql("no_index")},
            ]
            database = {"database": {"env": parts.postgres_in}}
            # each world's files have the same names, and its database is its own
            stages.append({"name": "schema", "kind": "migration", "migrations": files, **database, **back})
            stages.append(
                {
                    "name": "fill",
                    "kind": "backfill",
                    "update": self._sql("fill"),
                    "key": "id",
                    "batch": ROWS // 3,
                    **database,
                }
            )
        stages.append(self._levels("open", self.flag, [10, 100]))
        if parts.flag_file:
            stages.append(self._levels("filed", self.filed, [50, 100]))
        if parts.cluster is not None:
            stages.append(self._steps("cluster", *self._cluster_steps()))
        stages.append(self._steps("world", *self._world_steps()))
        if parts.asks:
            stages.append(self._steps("asked", {"manual": "Everything is up"}))
        if parts.goes_back:
            fails = f"{self.folder}/fails.sh"
            stages.append(self._steps("impossible", {"command": [fails], "probe": [fails], "undo": "none"}))
        return stages

    def _levels(self, name: str, flag: str, levels: list[int]) -> dict[str, Any]:
        bake = self.parts.bake
        return {"name": name, "kind": "batch", "flag": flag, "percentages": levels, "bake": bake, "settle": "0s"}

    def _steps(self, name: str, *steps: object) -> dict[str, Any]:
        return {"name": name, "kind": "steps", "steps": list(steps)}

    def _world_steps(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = [
            {
                "name": "probed",
                **self._command("probed"),
                "probe": [f"{self.folder}/was.sh", "probed"],
                "undo": self._command("probed-back"),
            },
            {"name": "bare", **self._command("bare"), "undo": self._command("bare-back")},
        ]
        if self.parts.counting is not None:
            for word in REQUESTS:
                again = {"idempotent": True} if word == "repeatable" else {}
                undo = {**self._request(f"{word}-back"), **again}
                found.append({"name": word, **self._request(word), **again, "undo": undo})
        return found

    def _command(self, word: str) -> dict[str, Any]:
        return {"command": [f"{self.folder}/effect.sh", word]}

    def _request(self, word: str) -> dict[str, Any]:
        return {"http": {"method": "POST", "url": self._url(word), "status": 200}}

    def _cluster_steps(self) -> list[dict[str, Any]]:
        return [
            {"image": "deployment/api", "to": "shop:2", "timeout": "60s"},
            {"job": "job.yaml", "timeout": "60s", "undo": "none"},
        ]

    # --- after --------------------------------------------------------------------------------------------------------

    @property
    def outcome(self) -> str:
        return "rolled_back" if self.parts.goes_back else "promoted"

    def was_done(self, target: str, counting: CountingServer, *, back: bool) -> bool:
        """What a person finds out before answering for an effect that may have happened."""
        word = target.rpartition("/")[2] + ("-back" if back else "")
        if target.startswith("http:"):
            return counting.carried_out(f"/{self.name}/{word}") > 0
        return word in self.log.read_text().split()

    def complaints(self, counting: CountingServer, flag: dict[str, Any] | None, *, unsure: bool = False) -> list[str]:
        """What in the world is not as the plan says that it must be at the end; *flag* is how its own flag stands.
        *unsure*: nobody looked whether the bare command had been carried out when its undo was."""
        found = []
        back = self.parts.goes_back
        wanted = Counter(
            {word: 1 for effect in EFFECTS for word in ((effect, f"{effect}-back") if back else (effect,))}
        )
        log = Counter(self.log.read_text().split())
        if log != wanted and not (unsure and log + Counter(["bare"]) == wanted):
            found.append(f"commands: {dict(log)}")
        if self.parts.sqlite and (rows := self._sqlite_rows()) != (None if back else [1, 2]):
            found.append(f"SQLite: {rows}")
        if self.parts.postgres is not None:
            found += self._postgres_complaints(self.parts.postgres)
        if self.parts.counting is not None:
            found += self._request_complaints(counting)
        percentage = flag["percentage"] if flag is not None and flag["state"] == "enabled" else 0
        if percentage != (0 if back else 100):
            found.append(f"flag: {flag}")
        if self.parts.flag_file:
            weight = json.loads((self.folder / "flags.json").read_text())["flags"][self.filed]["targeting"][
                "fractional"
            ][0][1]
            if weight != (0 if back else 100):
                found.append(f"flag in a file: {weight}")
        return found

    def _request_complaints(self, counting: CountingServer) -> list[str]:
        found = []
        for word in REQUESTS:
            for path in (word, f"{word}-back"):
                times = counting.carried_out(f"/{self.name}/{path}")
                if times != int(self.parts.goes_back or not path.endswith("-back")):
                    found.append(f"request {path}: carried out {times} times")
                if word == "once" and counting.arrivals[f"/{self.name}/{path}"] > 1:
                    found.append(f"request {path}: sent {counting.arrivals[f'/{self.name}/{path}']} times")
        if not counting.carried_out(f"/{self.name}/told"):
            found.append("nobody was told")
        return found

    def _sqlite_rows(self) -> list[int] | None:
        with closing(sqlite3.connect(self.folder / "world.db")) as connection:
            table = f"{self.name}_applied"
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchall():
                return None
            return [row[0] for row in connection.execute(f"SELECT id FROM {table} ORDER BY id")]

    def _postgres_complaints(self, dsn: str) -> list[str]:
        back, found = self.parts.goes_back, []
        with psycopg.connect(dsn, autocommit=True) as connection:

            def ask(query: str) -> list[tuple[Any, ...]]:
                return connection.execute(query.encode()).fetchall()

            there = ask(f"SELECT to_regclass('{self.name}_applied') IS NOT NULL")[0][0]
            rows = [row[0] for row in ask(f"SELECT id FROM {self.name}_applied")] if there else None
            if rows != (None if back else [1]):
                found.append(f"PostgreSQL: {rows}")
            indexes = ask(f"SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('{self.name}_people_n')")
            if indexes != ([] if back else [(True,)]):
                found.append(f"index: {indexes}")
            filled = ask(f"SELECT DISTINCT filled FROM {self.name}_people")
            if filled != [(1,)]:
                found.append(f"filled: {filled}")
        return found
