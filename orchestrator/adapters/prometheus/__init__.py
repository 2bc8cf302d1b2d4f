"""Whatever answers the Prometheus HTTP API, as measurements: queries, counts of counters, and history.

``api`` asks (each question once, a few at a time), ``answers`` reads what comes back, ``counters`` is the arithmetic
of counters and ``counting`` what is asked for it. ``client`` puts them together.
"""

from orchestrator.adapters.prometheus.answers import UnusableAnswer
from orchestrator.adapters.prometheus.api import REQUESTS_PER_SERVER
from orchestrator.adapters.prometheus.client import PrometheusClient
from orchestrator.adapters.prometheus.instant import STALE_AFTER_SCRAPES, is_plain_selector

__all__ = ["REQUESTS_PER_SERVER", "STALE_AFTER_SCRAPES", "PrometheusClient", "UnusableAnswer", "is_plain_selector"]
