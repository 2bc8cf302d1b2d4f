"""Accepted findings of the lint: named as the rules are, and with a reason."""

from collections.abc import Iterator

from stages.kinds.migration import LintAcceptance
from stages.lint import RULES
from stages.problems import suggestion
from stages.review.view import Finding, View


def review_lint(view: View) -> Iterator[Finding]:
    for place in view.places:
        part = place.part
        if not isinstance(part, LintAcceptance):
            continue
        if part.rule not in RULES:
            hint = suggestion(part.rule, RULES) or "; `rollout validate` names the rule of each finding"
            yield (*place.path, "rule"), f"unknown lint rule {part.rule!r}{hint}"
        if not part.reason.strip():
            yield (*place.path, "reason"), "an accepted finding needs a reason, for whoever reads the plan later"
