"""What the service tells Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """`queued` gives the depth of the queue whenever Prometheus asks."""

    def __init__(self, queued: Callable[[], float]) -> None:
        self._registry = CollectorRegistry()
        self._work = Counter(
            "embedding_work",
            "Work done under each variant of each flag.",
            ["flag", "variant", "outcome"],
            registry=self._registry,
        )
        self.answer_seconds = Histogram(
            "embedding_answer_seconds", "Until a user has an answer.", buckets=BUCKETS, registry=self._registry
        )
        self.batch_seconds = Histogram(
            "embedding_batch_seconds", "One batch of a team.", buckets=BUCKETS, registry=self._registry
        )
        depth = Gauge("embedding_queue_depth", "Documents that wait for a worker.", registry=self._registry)
        depth.set_function(queued)

    def count(self, flag: str, variant: str, well: bool) -> None:
        """One piece of work. Both outcomes get a series at once, so that no error ever looks like no data."""
        ok, error = (self._work.labels(flag, variant, outcome) for outcome in ("ok", "error"))
        (ok if well else error).inc()

    def text(self) -> bytes:
        return generate_latest(self._registry)
