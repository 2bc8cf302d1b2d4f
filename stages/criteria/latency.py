"""``latency``: the share of slow events, by the edges of a histogram's buckets, against a concurrent control."""

from stages.criteria.base import Criterion
from stages.criteria.compare import Arms
from stages.values import Part, Share


class LatencyOf(Part):
    """``histogram`` is a series selector of a classic histogram, without its ``_bucket``."""

    histogram: str
    arms: Arms
    max_increase: Share = 0.05


class Latency(Criterion):
    latency: LatencyOf
