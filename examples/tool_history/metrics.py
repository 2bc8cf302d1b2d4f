"""What the backend tells Prometheus."""

import logging

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

# each limit of the checklist is a bucket's edge, so that no share of a bucket has to be guessed to hold against it
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 5.0)


class Metrics:
    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.messages = self._counter("assistant_messages", "Messages that were answered.", "outcome")
        self.collaborations = self._counter(
            "assistant_collaborations", "What messages with an intent led to.", "intent", "workflow"
        )
        self.cards = self._counter("assistant_action_cards", "Action cards, by whose words.", "origin", "valid")
        self.recorded = self._counter("tool_history_executions", "Executions to be written.", "written")
        self.log_entries = self._counter("assistant_log_entries", "What was logged.", "logger", "level")
        self.query_seconds = self._histogram("tool_history_query_seconds", "Until the history answered.", "operation")
        self.record_seconds = self._histogram("tool_history_record_seconds", "What recording costs who waits.")
        self.decision_seconds = self._histogram("router_decision_seconds", "Until a tool was chosen.", "history")
        self.workflow_seconds = self._histogram("collaboration_seconds", "A collaboration.", "workflow")
        for written in ("yes", "no"):
            self.recorded.labels(written)
        for outcome in ("ok", "error"):
            self.messages.labels(outcome)
        for level in ("INFO", "ERROR"):
            self.log_entries.labels("tool_history", level)
            self.log_entries.labels("assistant", level)

    def _counter(self, name: str, said: str, *labels: str) -> Counter:
        return Counter(name, said, labels, registry=self._registry)

    def _histogram(self, name: str, said: str, *labels: str) -> Histogram:
        return Histogram(name, said, labels, buckets=SECONDS, registry=self._registry)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class Counting(logging.Handler):
    """Counts entries of the log."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__()
        self._metrics = metrics

    def emit(self, record: logging.LogRecord) -> None:
        self._metrics.log_entries.labels(record.name, record.levelname).inc()
