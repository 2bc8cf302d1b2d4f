"""A machine on which one person runs rollouts: the real `rollout` command, its state directory, its controllers.

Statuses are polled over the API, since that is quick; what a test is about it asks by the command line.
"""

import contextlib
import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.process import DEADLINE_SECONDS, Child, Result, Rollout, command, rollout_in, wait_until

Json = dict[str, Any]


class Host:
    def __init__(self, rollout: Rollout) -> None:
        self.rollout = rollout
        self.folder = rollout.folder
        self.state_dir = rollout.state / "staged-rollout"
        self._seen: set[int] = set()

    # --- files --------------------------------------------------------------------------------------------------------

    def write(self, name: str, text: str, *, executable: bool = False) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if executable:
            path.chmod(0o755)
        return path

    @property
    def store(self) -> Path:
        return self.state_dir / "rollout.db"

    # --- commands -----------------------------------------------------------------------------------------------------

    def run(self, *arguments: str | Path, deadline_seconds: float = DEADLINE_SECONDS) -> Result:
        return self.rollout.run(*arguments, deadline_seconds=deadline_seconds)

    def ok(self, *arguments: str | Path) -> Result:
        """A command that must succeed."""
        result = self.run(*arguments)
        assert result.code == 0, f"rollout {arguments} ended with {result.code}: {result.errors or result.output}"
        return result

    def json(self, *arguments: str | Path) -> Any:
        return self.rollout.json(*arguments)

    def refused(self, *arguments: str | Path, code: int = 1) -> str:
        """What a command that must fail said: one sentence, and no traceback."""
        result = self.run(*arguments)
        assert result.code == code, f"rollout {arguments} ended with {result.code}: {result.errors or result.output}"
        assert "Traceback" not in result.errors
        assert "something unexpected" not in result.errors
        assert result.errors.strip(), "it failed without a word"
        return result.errors

    def as_plain_user(self, *arguments: str | Path) -> Result:
        """The same command without what root may do to files whatever their mode; skips where that can't be taken."""
        if os.geteuid() != 0:
            return self.run(*arguments)
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root reads every file, and there is no setpriv to take that away")
        limited = [setpriv, "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", "--"]
        child = Child([*limited, command(), *arguments], self.folder, environment=self.rollout.environment)
        with child:
            return Result(child.wait(), child.output, child.errors)

    def start(self, plan: Path, *arguments: str, terminal: bool = False) -> Child:
        """`rollout start` in the background; a run of its own or one that it attaches to."""
        return self.rollout.start("start", plan, *arguments, terminal=terminal)

    def started(self, plan: Path, *arguments: str) -> tuple[Child, str]:
        """`rollout start` in the background once it has said which run it watches."""
        child = self.start(plan, *arguments)
        return child, self.name_from(child)

    def name_from(self, child: Child) -> str:
        """The run that a `rollout start` speaks of, as soon as it does."""
        return wait_until(lambda: _run_named_in(child), what=f"the run's name from {child}")

    def detached(self, plan: Path, *arguments: str) -> str:
        """The name of a run that a background controller goes on with."""
        return self.ok("start", plan, "--detach", *arguments).last_line

    # --- the controller -----------------------------------------------------------------------------------------------

    def controller(self) -> Json | None:
        """What the running controller left for its owner: pid, url, token."""
        try:
            found: Json = json.loads((self.state_dir / "controller.json").read_text())
        except (OSError, ValueError):
            return None
        self._seen.add(int(found["pid"]))
        return found if is_running(int(found["pid"])) else None

    def request(self, method: str, path: str, body: Any = None) -> httpx.Response | None:
        """None while no controller answers."""
        found = self.controller()
        if found is None:
            return None
        headers = {"Authorization": f"Bearer {found['token']}"}
        try:
            return httpx.request(
                method, found["url"] + path, json=body, headers=headers, trust_env=False, timeout=DEADLINE_SECONDS
            )
        except httpx.TransportError:
            return None

    def status(self, run: str) -> Json | None:
        """None while no controller answers."""
        answer = self.request("GET", f"/api/v1/runs/{run}")
        if answer is None or not answer.is_success:
            return None
        found: Json = answer.json()
        return found

    def holds(self, run: str) -> set[str]:
        return reasons(self.status(run) or {"holds": []})

    def wait_for(self, run: str, deadline_seconds: float = DEADLINE_SECONDS, **wanted: Any) -> Json:
        """The status once all *wanted* are so; ``hold="paused"`` means that this is among what holds."""
        hold = wanted.pop("hold", None)

        def look() -> Json:
            found = self.status(run)
            if found is None or (hold is not None and hold not in reasons(found)):
                return {}
            return found if all(found[name] == value for name, value in wanted.items()) else {}

        what = f"{run} to be {wanted | ({'hold': hold} if hold else {})}"
        try:
            return wait_until(look, what=what, deadline_seconds=deadline_seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; its status: {self.status(run)}") from None

    def wait_for_end(self, run: str, outcome: str) -> None:
        """By the store, since an embedded controller ends with its run."""
        sql = "SELECT json_extract(summary, '$.outcome') FROM runs WHERE run = ?"
        found = wait_until(
            lambda: [row[0] for row in self.query(sql, run) if row[0] is not None],
            what=f"{run} to end",
        )
        assert found == [outcome]

    def forget_controllers(self) -> None:
        """Kills those in the background, which are nobody's children."""
        self.controller()
        for pid in self._seen:
            if is_running(pid) and "orchestrator" in _command_line(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    # --- the store, read beside its controller ------------------------------------------------------------------------

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """What the store says; nothing if it is not there yet."""
        if not self.store.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{self.store}?mode=ro", uri=True, timeout=10)) as connection:
            try:
                return connection.execute(sql, values).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return []
                raise

    def length(self) -> int:
        """How many events all journals of the store have."""
        rows = self.query("SELECT count(*) FROM events")
        return int(rows[0][0]) if rows else 0


@contextlib.contextmanager
def host_in(folder: Path, **environment: str) -> Iterator[Host]:
    with rollout_in(folder, **environment) as rollout:
        host = Host(rollout)
        try:
            yield host
        finally:
            host.forget_controllers()


def reasons(status: Json) -> set[str]:
    return {str(hold["reason"]) for hold in status["holds"]}


def is_running(pid: int) -> bool:
    """A zombie does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _run_named_in(child: Child) -> str:
    """Empty as long as it has named none."""
    for line in f"{child.errors}\n{child.output}".splitlines():
        words = line.split()
        if words[:1] == ["run"] and len(words) > 2 and words[2] in ("started", "of"):
            return words[1]
    assert child.running, f"{child} ended with {child.exit_code}: {child.errors}{child.output}"
    return ""
