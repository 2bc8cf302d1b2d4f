"""Criteria: one testable statement each about something that is measured. One file a kind.

The union ``AnyCriterion`` is told apart by the field that a kind brings with it; a criterion with none of them is a
``threshold``. A ready-made one (``standard``) is read as it was written and becomes a criterion of one of the kinds.
"""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Discriminator, Tag

from stages.criteria.change import Change
from stages.criteria.compare import Compare
from stages.criteria.latency import Latency
from stages.criteria.ratio import Ratio
from stages.criteria.ready_made import StandardCriterion, expand
from stages.criteria.slo import Slo
from stages.criteria.threshold import Threshold

KINDS: dict[str, type] = {"ratio": Ratio, "compare": Compare, "latency": Latency, "change": Change, "slo": Slo}


def kind_of(value: Any) -> str:
    """The kind of a criterion, as a model or as the mapping that it is read from."""
    if isinstance(value, dict):
        return next((name for name in ("standard", *KINDS) if name in value), "threshold")
    return "standard" if isinstance(value, StandardCriterion) else type(value).__name__.lower()


if TYPE_CHECKING:
    AnyCriterion = Threshold | Ratio | Compare | Latency | Change | Slo
else:
    AnyCriterion = Annotated[
        Annotated[Threshold, Tag("threshold")]
        | Annotated[Ratio, Tag("ratio")]
        | Annotated[Compare, Tag("compare")]
        | Annotated[Latency, Tag("latency")]
        | Annotated[Change, Tag("change")]
        | Annotated[Slo, Tag("slo")]
        | Annotated[StandardCriterion, AfterValidator(expand), Tag("standard")],
        Discriminator(kind_of),
    ]

__all__ = ["KINDS", "AnyCriterion", "Change", "Compare", "Latency", "Ratio", "Slo", "Threshold", "kind_of"]
