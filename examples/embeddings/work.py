"""What the service does all day: documents come in, and embeddings are computed, directly, by workers or in batches.

How long an embedding takes is counted in the time of a usual day, not measured on this machine.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
from prometheus_client import CollectorRegistry, Gauge, Histogram

from examples.embeddings.pods import Pods
from flags.client import FlagClient

EVERY_SECONDS, PER_SECOND, LOOK_BACK_SECONDS = 0.05, 50, 2.0
IN_QUEUE_SECONDS = 1.5
SECONDS = {"direct": 4.0, "queue": 3.0, "batch": 1.5}
USERS, INTERNAL, BATCH = 100, "internal-testing-team", 2
NEW = "phase5"
BEFORE_FAILING, BEFORE_ERRORS, NOW_ERRORS = 0.06, 0.04, 0.005
QUOTA, CRITICAL_SHARE, EXPECTED_BYTES = 0.55, 0.9, 50e6
USUAL_ATTEMPTS = 3
ROW_BYTES = 64
PROFILES = {2: "conservative", 4: "balanced", 6: "aggressive"}
GAUGES = (
    "embedding_success_rate",
    "embedding_queue_depth",
    "api_quota_usage",
    "active_embedding_workers",
    "system_error_rate",
    "embedding_processing_seconds_mean",
    "embedding_throughput_per_minute",
    "embedding_queue_items_per_minute",
    "embedding_recovery_seconds",
    "embedding_supported_users",
    "embedding_resource_utilization",
    "monitoring_data_accuracy",
    "monitoring_collection_seconds",
    "monitoring_storage_growth_bytes_per_hour",
    "monitoring_storage_expected_bytes_per_hour",
    "monitoring_cpu_overhead_share",
    "monitoring_memory_overhead_share",
    "monitoring_database_load_increase",
    "dashboard_load_seconds",
    "dashboard_update_seconds",
    "dashboard_supported_users",
)


@dataclass(frozen=True, slots=True)
class Done:
    """An embedding that was computed, or failed: *how* is one of SECONDS."""

    at: float
    how: str
    succeeded: bool
    documents: int
    is_kept: bool


@dataclass
class Share:
    """Every so manieth is one."""

    sum: float = 0.0

    def takes(self, share: float) -> bool:
        self.sum += share
        if self.sum < 1.0:
            return False
        self.sum -= 1.0
        return True


@dataclass
class Settings:
    """Those of the service, and *knobs*: what goes wrong on purpose."""

    values: dict[str, Any] = field(
        default_factory=lambda: {"retry_attempts": USUAL_ATTEMPTS, "non_critical": "running"}
    )
    knobs: dict[str, float] = field(default_factory=dict)


class Work:
    def __init__(self, dsn: str, flags: FlagClient, settings: Settings) -> None:
        self._database, self._flags, self._settings = Database(dsn), flags, settings
        self._queue: deque[tuple[float, str]] = deque()
        self._done: deque[Done] = deque()
        self._lock = threading.Lock()
        self._workers: dict[str, threading.Event] = {}
        self._count, self._failing, self._kept = 0, Share(), Share()
        self._unwell_since, self._recovery = 0.0, 0.0
        self.pods = Pods()
        self.registry = CollectorRegistry()
        self._gauges = {name: Gauge(name, name.replace("_", " "), registry=self.registry) for name in GAUGES}
        buckets = (0.5, 1, 2, 3, 5, 10, 20)
        self._seconds = Histogram("embedding_seconds", "Of an embedding", registry=self.registry, buckets=buckets)

    # --- documents come in --------------------------------------------------------------------------------------------

    def take(self, ended: threading.Event) -> None:
        began, taken = time.monotonic(), 0
        while not ended.wait(EVERY_SECONDS):
            due = int((time.monotonic() - began) * PER_SECOND)
            for _ in range(min(due - taken, PER_SECOND)):
                self._take_one()
            taken = due
            upload = int(self._settings.knobs.pop("upload", 0))
            self._queue.extend((time.monotonic(), "user-0") for _ in range(upload))
            if not self._workers and self._falls_back():
                self._directly()
            self.measure()

    def _take_one(self) -> None:
        self._count += 1
        user = f"user-{self._count % USERS}"
        team = INTERNAL if user == "user-0" else "others"
        context = {"targetingKey": user, "team": team}
        if self._flags.is_on("batchOptimization", context):
            self._finish("batch", context, BATCH)
        elif self._flags.is_on("queueBasedProcessing", context) and (self._workers or not self._falls_back()):
            self._queue.append((time.monotonic() + IN_QUEUE_SECONDS, user))
        else:
            self._finish("direct", context)

    def _falls_back(self) -> bool:
        return bool(self._flags.parameters("queueBasedProcessing").get("fallbackToDirectProcessing", True))

    def _directly(self) -> None:
        """What waits for workers that are no more."""
        while (user := self._next(float("inf"))) is not None:
            self._finish("direct", {"targetingKey": user})

    def _next(self, now: float) -> str | None:
        """Whose document is the first of the queue, if its time has come."""
        with self._lock:
            return self._queue.popleft()[1] if self._queue and self._queue[0][0] <= now else None

    def _finish(self, how: str, context: Mapping[str, Any], documents: int = 1) -> None:
        knobs = self._settings.knobs
        usual = 0.0 if self.is_new else BEFORE_FAILING  # the new one tries again what failed
        attempts = float(self._settings.values["retry_attempts"]) / USUAL_ATTEMPTS
        with self._lock:
            succeeded = not self._failing.takes(knobs.get("failing", usual) ** attempts)
            self._seconds.observe(SECONDS[how])
            is_kept = self._flags.is_on("embeddingMonitoring", context) and not self._kept.takes(knobs.get("lost", 0))
            self._done.append(Done(time.monotonic(), how, succeeded, documents, is_kept))
        if is_kept:
            took = self._database.keep(str(context.get("team", "others")), SECONDS[how], succeeded)
            self._gauges["monitoring_collection_seconds"].set(took)
        if how == "batch" and self._count % PER_SECOND == 0:
            self._database.add_session(self._profile(), documents)

    def _profile(self) -> str:
        """Named by its most telling number."""
        return PROFILES[int(str(self._flags.parameters("batchOptimization").get("maxConcurrentRequests", 2)))]

    @property
    def is_new(self) -> bool:
        return NEW in self.pods.versions

    # --- workers ------------------------------------------------------------------------------------------------------

    def staff(self, pods: Pods) -> None:
        """A thread for each pod that is ready."""
        self.pods = pods
        for name in {*self._workers} - {*pods.workers}:
            self._workers.pop(name).set()
            self._database.leaves(name)
        for name in {*pods.workers} - {*self._workers}:
            stops = self._workers[name] = threading.Event()
            threading.Thread(target=self._work, args=(name, stops), daemon=True).start()

    def _work(self, name: str, stops: threading.Event) -> None:
        beat = 0.0
        while not stops.wait(EVERY_SECONDS):
            if time.monotonic() > beat + 1.0:
                beat = time.monotonic()
                self._database.beats(name)
            while not self._settings.knobs.get("stalled") and (user := self._next(time.monotonic())) is not None:
                self._finish("queue", {"targetingKey": user})

    @property
    def active_workers(self) -> int:
        return max(len(self._workers) - int(self._settings.knobs.get("crashed", 0)), 0)

    # --- how it goes --------------------------------------------------------------------------------------------------

    def measure(self) -> None:
        now = time.monotonic()
        with self._lock:
            while self._done and self._done[0].at < now - LOOK_BACK_SECONDS:
                self._done.popleft()
            done = list(self._done)
        knobs = self._settings.knobs
        count, per_minute = max(len(done), 1), 60 / LOOK_BACK_SECONDS
        kept = [one for one in done if one.is_kept]
        usual = NOW_ERRORS if self.is_new else BEFORE_ERRORS
        self._set(
            embedding_success_rate=sum(one.succeeded for one in done) / count if done else 1.0,
            embedding_queue_depth=len(self._queue),
            api_quota_usage=self._quota,
            active_embedding_workers=self.active_workers,
            system_error_rate=knobs.get("errors", usual),
            embedding_processing_seconds_mean=sum(SECONDS[one.how] for one in done) / count,
            embedding_throughput_per_minute=sum(one.documents for one in done) * per_minute,
            embedding_queue_items_per_minute=sum(one.how != "direct" for one in done) * per_minute,
            embedding_recovery_seconds=self._recovered(now),
            embedding_supported_users=80,
            embedding_resource_utilization=0.6,
            monitoring_data_accuracy=1.0 - knobs.get("lost", 0.0),
            monitoring_storage_growth_bytes_per_hour=len(kept) * ROW_BYTES * 3600 / LOOK_BACK_SECONDS,
            monitoring_storage_expected_bytes_per_hour=EXPECTED_BYTES,
            monitoring_cpu_overhead_share=0.03 * len(kept) / count,
            monitoring_memory_overhead_share=0.06 * len(kept) / count,
            monitoring_database_load_increase=0.1 * len(kept) / count,
            dashboard_load_seconds=knobs.get("dashboard", 0.8),
            dashboard_update_seconds=EVERY_SECONDS,
            dashboard_supported_users=80,
        )

    @property
    def _quota(self) -> float:
        """The share that is used up; what is not critical takes its own part of it."""
        is_paused = self._settings.values["non_critical"] == "paused"
        return self._settings.knobs.get("quota", QUOTA) * (CRITICAL_SHARE if is_paused else 1.0)

    def _set(self, **values: float) -> None:
        for name, value in values.items():
            self._gauges[name].set(value)

    def _recovered(self, now: float) -> float:
        """How long it last was unwell."""
        if all(self.checks().values()):
            if self._unwell_since:
                self._recovery, self._unwell_since = now - self._unwell_since, 0.0
        elif not self._unwell_since:
            self._unwell_since = now
        return self._recovery

    def checks(self) -> dict[str, bool]:
        knobs = self._settings.knobs
        return {
            "database": self._database.is_there,
            "queueWorkers": bool(not self.pods.workers or self.active_workers),
            "apiQuota": self._quota < 1,
            "monitoring": knobs.get("lost", 0.0) < 1,
            "rateLimiter": not knobs.get("limiter", 0),
        }

    def mode(self) -> str:
        users = ({"targetingKey": f"user-{number}"} for number in range(USERS))
        is_on = any(self._flags.is_on("queueBasedProcessing", user) for user in users)
        return "queue" if self._queue or is_on else "direct"


class Database:
    """The three tables, of which any may not be there."""

    def __init__(self, dsn: str) -> None:
        self._connection = psycopg.connect(dsn, autocommit=True)
        self.is_there = True

    def keep(self, team: str, seconds: float, succeeded: bool) -> float:
        """What that took."""
        began = time.monotonic()
        self._tell(
            "INSERT INTO embedding_performance_metrics (team, seconds, succeeded) VALUES (%s, %s, %s)",
            (team, seconds, succeeded),
        )
        return time.monotonic() - began

    def add_session(self, profile: str, documents: int) -> None:
        self._tell(
            "INSERT INTO batch_upload_sessions (profile, documents) VALUES (%s, %s)",
            (profile, documents),
        )

    def beats(self, name: str) -> None:
        self._tell(
            "INSERT INTO embedding_queue_workers (name) VALUES (%s) "
            "ON CONFLICT (name) DO UPDATE SET heartbeat_at = now()",
            (name,),
        )

    def leaves(self, name: str) -> None:
        self._tell("DELETE FROM embedding_queue_workers WHERE name = %s", (name,))

    def _tell(self, statement: Any, values: tuple[Any, ...]) -> None:
        try:
            self._connection.execute(statement, values)
            self.is_there = True
        except psycopg.errors.UndefinedTable:
            return  # before the migration, or after it went back
        except psycopg.OperationalError:
            self.is_there = False
