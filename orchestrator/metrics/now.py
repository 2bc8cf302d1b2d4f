"""What stands now, looked at when somebody asks: runs, what holds them and for how long, gates, effects."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.core.moment import Moment
from orchestrator.core.phases import TRANSITIONS, Phase, Reason
from orchestrator.core.view import gate
from orchestrator.metrics.families import Name, Values, gauge, pairs_gauge
from stages.criteria.base import Verdict

LOOKED_AT_ONCE = 100
"""Runs looked at in one turn of the event loop: with thousands, the rest of the process must not wait for all."""
PLACES: tuple[Values, ...] = tuple(
    dict.fromkeys((str(phase), str(leg or "")) for edge in TRANSITIONS for phase, leg in (edge.source, edge.target))
)


@dataclass(frozen=True, slots=True)
class Counts:
    """``runs`` by phase, ``events`` of all of them: what the store knows, of runs that have ended too."""

    runs: Mapping[str, int]
    events: int


@dataclass(frozen=True, slots=True)
class RunNow:
    """A run that this controller walks. *is_unwritable*: the store refuses what is to be written of it now;
    *unseen_seconds*: since something was decided about it."""

    moment: Moment
    is_unwritable: bool
    unseen_seconds: float = 0.0


@dataclass(slots=True)
class Seen:
    """Numbers of all runs that are walked; ages in seconds, of the oldest."""

    places: Counter[Values] = field(default_factory=Counter)
    holds: Counter[str] = field(default_factory=Counter)
    hold_ages: dict[str, float] = field(default_factory=dict)
    gates: Counter[str] = field(default_factory=Counter)
    outstanding: int = 0
    outstanding_age: float = 0.0
    failing: int = 0
    unwritable: int = 0
    unseen: float = 0.0
    late: float = 0.0
    notices: int = 0
    notice_age: float = 0.0
    channels_failing: int = 0

    def add(self, run: RunNow) -> None:
        state, now = run.moment.state, run.moment.now
        self.places[str(state.phase), str(state.leg or "")] += not state.ended
        for hold in state.holds.values():
            self.holds[hold.reason] += 1
            self.hold_ages[hold.reason] = max(self.hold_ages.get(hold.reason, 0.0), now - hold.since)
        shown = None if state.ended else gate(run.moment)
        if shown is not None:
            self.gates[shown["verdict"]] += 1
            due_at = run.moment.reached_gate.due_at
            self.late = max(self.late, now - due_at if due_at is not None else 0.0)
        for entry in state.outstanding.values():
            self.outstanding += 1
            self.outstanding_age = max(self.outstanding_age, now - entry.since)
            self.failing += entry.failing is not None
        self.unwritable += run.is_unwritable
        self.unseen = max(self.unseen, run.unseen_seconds)
        for notice in state.notices.values():
            if not notice.settled:
                self.notices += 1
                self.notice_age = max(self.notice_age, now - notice.requested_at)
        self.channels_failing += len(state.failing_channels)


async def seen(runs: Iterable[RunNow]) -> Seen:
    found = Seen()
    for index, run in enumerate(runs):
        if index % LOOKED_AT_ONCE == LOOKED_AT_ONCE - 1:
            await asyncio.sleep(0)
        found.add(run)
    return found


def lines(counts: Counts | None, seen: Seen) -> list[str]:
    """As Prometheus reads them. *counts* is None while the store can't be read."""
    place = Name("staged_rollout_active_runs", "Runs that this controller walks, by phase and leg.", ("phase", "leg"))
    reasons = [str(reason) for reason in Reason]
    return [
        *gauge("staged_rollout_store_readable", "Whether the store could be read for this answer.", counts is not None),
        *(_of_store(counts) if counts is not None else ()),
        *pairs_gauge(place, {one: seen.places[one] for one in PLACES if one[0] != Phase.ENDED}),
        *gauge("staged_rollout_holds", "What holds runs now.", {one: seen.holds[one] for one in reasons}, "reason"),
        *gauge(
            "staged_rollout_hold_oldest_age_seconds",
            "For how long the oldest of these holds has been there; 0 if there is none.",
            {one: seen.hold_ages.get(one, 0.0) for one in reasons},
            "reason",
        ),
        *gauge(
            "staged_rollout_gates",
            "Gates that are looked at now, by verdict.",
            {v: seen.gates[v] for v in Verdict},
            "verdict",
        ),
        *gauge("staged_rollout_effects_outstanding", "Effects without an outcome.", seen.outstanding),
        *gauge(
            "staged_rollout_effect_oldest_age_seconds",
            "For how long the oldest of these effects has had no outcome; 0 if there is none.",
            seen.outstanding_age,
        ),
        *gauge(
            "staged_rollout_effects_failing",
            "Effects whose newest try failed, and which are tried again.",
            seen.failing,
        ),
        *gauge(
            "staged_rollout_look_oldest_age_seconds",
            "For how long the run that was looked at longest ago was not: seconds, unless the controller hangs.",
            seen.unseen,
        ),
        *gauge(
            "staged_rollout_look_late_seconds",
            "By how much the look at a gate that is overdue the longest is late; 0 if none is.",
            seen.late,
        ),
        *gauge("staged_rollout_notifications_waiting", "Notifications that are still to be delivered.", seen.notices),
        *gauge(
            "staged_rollout_notification_oldest_age_seconds",
            "For how long the oldest of these has waited; 0 if there is none.",
            seen.notice_age,
        ),
        *gauge(
            "staged_rollout_channels_failing",
            "Channels of runs that can't be told what they are to be told.",
            seen.channels_failing,
        ),
        *gauge(
            "staged_rollout_runs_unwritable", "Runs of which the store refuses what is to be written.", seen.unwritable
        ),
    ]


def _of_store(counts: Counts) -> list[str]:
    runs = {str(phase): counts.runs.get(phase, 0) for phase in Phase}
    return [
        *gauge("staged_rollout_runs", "Runs in the store, by phase.", runs, "phase"),
        *pairs_gauge(Name("staged_rollout_events_total", "Events in the store."), {(): counts.events}, "counter"),
    ]
