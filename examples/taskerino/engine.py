"""What enriches sessions: two caches, a queue with five workers, and what it costs.

Before the release there was no cache, and one session at a time. Time and money are those that the model's API would
take; nothing waits for them.
"""

import json
import logging
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from queue import Empty, PriorityQueue

from prometheus_client import CollectorRegistry, Counter, Gauge

PRIORITIES = {"high": 0, "normal": 1, "low": 2}
DOLLARS_A_SCREENSHOT = 0.02
log = logging.getLogger("taskerino")


@dataclass(frozen=True, slots=True)
class Knobs:
    """What goes wrong on purpose. *fresh_share*: of users' enrichments, those that no cache can answer."""

    fresh_share: float = 0.22
    fail_share: float = 0.0
    seconds: float = 40.0
    price_factor: float = 1.0
    ballast_megabytes: int = 0
    spent_dollars: float = 0.0

    @classmethod
    def read(cls, file: Path) -> "Knobs":
        return cls(**json.loads(file.read_text())) if file.exists() else cls()


@dataclass(frozen=True, slots=True)
class Session:
    name: str
    screenshots: int
    revision: int = 0

    @property
    def key(self) -> str:
        return f"{self.name}@{self.revision}:{self.screenshots}"


class ResultCache:
    """Results on the disk, of which the oldest go first."""

    def __init__(self, file: Path, size: int) -> None:
        self._size = size
        self._connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None, timeout=10.0)
        self._lock = threading.Lock()
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, value TEXT)")

    def get(self, key: str) -> str | None:
        with self._lock:
            row = self._connection.execute("SELECT value FROM results WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(json.loads(row[0])["summary"])

    def put(self, key: str, summary: str) -> None:
        with self._lock:
            self._connection.execute("REPLACE INTO results VALUES (?, ?)", (key, json.dumps({"summary": summary})))
            self._connection.execute(
                "DELETE FROM results WHERE rowid <= (SELECT max(rowid) FROM results) - ?", (self._size,)
            )

    def clear(self) -> None:
        with self._lock:
            self._connection.execute("DELETE FROM results")

    def __len__(self) -> int:
        with self._lock:
            return int(self._connection.execute("SELECT count(*) FROM results").fetchone()[0])

    def close(self) -> None:
        self._connection.close()


class MemoizationCache:
    """Parts of results in memory; what was not used for longest goes first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._known: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str, make: Callable[[], str]) -> str:
        with self._lock:
            if key not in self._known:
                self._known[key] = make()
                if len(self._known) > self._size:
                    self._known.popitem(last=False)
            self._known.move_to_end(key)
            return self._known[key]

    def clear(self) -> None:
        with self._lock:
            self._known.clear()

    def __contains__(self, key: object) -> bool:
        return key in self._known

    def __len__(self) -> int:
        return len(self._known)


@dataclass(order=True)
class _Job:
    priority: int
    number: int
    work: Callable[[], object] = field(compare=False)


class Queue:
    """Jobs by priority, then by age; at most *workers* of them at a time."""

    def __init__(self, workers: int) -> None:
        self._jobs: PriorityQueue[_Job] = PriorityQueue()
        self._numbers, self._lock = count(), threading.Lock()
        self._workers = workers
        self.accepting, self.running, self.most_at_once = True, 0, 0

    def start(self) -> None:
        for _ in range(self._workers):
            threading.Thread(target=self._serve, daemon=True).start()

    def add(self, work: Callable[[], object], priority: str = "normal") -> bool:
        """False if nothing is taken any more."""
        if self.accepting:
            self._jobs.put(_Job(PRIORITIES[priority], next(self._numbers), work))
        return self.accepting

    def take(self) -> Callable[[], object] | None:
        try:
            return self._jobs.get_nowait().work
        except Empty:
            return None

    def status(self) -> Mapping[str, object]:
        return {
            "accepting": self.accepting,
            "waiting": self._jobs.qsize(),
            "running": self.running,
            "most_at_once": self.most_at_once,
            "workers": self._workers,
        }

    @property
    def is_idle(self) -> bool:
        return self._jobs.empty() and not self.running

    def _serve(self) -> None:
        while True:
            self._run(self._jobs.get())

    def _run(self, job: _Job) -> None:
        with self._lock:
            self.running += 1
            self.most_at_once = max(self.most_at_once, self.running)
        try:
            job.work()
        except Exception:  # a job that fails ends no worker
            log.exception("a job failed")
        finally:
            with self._lock:
                self.running -= 1


class Metrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.asked = Counter("enrichment_cache_requests", "Looks into the cache of results.", registry=registry)
        self.hits = Counter("enrichment_cache_hits", "Looks that found something.", registry=registry)
        self.jobs = Counter("enrichment_jobs", "Enrichments, by outcome.", ["outcome"], registry=registry)
        self.processed = Counter("enrichment_processed", "Enrichments that no cache answered.", registry=registry)
        self.seconds = Counter("enrichment_processing_seconds", "What those took.", registry=registry)
        self.cost = Counter("enrichment_cost_dollars", "What the model's API was paid.", registry=registry)
        self.before = Counter("enrichment_cost_before_dollars", "The same without caches.", registry=registry)
        self.spent = Gauge("enrichment_spent_share", "Of a limit of costs.", ["limit"], registry=registry)
        for outcome in ("done", "failed"):
            self.jobs.labels(outcome)


class Engine:
    """*knobs* are asked at each enrichment."""

    def __init__(self, results: ResultCache, memo: MemoizationCache, metrics: Metrics, knobs: Callable[[], Knobs]):
        self.results, self.memo, self.metrics, self._knobs = results, memo, metrics, knobs
        self._processed: dict[str, int] = {}

    def enrich(self, session: Session, *, fails: bool = False) -> tuple[str, bool]:
        """A summary, and whether a cache had it. A RuntimeError if the model's API does not answer."""
        try:
            if fails:
                raise RuntimeError(f"the model's API did not answer for {session.name}")
            found = self._enriched(session)
        except Exception:
            self.metrics.jobs.labels("failed").inc()
            raise
        self.metrics.jobs.labels("done").inc()
        return found

    @staticmethod
    def summary_of(session: Session) -> str:
        """What the model says."""
        return f"{session.screenshots} screenshots of {session.name}"

    def _enriched(self, session: Session) -> tuple[str, bool]:
        self.metrics.asked.inc()
        cached = self.results.get(session.key)
        self.metrics.before.inc(session.screenshots * DOLLARS_A_SCREENSHOT)
        if cached is not None:
            self.metrics.hits.inc()
            return cached, True
        new = session.screenshots - self._processed.get(session.name, 0)
        knobs = self._knobs()
        self.metrics.cost.inc(max(new, 0) * DOLLARS_A_SCREENSHOT * knobs.price_factor)
        self.metrics.processed.inc()
        self.metrics.seconds.inc(knobs.seconds)
        self._processed[session.name] = session.screenshots
        summary = self.memo.get(session.key, lambda: self.summary_of(session))
        self.results.put(session.key, summary)
        return summary, False


def read_sessions(file: Path) -> list[dict[str, object]]:
    """All sessions; a ValueError where one can't be read."""
    with closing(sqlite3.connect(file, timeout=10.0)) as connection:
        rows = connection.execute("SELECT name, screenshots, notes FROM sessions ORDER BY name").fetchall()
    return [{"name": name, "screenshots": screenshots, "notes": json.loads(notes)} for name, screenshots, notes in rows]
