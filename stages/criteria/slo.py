"""``slo``: how fast the canary's own series burn the error budget."""

from stages.criteria.base import Criterion
from stages.values import Part, Share


class SloOf(Part):
    """``objective`` is the share of good events that is promised, such as 99.9 %."""

    bad: str
    total: str
    objective: Share


class Slo(Criterion):
    slo: SloOf
