"""The evidence of bad events among all from look to look: what ``ratio`` and ``slo`` remember.

Each kind runs a few sequential tests side by side on the same counts, by name. Evidence against a service is carried
over steps, and a step is a place where worse may have begun. What may let a step end early (``EXCLUDED``) is started
anew with each: a step is left early for what was seen of itself. A person who drops the evidence begins all anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from stages.criteria import bins as binned
from stages.criteria.base import Memory, Setting
from stages.criteria.bins import Bin, Bins
from stages.criteria.counting import Events, Interval, begins_at, number, remembered
from stages.statistics import one_sample
from stages.statistics.one_sample import Counts, Dispersion, Test
from stages.statistics.onsets import Started, log_evidence, stepped
from stages.values import Json

EXCLUDED = "excluded"

Shapes = Mapping[str, int]
"""Names of a kind's tests, and how many alternatives each has."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the looks before have left.

    *began*: the begin of the evidence, None before there is some. *step*: when what the newest count was of came into
    force, and *step_began* when counting of it began. *eventful_to*: the end of the newest interval of this step that
    had events, None if none had.
    """

    started: Mapping[str, Started]
    dispersion: Dispersion
    bins: Bins = ()
    began: float | None = None
    step: float | None = None
    step_began: float = 0.0
    eventful_to: float | None = None

    def log(self, test: str) -> float:
        """Natural logarithm of the evidence of the *test* with this name."""
        return float(log_evidence(self.started[test]))

    def window(self, seconds: float) -> Bin | None:
        """What was counted in the newest *seconds*; None if there were no events."""
        found = binned.within(self.bins, seconds)
        return found if found is not None and found.total > 0 else None

    def to_json(self) -> dict[str, Json]:
        return {
            "tests": {name: started.to_json() for name, started in self.started.items()},
            "dispersion": self.dispersion.to_json(),
            "bins": binned.to_json(self.bins),
            "began": self.began,
            "step": self.step,
            "step_began": self.step_began,
            "eventful_to": self.eventful_to,
        }


def nothing_yet(shapes: Shapes) -> Known:
    return Known({name: Started.begin(size) for name, size in shapes.items()}, Dispersion.begin())


def known_of(memory: Memory, setting: Setting, shapes: Shapes) -> Known:
    """What is remembered and still holds."""
    extra = remembered(memory)
    began, step_began = number(extra.get("began")), number(extra.get("step_began"))
    if began is None or step_began is None or began < setting.evidence_from:
        return nothing_yet(shapes)
    step = number(extra.get("step"))
    is_same_step = step == begins_at(setting)
    return Known(
        started=_started(extra.get("tests"), shapes, is_same_step),
        dispersion=Dispersion.from_json(extra.get("dispersion")),
        bins=binned.from_json(extra.get("bins")),
        began=began,
        step=step,
        step_began=step_began,
        eventful_to=number(extra.get("eventful_to")) if is_same_step else None,
    )


def _started(value: Any, shapes: Shapes, is_same_step: bool) -> dict[str, Started]:
    tests = value if isinstance(value, dict) else {}
    return {
        name: Started.from_json(tests.get(name) if is_same_step or name != EXCLUDED else None, size)
        for name, size in shapes.items()
    }


def in_step(known: Known, interval: Interval, setting: Setting) -> Known:
    """Before an interval is fed that may be the first of its step."""
    step = begins_at(setting)
    if known.step == step:
        return known
    return replace(
        known,
        started={name: one if name == EXCLUDED else stepped(one) for name, one in known.started.items()},
        began=interval.from_ if known.began is None else known.began,
        step=step,
        step_began=interval.from_,
    )


def fed(
    known: Known, interval: Interval, events: Events, tests: Mapping[str, Test], usual_share: float, kept_seconds: float
) -> Known:
    """After one more interval of the step. *usual_share* of bad events is what a few pairs of looks weigh as much as
    before any was seen; *kept_seconds* is how far back windows may reach."""
    counts = Counts(events.bad, events.total, known.dispersion.value(usual_share))
    from_seconds = interval.from_ - known.step_began
    return replace(
        known,
        started={
            name: one_sample.look(tests[name], started, counts, from_seconds) for name, started in known.started.items()
        },
        dispersion=one_sample.with_look(known.dispersion, events.bad, events.total),
        bins=binned.with_interval(known.bins, interval, events, kept_seconds),
        eventful_to=interval.to if events.total > 0 else known.eventful_to,
    )
