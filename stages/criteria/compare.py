"""``compare``: the canary's bad events against those of a concurrent control."""

from pydantic import Field

from stages.criteria.base import Criterion
from stages.values import Part, Share


class Arms(Part):
    """Label matchers that tell the two arms apart, such as ``{track="canary"}``."""

    canary: str
    control: str


class CompareOf(Part):
    """Arms come from a flag's exposure counters (the stage's flag if none is named) or from selectors of counters."""

    flag: str | None = None
    bad: str | None = None
    total: str | None = None
    arms: Arms | None = None
    max_increase: Share = 0.05


class Compare(Criterion):
    compare: CompareOf = Field(default_factory=CompareOf)
