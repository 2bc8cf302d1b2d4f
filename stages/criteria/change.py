"""``change``: after the step against before it, where no concurrent control exists."""

from stages.checks import HttpRequest
from stages.criteria.base import Criterion
from stages.values import Duration, Part, Share


class ChangeOf(Part):
    """``window`` is the span before the step that serves as the baseline."""

    query: str | None = None
    sql: str | None = None
    http: HttpRequest | None = None
    command: tuple[str, ...] | None = None
    window: Duration
    max_increase: Share
    fails: bool = False


class Change(Criterion):
    change: ChangeOf
