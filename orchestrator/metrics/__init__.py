"""What the controller counts of itself, for Prometheus.

Counts are taken where the shell meets the world (the journal, effects, measurements, requests to API servers) and from
the events that it records; what stands now is looked at when it is asked for. The core knows nothing of it. Every
label's values are words of ours, or HTTP's: never a run, a plan, a flag or a person.
"""

from orchestrator.metrics.meter import Meter
from orchestrator.metrics.now import Counts, RunNow

__all__ = ["Counts", "Meter", "RunNow"]
