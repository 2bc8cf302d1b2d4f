"""``rollout rehearse``: the user's own plan walked under a virtual clock, in a world in which one thing goes wrong.

The real service, runner and core decide; only the world is simulated, and nothing outside is touched. That is the
difference to :mod:`orchestrator.survey`, with which ``rollout validate`` looks at the real world before a start.

The way forward is walked once, from begin to end. How everything stood at each step, before each change and at each
question is kept, and every other scenario of the table (:mod:`orchestrator.rehearse.scenarios`) begins there, so that a
plan of n steps takes about n walks and not n times n.
"""

from orchestrator.rehearse.rehearsing import MOST_STEPS, Asked, Progress, rehearse
from orchestrator.rehearse.result import Milestone, Need, Result, Row

__all__ = ["MOST_STEPS", "Asked", "Milestone", "Need", "Progress", "Result", "Row", "rehearse"]
