"""A plan's gates, replayed over the past of the user's own Prometheus: how often each would have acted on nothing.

Theory of operation. In the past that is replayed nothing was released, so whatever a gate would have said against a
release is a false alarm. ``schedule`` lays releases end to end over that past, each with the steps and bakes of its
stage. ``replay`` walks through one of them look by look with a virtual time, and calls the same pure functions as a
live run: a kind says what a look measures, the answer comes from the past, and the kind judges it. ``results`` counts
what failed and what held, and ``proposals`` looks for the bounds that would have been quiet, by replays again.

Most criteria are asked on the past as it was. One that compares a canary with a control needs two arms, of which the
past has one. So ``placebo`` splits it: keys below the percentage against the others where a flag's exposures are
counted by band, else some of the control's pods against the rest. Nothing tells these two apart but chance and what
keys and pods are like, which is just what the test has to bear.

``ledger`` and ``counts`` keep of the past what one release needs. Memory does not grow with the span, but for one
number a look and criterion, of which the plot is drawn.
"""

from orchestrator.backtest.results import Result
from orchestrator.backtest.run import Progress, Span, backtest

__all__ = ["Progress", "Result", "Span", "backtest"]
