"""What a rehearsal says, and how a walk becomes a row of it. ``to_json`` is a documented form (docs/rehearse.md)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from orchestrator.core import events as ev
from orchestrator.core.phases import Reason
from orchestrator.ports import Recorded
from orchestrator.rehearse.loop import START
from orchestrator.rehearse.promises import Ending, broken, left, touched
from orchestrator.rehearse.scenarios import GOES_ON, UNSEEN, WAITS, Case, Scenario
from orchestrator.rehearse.trouble import PAUSE_SECONDS
from orchestrator.rehearse.walk import RESTART_SECONDS, Walk

HELPED = frozenset(
    {
        Reason.APPROVAL, Reason.MANUAL, Reason.POINT_OF_NO_RETURN, Reason.UNKNOWN_OUTCOME, Reason.UNDO_FAILING,
        Reason.CHANGED_ELSEWHERE,
    }
)  # fmt: skip
"""Holds that only a person ends, whatever becomes of the world."""


@dataclass(frozen=True, slots=True)
class Need:
    """A hold that needs a person. *told*: the channels that heard of it, the first after so many seconds."""

    hold: str
    item: str
    detail: str
    told: tuple[str, ...]
    told_after_seconds: float | None


@dataclass(frozen=True, slots=True)
class Row:
    """One scenario at one place. Seconds are virtual, counted from when things went wrong; None: it did not happen.

    *end* is the run's outcome, "goes on", "waits for a person", "not seen" (by the gate, where all it measures is bad)
    or "never ends". *lasted_seconds*: so long it went wrong
    (None: to the end).
    """

    scenario: str
    environment: str
    stage: str
    step: str
    at: str
    end: str
    seconds: float
    lasted_seconds: float | None
    exposure_back_seconds: float | None
    all_back_seconds: float | None
    stays: tuple[str, ...]
    needs: tuple[Need, ...]
    told: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def place(self) -> str:
        return " / ".join(part for part in (self.stage, self.step) if part)


@dataclass(frozen=True, slots=True)
class Milestone:
    """A step of the way forward. *reached* and *left* are virtual seconds after the start."""

    environment: str
    stage: str
    step: str
    percentage: float | None
    reached_seconds: float
    left_seconds: float


@dataclass(frozen=True, slots=True)
class Result:
    plan: str
    digest: str
    seed: int
    environments: tuple[str, ...]
    forward: Row
    milestones: tuple[Milestone, ...]
    rows: tuple[Row, ...]
    scenarios: tuple[tuple[str, str], ...]  # name, title
    cut: tuple[str, ...] = ()  # what was not walked
    most: int = 0
    steps: int = 0
    virtual_seconds: float = 0.0
    assumed: dict[str, float] = field(default_factory=dict)

    @property
    def all_rows(self) -> tuple[Row, ...]:
        return (self.forward, *self.rows)

    @property
    def is_fine(self) -> bool:
        return not any(row.problems for row in self.all_rows)

    def to_json(self) -> dict[str, Any]:
        return {
            "plan": self.plan,
            "digest": self.digest,
            "seed": self.seed,
            "as_promised": self.is_fine,
            "environments": list(self.environments),
            "begins": START,
            "forward": {**asdict(self.forward), "steps": [asdict(one) for one in self.milestones]},
            "scenarios": [
                {"name": name, "title": title, "cases": [asdict(row) for row in self.rows if row.scenario == name]}
                for name, title in self.scenarios
            ],
            "cut": list(self.cut),
            "most": self.most,
            "steps": self.steps,
            "virtual_seconds": self.virtual_seconds,
            "assumed_seconds": self.assumed,
        }


# --- from a walk to a row ---------------------------------------------------------------------------------------------


def row_of(scenario: Scenario, case: Case, walk: Walk) -> Row:
    place = case.fork.place if case.fork is not None else None
    end, needs = _end(walk, scenario), needs_of(walk)
    problems = [*broken(Ending(walk, end)), *walk.crashes]
    if end not in scenario.promised:
        problems.append(walk.failure or f"it ends in {end!r}, and {_either(scenario.promised)} is promised")
    problems += [_untold(one, walk) for one in needs if not one.told]
    return Row(
        scenario=scenario.name,
        environment=place.environment if place else "",
        stage=place.stage if place else "",
        step=place.step if place else "",
        at=case.at,
        end=end,
        seconds=round(walk.over_at - walk.began_at, 1),
        lasted_seconds=_lasted(walk),
        exposure_back_seconds=_exposure_back(walk),
        all_back_seconds=_all_back(walk),
        stays=_stays(walk),
        needs=needs,
        told=tuple(sorted({notice.channel for _, notice in walk.world.told})),
        problems=tuple(dict.fromkeys(problems)),
    )


def _lasted(walk: Walk) -> float | None:
    if walk.trouble.away is not None:
        return walk.trouble.away_seconds
    if walk.trouble.resumes:
        return PAUSE_SECONDS
    return RESTART_SECONDS if walk.trouble.is_killed or walk.trouble.dies_after is not None else None


def _either(words: frozenset[str]) -> str:
    return " or ".join(sorted(words))


def _untold(need: Need, walk: Walk) -> str:
    what = need.hold.replace("_", " ")
    if not walk.plan.program.notify.channels:
        return f"it needs a person ({what}), and nobody is told: the plan has no notify.channels"
    return f"it needs a person ({what}), and nobody is told"


def _end(walk: Walk, scenario: Scenario) -> str:
    if walk.failure:
        return "never ends"
    if walk.ended is not None and walk.ended.outcome == "promoted" and scenario.until is not None:
        return GOES_ON  # so fast that it was through before that was looked at
    if walk.ended is not None and walk.ended.outcome == "promoted" and walk.trouble.gates_fail:
        return UNSEEN  # such as a comparison with a control, where everybody has the flag
    if walk.ended is not None:
        return str(walk.ended.outcome)
    return WAITS if walk.is_waiting else GOES_ON


def needs_of(walk: Walk) -> tuple[Need, ...]:
    """Holds that a person ended, or that stand at the end; but for what the person on call did himself."""
    if walk.ended is not None and walk.ended.outcome == "stopped":
        return ()  # a person was there
    found: dict[tuple[str, str], Need] = {}
    own = {"paused"} if walk.trouble.resumes else set()
    for record in walk.new_records:
        event = record.event
        is_helped = isinstance(event, ev.HoldSet) and event.hold in HELPED
        if isinstance(event, ev.HoldSet) and is_helped and walk.trouble.away is None:
            found.setdefault((event.hold, event.item), _need(walk, event.hold, event.item, event.detail, record.at))
    if walk.is_waiting and walk.last is not None:
        for hold in walk.last.state.holds.values():
            if hold.reason not in own:
                key = (hold.reason.value, hold.item)
                found.setdefault(key, _need(walk, *key, hold.detail, hold.since))
    return tuple(found.values())


def _need(walk: Walk, hold: str, item: str, detail: str, since: float) -> Need:
    prefix = f"hold:{hold}/{item}/"
    told = [(at, notice.channel) for at, notice in walk.world.told if notice.key.startswith(prefix)]
    first = round(min(at for at, _ in told) - since, 1) if told else None
    return Need(hold, item, detail, tuple(dict.fromkeys(channel for _, channel in told)), first)


def _exposure_back(walk: Walk) -> float | None:
    """Until every flag, and every version, stands where it stood before."""
    targets: set[str | None] = set()
    nodes: set[str] = set()
    last: float | None = None
    for record in walk.new_records:
        event = record.event
        match event:
            case ev.RollbackStarted():
                exposed = [one for one in event.nodes if one.kind == "exposure" or is_version(one.target)]
                targets, nodes = {one.target for one in exposed}, {one.id for one in exposed}
            case ev.EffectFinished() if event.target in targets and event.state == "done":
                last = record.at
            case ev.NodeFinished() if event.node in nodes:
                last = record.at
            case _:
                pass
    return round(last - walk.began_at, 1) if last is not None else None


def is_version(target: str | None) -> bool:
    return target is not None and target.startswith("version:")


def _all_back(walk: Walk) -> float | None:
    ended = next((one for one in walk.new_records if isinstance(one.event, ev.RunEnded)), None)
    is_back = walk.ended is not None and walk.ended.outcome in ("rolled_back", "rollback_failed")
    return round(ended.at - walk.began_at, 1) if ended is not None and is_back else None


def _stays(walk: Walk) -> tuple[str, ...]:
    """What does not come back, and why; of a stopped run all that it changed."""
    if walk.ended is not None and walk.ended.outcome == "stopped":
        targets = touched(walk.records)
        return tuple(f"{title} stays as it is" for target, title in targets.items() if _is_moved(walk, target))
    ended = walk.ended.exceptions if walk.ended is not None else ()
    found = tuple(dict.fromkeys((*ended, *left(walk.new_records))))
    return tuple(one for one in found if not any(other != one and other.startswith(one) for other in found))


def _is_moved(walk: Walk, target: str) -> bool:
    stands = walk.stands(target)
    return stands is not None and stands != walk.before.get(target)


def milestones_of(walk: Walk) -> tuple[Milestone, ...]:
    found: list[Milestone] = []
    forks = [fork for fork in walk.forks if isinstance(fork.event, ev.LegEntered)]
    end = walk.over_at - START
    for number, fork in enumerate(forks):
        place = fork.place
        left_at = _left_at(walk.records, fork.event, end) if number < len(forks) else end
        found.append(
            Milestone(
                place.environment, place.stage, place.step, place.percentage, round(fork.at, 1), round(left_at, 1)
            )
        )
    return tuple(found)


def _left_at(records: Sequence[Recorded], event: ev.Event, end: float) -> float:
    after = False
    for record in records:
        if after and isinstance(record.event, ev.LegEntered | ev.EnvironmentPassed | ev.StageEnded):
            return record.at - START
        after |= record.event is event
    return end
