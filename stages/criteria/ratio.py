"""``ratio``: bad events against all events, tested against a bound."""

from stages.criteria.base import Criterion
from stages.values import Part, Share


class RatioOf(Part):
    """``bad`` and ``total`` are series selectors of counters."""

    bad: str
    total: str
    at_most: Share


class Ratio(Criterion):
    ratio: RatioOf
