"""In place of npm, with Python alone: what `package.json` of the app would run.

    python -m examples.taskerino.npm SCRIPT       of SCRIPTS below

It works on the checkout in which it is started; TASKERINO_HOME is the user's folder.
"""

import hashlib
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry

from examples.taskerino.engine import (
    PRIORITIES,
    Engine,
    Knobs,
    MemoizationCache,
    Metrics,
    Queue,
    ResultCache,
    Session,
    read_sessions,
)

IMPORT = re.compile(r'import \{ (?P<names>[\w, ]+) \} from "\./(?P<file>\w+)"')
Test = Callable[[], bool]


def install() -> int:
    """Twice is once."""
    Path("node_modules").mkdir(exist_ok=True)
    Path("node_modules", ".package-lock").write_text(hashlib.sha256(Path("package.json").read_bytes()).hexdigest())
    return 0


def test() -> int:
    """Prints what share of the tests passed, in percent."""
    with tempfile.TemporaryDirectory() as folder:
        results = ResultCache(Path(folder) / "results.db", 50)
        passed = [one() for one in _tests(results)]
        results.close()
    sys.stderr.write(f"{sum(passed)} of {len(passed)} tests passed\n")
    print(round(100 * sum(passed) / len(passed), 1))
    return 0


def _tests(results: ResultCache) -> Iterator[Test]:
    for number in range(1, 101):
        yield partial(_evicts, number)
        yield partial(_caches, results, number)
        yield partial(_goes_by_priority, number)
    for _ in range(8):  # known, and of the tests alone: they give the queue no time
        yield _is_done_at_once


def _evicts(size: int) -> bool:
    memo = MemoizationCache(size)
    for number in range(size + 1):
        memo.get(str(number), lambda: "part")
    return len(memo) == size and "0" not in memo


def _caches(results: ResultCache, number: int) -> bool:
    results.put(f"{number}", "one")
    results.put(f"{number}", "another")
    return results.get(f"{number}") == "another" and len(results) <= 50


def _goes_by_priority(seed: int) -> bool:
    chance, queue = random.Random(seed), Queue(5)
    done: list[int] = []
    for _ in range(20):
        priority = chance.choice(list(PRIORITIES))
        queue.add(partial(done.append, PRIORITIES[priority]), priority)
    while (work := queue.take()) is not None:
        work()
    return done == sorted(done)


def _is_done_at_once() -> bool:
    queue = Queue(5)
    queue.add(lambda: None)
    return queue.is_idle


def type_check() -> int:
    """Whether whatever a file imports is there, and is exported."""
    amiss = 0
    for file in sorted(Path("src").rglob("*.ts")):
        for found in IMPORT.finditer(file.read_text()):
            there = file.with_name(f"{found['file']}.ts")
            exported = there.read_text() if there.exists() else ""
            for name in found["names"].split(", "):
                if not re.search(rf"export (class|function|const) {name}\b", exported):
                    print(f"{file}: {there.name} exports no {name}")
                    amiss += 1
    print(f"{amiss} errors")
    return 1 if amiss else 0


def bench() -> int:
    """What the release is worth: on a user's week, with the clock and the prices of the model's API."""
    knobs, metrics = Knobs(), Metrics(CollectorRegistry())
    with tempfile.TemporaryDirectory() as folder:
        results = ResultCache(Path(folder) / "results.db", 10_000)
        engine = Engine(results, MemoizationCache(10_000), metrics, lambda: knobs)
        recovered = sum(_recovers(engine, number) for number in range(500))
        results.close()
    cost, before = (next(iter(one.collect())).samples[0].value for one in (metrics.cost, metrics.before))
    one_by_one, parallel = 100 * knobs.seconds, _makespan([knobs.seconds] * 100, 5)
    print(
        json.dumps(
            {
                "cost_reduction": round(1 - cost / before, 3),
                "throughput": round(one_by_one / parallel, 1),
                "recovered": recovered / 500,
            }
        )
    )
    return 0


def _recovers(engine: Engine, number: int) -> bool:
    """Most sessions are opened four or five times; one try in a hundred finds no network."""
    session = Session(f"session-{number * 22 // 100}", 15)
    for attempt in range(3):
        try:
            engine.enrich(session, fails=(number + attempt * 7) % 100 == 0)
        except RuntimeError:
            continue
        return True
    return False


def _makespan(seconds: list[float], workers: int) -> float:
    free = [0.0] * workers
    for one in seconds:
        free[free.index(min(free))] += one
    return max(free)


def build() -> int:
    """One bundle with its source map, and what was built."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S607
    sources = sorted(Path("src").rglob("*.ts"))
    package = json.loads(Path("package.json").read_text())
    dist = Path("dist")
    dist.mkdir(exist_ok=True)
    (dist / "app.js").write_text("\n".join(one.read_text() for one in sources) + "\n//# sourceMappingURL=app.js.map\n")
    (dist / "app.js.map").write_text(json.dumps({"version": 3, "sources": [str(one) for one in sources]}))
    release = {"version": package["version"], "caches": any(one.stem.endswith("Cache") for one in sources)}
    draft = dist / "release.draft"
    draft.write_text(json.dumps({**release, "commit": commit}))
    draft.replace(dist / "release.json")
    return 0


def migrate() -> int:
    """All that are not in the data yet, each in a transaction of its own. Their ways back are kept beside the data."""
    with closing(_data()) as connection:
        for file in sorted(Path("src/migrations").glob("*.up.sql")):
            number = int(file.name.partition("_")[0])
            if number > connection.execute("PRAGMA user_version").fetchone()[0]:
                shutil.copy(file.with_name(file.name.replace(".up.", ".down.")), _ways_back())
                _carry_out(connection, file, number)
    return 0


def unmigrate() -> int:
    with closing(_data()) as connection:
        for file in sorted(_ways_back().glob("*.down.sql"), reverse=True):
            number = int(file.name.partition("_")[0])
            if number == connection.execute("PRAGMA user_version").fetchone()[0]:
                _carry_out(connection, file, number - 1)
    return 0


def version() -> int:
    with closing(_data()) as connection:
        print(connection.execute("PRAGMA user_version").fetchone()[0])
    return 0


def _carry_out(connection: sqlite3.Connection, file: Path, version: int) -> None:
    connection.executescript(f"BEGIN;\n{file.read_text()}\nPRAGMA user_version = {version};\nCOMMIT;")


def _data() -> sqlite3.Connection:
    return sqlite3.connect(_home() / "data" / "sessions.db", timeout=10.0, isolation_level=None)


def _ways_back() -> Path:
    folder = _home() / "migrations"
    folder.mkdir(exist_ok=True)
    return folder


def _home() -> Path:
    return Path(os.environ["TASKERINO_HOME"])


def validate() -> int:
    """Whether data can be read and nothing is lost since the newest backup. Prints how many sessions there are."""
    there = {str(one["name"]) for one in read_sessions(_home() / "data" / "sessions.db")}
    with closing(_data()) as connection:
        found = connection.execute("PRAGMA integrity_check").fetchone()[0]
    kept = {str(one["name"]) for one in read_sessions(_home() / "data.backup" / "sessions.db")}
    if found != "ok" or not kept <= there:
        print(f"integrity: {found}; lost: {sorted(kept - there)}")
        return 1
    print(len(there))
    return 0


SCRIPTS = {
    "install": install,
    "test": test,
    "type-check": type_check,
    "bench": bench,
    "build": build,
    "migrate": migrate,
    "unmigrate": unmigrate,
    "version": version,
    "validate": validate,
}

if __name__ == "__main__":
    sys.exit(SCRIPTS[sys.argv[1]]())
