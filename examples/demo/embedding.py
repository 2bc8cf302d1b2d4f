"""What the service does, without HTTP: turns documents into vectors, at once or through a queue, alone or in batches.

Two releases brought new ways of doing it, each behind a flag:

- the first: measure every answer (embeddingMonitoring), work through a queue (queueBasedProcessing), batches side by
  side (batchOptimization);
- the second: skip texts that were embedded before. Fingerprints of texts are collected (fingerprintMonitoring), looked
  up (fingerprintLookup), and used for batches (fingerprintBatches).

The second has a mistake in it that no test with a few users finds: see `Fingerprints`.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Semaphore

from examples.demo.features import Feature, Features
from examples.demo.metrics import Metrics
from examples.demo.store import Job, MissingTable, Store

MONITORING, QUEUE, BATCH = "embeddingMonitoring", "queueBasedProcessing", "batchOptimization"
COLLECT, LOOKUP, BATCH_LOOKUP = "fingerprintMonitoring", "fingerprintLookup", "fingerprintBatches"
FLAGS = (MONITORING, QUEUE, BATCH, COLLECT, LOOKUP, BATCH_LOOKUP)

MODEL_SECONDS = 0.1  # stands for the call of a model
DIMENSIONS = 16
LOOKUP_SECONDS = 0.8
LOOKUP_CONNECTIONS = 3
LOOKUP_PATIENCE_SECONDS = 0.1


class NoConnection(Exception):
    """Every connection to the fingerprints was in use for too long."""


def embed(text: str) -> str:
    """A small bag-of-words vector (feature hashing), as text."""
    time.sleep(MODEL_SECONDS)
    vector = [0] * DIMENSIONS
    for word in text.split():
        vector[sum(word.encode()) % DIMENSIONS] += 1
    return " ".join(map(str, vector))


class Fingerprints:
    """The mistake of the second release: each lookup holds one of three connections for 0.8 seconds.

    At 5 % of 80 users who come every three seconds one is in use at a time. At 25 % five are wanted at a time, and two
    lookups in five fail.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._connections = Semaphore(LOOKUP_CONNECTIONS)

    def knows(self, text: str) -> bool:
        with self._connection():
            time.sleep(LOOKUP_SECONDS)
            return self._store.knows(text)

    @contextmanager
    def _connection(self) -> Iterator[None]:
        if not self._connections.acquire(timeout=LOOKUP_PATIENCE_SECONDS):
            raise NoConnection
        try:
            yield
        finally:
            self._connections.release()


class Embedding:
    """The service. `features` says, for each user and team, which way their work takes."""

    def __init__(self, store: Store, features: Features, metrics: Metrics) -> None:
        self._store = store
        self._features = features
        self._metrics = metrics
        self._fingerprints = Fingerprints(store)
        self._jobs = Semaphore(store.queued())

    def receive(self, owner: str, text: str) -> int:
        """Takes one document of a user; the HTTP status: 200 embedded, 202 queued, 500 failed."""
        began = time.monotonic()
        job = Job(owner, text)
        queue = self._features.read(QUEUE, owner)
        status = 202 if queue.on and self._queued(job, queue) else self._at_once(job)
        seconds = time.monotonic() - began
        self._metrics.answer_seconds.observe(seconds)
        self._optional(MONITORING, owner, lambda: self._store.measure(owner, seconds))
        self._optional(COLLECT, owner, lambda: self._store.remember(text))
        return status

    def _at_once(self, job: Job) -> int:
        return 200 if self.process(job) else 500

    def _queued(self, job: Job, queue: Feature) -> bool:
        """False: embed it directly, as there is no queue yet and the flag's parameters allow that."""
        try:
            self._store.enqueue(job)
        except MissingTable:
            if queue.parameters.get("fallbackToDirectProcessing"):
                return False
            raise
        self._jobs.release()
        return True

    def work(self, seconds: float) -> None:
        """Waits up to `seconds` for a job in the queue and does it. Each worker calls this again and again."""
        if self._jobs.acquire(timeout=seconds) and (job := self._store.take()):
            self.process(job)

    def process(self, job: Job) -> bool:
        """Embeds one document; whether that went well."""
        queue, lookup = self._features.read(QUEUE, job.owner), self._features.read(LOOKUP, job.owner)
        well = self._embed(job, lookup)
        self._metrics.count(QUEUE, queue.variant, well)
        self._metrics.count(LOOKUP, lookup.variant, well)
        return well

    def _embed(self, job: Job, lookup: Feature) -> bool:
        try:
            if lookup.on and self._fingerprints.knows(job.text):
                return True
            self._store.keep(job.owner, embed(job.text))
        except (NoConnection, MissingTable):
            return False
        return True

    def _optional(self, flag: str, owner: str, action: Callable[[], None]) -> None:
        """Something that a flag adds to an answer, and whose failure is counted but not the user's."""
        feature = self._features.read(flag, owner)
        well = True
        if feature.on:
            try:
                action()
            except MissingTable:
                well = False
        self._metrics.count(flag, feature.variant, well)

    def batch(self, team: str, texts: list[str]) -> None:
        """Imports a team's texts: one by one, or side by side as far as the flag's parameters allow."""
        batch, lookup = self._features.read(BATCH, team), self._features.read(BATCH_LOOKUP, team)
        wanted = dict.fromkeys(texts) if lookup.on else texts
        began = time.monotonic()
        width = batch.parameters.get("maxConcurrentRequests") if batch.on else 1
        with ThreadPoolExecutor(width if isinstance(width, int) else 1) as pool:
            for vector in pool.map(embed, wanted):
                self._store.keep(team, vector)
        self._metrics.batch_seconds.observe(time.monotonic() - began)
        self._metrics.count(BATCH, batch.variant, True)
        self._metrics.count(BATCH_LOOKUP, lookup.variant, True)
