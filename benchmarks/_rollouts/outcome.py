"""What became of a rollout, from its journal and from the notes of its load. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

ANSWERS = ("on", "on_errors", "off", "off_errors")
HELD = "held"
WINDOW_SECONDS = 10  # over which the lowest rate is taken


@dataclass(slots=True)
class Story:
    """What a journal tells. Times are seconds since the epoch; None: it did not happen.

    *raises* are the percentages that the flag was raised to, each with its time. *failed_at* and *failed_percentage*
    are those of the gate's failure, *zero_at* is when the flag was back at 0. *sentence* is the gate's last one that
    the journal has. *holds* are seconds by reason, of which those still *open* have no end.
    """

    started_at: float
    raises: list[tuple[float, float]] = field(default_factory=list)
    failed_at: float | None = None
    failed_percentage: float | None = None
    zero_at: float | None = None
    ended_at: float | None = None
    outcome: str = HELD
    sentence: str = ""
    holds: dict[str, float] = field(default_factory=dict)
    open: dict[tuple[str, str], tuple[float, str]] = field(default_factory=dict)

    @property
    def percentage(self) -> float:
        return self.raises[-1][1] if self.raises else 0.0

    @property
    def first_raise_at(self) -> float | None:
        return self.raises[0][0] if self.raises else None


def story_of(events: Iterable[Mapping[str, Any]]) -> Story:
    """Of a run's events as the controller gives them, oldest first. ValueError if there are none."""
    story: Story | None = None
    for event in events:
        at = datetime.fromisoformat(event["time"]).timestamp()
        story = story or Story(at)
        _tell(story, at, event["type"], event["data"])
    if story is None:
        raise ValueError("a journal without events")
    return story


def _tell(story: Story, at: float, kind: str, data: Mapping[str, Any]) -> None:
    story.sentence = _sentence(data.get("evidence")) or story.sentence
    match kind:
        case "EffectFinished":
            _tell_effect(story, at, data)
        case "GateFailed":
            story.failed_at, story.failed_percentage = at, story.percentage
        case "HoldSet":
            story.open[data["hold"], data["item"]] = at, data.get("detail", "")
        case "HoldCleared":
            _close_hold(story, (data["hold"], data["item"]), at)
        case "RunEnded":
            story.outcome, story.ended_at = data["outcome"], at
            for key in list(story.open):
                _close_hold(story, key, at)
        case _:
            pass


def _tell_effect(story: Story, at: float, data: Mapping[str, Any]) -> None:
    observed = data.get("observed")
    if data.get("state") != "done" or not isinstance(observed, Mapping):
        return
    percentage = observed.get("percentage")
    if not isinstance(percentage, int | float):
        return
    if percentage > story.percentage:
        story.raises.append((at, float(percentage)))
    elif percentage == 0 and story.raises and story.zero_at is None:
        story.zero_at = at


def _close_hold(story: Story, key: tuple[str, str], at: float) -> None:
    if key in story.open:
        since, _ = story.open.pop(key)
        story.holds[key[0]] = round(story.holds.get(key[0], 0.0) + at - since, 1)


def _sentence(evidence: Any) -> str:
    """Of the worst criterion of a gate's evidence, the last if several are as bad."""
    criteria = evidence.get("criteria") if isinstance(evidence, Mapping) else None
    if not criteria:
        return ""
    worst = max(criteria, key=lambda one: ("pass", "inconclusive", "fail").index(one["verdict"]))
    return str(worst["sentence"])


@dataclass(frozen=True, slots=True)
class Rates:
    """Answers a second: on the whole, and in the worst ten seconds."""

    mean: float
    lowest: float


class Notes:
    """The load's notes: for each whole second what became of the requests in it."""

    def __init__(self, lines: Iterable[Mapping[str, float]]) -> None:
        self._seconds: dict[int, Counter[str]] = {}
        for line in lines:
            tally = self._seconds.setdefault(round(line["at"]), Counter())
            tally.update({name: int(value) for name, value in line.items() if name != "at"})

    def rates(self, from_: float, to: float) -> Rates:
        """Of the whole seconds between; a second without a note had no answers."""
        seconds = range(round(from_) + 1, round(to) + 1)
        answers = [sum(self._at(second, name) for name in ANSWERS) for second in seconds]
        if not answers:
            return Rates(0.0, 0.0)
        length = min(WINDOW_SECONDS, len(answers))
        sums = [sum(answers[begin : begin + length]) for begin in range(len(answers) - length + 1)]
        return Rates(sum(answers) / len(answers), min(sums) / length)

    def total(self, names: Sequence[str] = ANSWERS, from_: float | None = None) -> int:
        chosen = (tally for second, tally in self._seconds.items() if from_ is None or second > from_)
        return sum(tally[name] for tally in chosen for name in names)

    def ratio(self, from_: float) -> float | None:
        """The error rate with the flag to that without, both after *from_*; None without events of one of them."""
        counts = {name: self.total((name,), from_) for name in ANSWERS}
        on, off = counts["on"] + counts["on_errors"], counts["off"] + counts["off_errors"]
        if not on or not counts["off_errors"]:
            return None
        return (counts["on_errors"] / on) / (counts["off_errors"] / off)

    def last_canary_at(self) -> float | None:
        """The end of the last second in which an answer said that the flag was on."""
        seconds = [second for second, tally in self._seconds.items() if tally["on"] or tally["on_errors"]]
        return float(max(seconds)) if seconds else None

    def newest_at(self) -> float:
        """The end of the last whole second; 0 without any."""
        return float(max(self._seconds, default=1) - 1)

    def _at(self, second: int, name: str) -> int:
        return self._seconds.get(second, Counter())[name]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a trial. Seconds are since the first raise of the flag; None for what did not happen.

    *ended*: the run's outcome, or ``held`` if it had none at the deadline. *percentage* is where the flag stood at the
    decision. *rate* and *lowest_rate* are answers a second from the start of the run to its end. *ratio* is the truth
    as the load saw it. *counted* is what Prometheus has of all answers, 1 for all of them. *crashes* is how often the
    controller had to begin the run anew.
    """

    name: str
    regressed: bool
    ended: str
    percentage: float
    breach_seconds: float | None
    zero_seconds: float | None
    last_canary_seconds: float | None
    end_seconds: float | None
    sentence: str
    holds: Mapping[str, float]
    open_holds: Sequence[str]
    rate: float
    lowest_rate: float
    missed: int
    ratio: float | None
    counted: float
    crashes: int = 0

    @property
    def is_right(self) -> bool:
        return self.ended == ("rolled_back" if self.regressed else "promoted")


def outcome_of(name: str, regressed: bool, story: Story, notes: Notes, counted: float) -> Outcome:
    """*counted*: how many answers Prometheus has in both arms, over all the time of the load."""
    raised_at = story.first_raise_at
    last_at = story.ended_at if story.ended_at is not None else notes.newest_at()

    def since_raise(at: float | None) -> float | None:
        return round(at - raised_at, 1) if at is not None and raised_at is not None else None

    rates = notes.rates(story.started_at, last_at)
    ratio = notes.ratio(raised_at) if raised_at is not None else None
    return Outcome(
        name=name,
        regressed=regressed,
        ended=story.outcome,
        percentage=story.percentage if story.failed_percentage is None else story.failed_percentage,
        breach_seconds=since_raise(story.failed_at),
        zero_seconds=since_raise(story.zero_at),
        last_canary_seconds=since_raise(notes.last_canary_at()) if story.zero_at is not None else None,
        end_seconds=since_raise(story.ended_at),
        sentence=story.sentence,
        holds=story.holds,
        open_holds=[f"{hold} {item}: {detail}" for (hold, item), (_, detail) in story.open.items()],
        rate=round(rates.mean, 1),
        lowest_rate=round(rates.lowest, 1),
        missed=notes.total(("missed", "broken")),
        ratio=round(ratio, 2) if ratio is not None else None,
        counted=round(counted / max(notes.total(), 1), 4),
    )
