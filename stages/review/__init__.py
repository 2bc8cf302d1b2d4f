"""What models cannot see: whether the parts of a plan fit together. One file for each kind of question.

Every question is a function from a ``View`` (a plan as expanded for one environment) to findings, pairs of a path and
a sentence.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from stages.later import refusals
from stages.plan import StagedRollout
from stages.review.actions import review_actions
from stages.review.addresses import review_addresses
from stages.review.flag_systems import review_flag_systems, shared_places
from stages.review.gates import review_gates
from stages.review.lint import review_lint
from stages.review.names import review_duplicates, review_names
from stages.review.needs import review_needs, review_queries
from stages.review.order import review_order
from stages.review.view import Finding, View
from stages.review.warnings import warnings


def _later(view: View) -> Iterator[Finding]:
    for place in view.places:
        yield from refusals(place)


OF_PARTS: tuple[Callable[[View], Iterator[Finding]], ...] = (
    _later,
    review_names,
    review_duplicates,
    review_queries,
    review_lint,
)
"""Questions about single parts and their names, which can also be put to what is left of a plan with errors."""

OF_THE_WHOLE: tuple[Callable[[View], Iterator[Finding]], ...] = (
    review_addresses,
    review_needs,
    review_actions,
    review_order,
    review_flag_systems,
    review_gates,
)


def review(view: View, whole: bool = True) -> list[Finding]:
    questions = OF_PARTS + OF_THE_WHOLE if whole else OF_PARTS
    return [finding for question in questions for finding in question(view)]


def review_together(
    documents: Sequence[tuple[str, StagedRollout]], files: Mapping[str, str]
) -> Iterator[tuple[int, list[Finding]]]:
    """Questions about environments beside each other: which document's finding it is, by number."""
    yield from ((index, [finding]) for index, finding in shared_places(documents, files))


__all__ = ["Finding", "View", "review", "review_together", "warnings"]
