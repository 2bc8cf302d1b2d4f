"""Criteria: one testable statement each about something that is measured. One file a kind.

The union ``AnyCriterion`` is told apart by the field that a kind brings with it; a criterion with none of them is a
``threshold``.
"""

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from stages.criteria.change import Change
from stages.criteria.compare import Compare
from stages.criteria.latency import Latency
from stages.criteria.ratio import Ratio
from stages.criteria.slo import Slo
from stages.criteria.threshold import Threshold

KINDS: dict[str, type] = {"ratio": Ratio, "compare": Compare, "latency": Latency, "change": Change, "slo": Slo}


def kind_of(value: Any) -> str:
    """The kind of a criterion, as a model or as the mapping that it is read from."""
    if isinstance(value, dict):
        return next((name for name in KINDS if name in value), "threshold")
    return type(value).__name__.lower()


AnyCriterion = Annotated[
    Annotated[Threshold, Tag("threshold")]
    | Annotated[Ratio, Tag("ratio")]
    | Annotated[Compare, Tag("compare")]
    | Annotated[Latency, Tag("latency")]
    | Annotated[Change, Tag("change")]
    | Annotated[Slo, Tag("slo")],
    Discriminator(kind_of),
]

__all__ = ["KINDS", "AnyCriterion", "Change", "Compare", "Latency", "Ratio", "Slo", "Threshold", "kind_of"]
