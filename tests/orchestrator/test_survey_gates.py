"""Gates held against a Prometheus of answers: what is told of counters that are not as they should be, and of power."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from flags.exposure_names import BAND_ENDS, BANDS
from orchestrator.errors import Temporary
from orchestrator.findings import Finding, Level
from orchestrator.ports import Scene, Seen, scene_of
from orchestrator.survey import survey
from orchestrator.survey_gates import survey_gates
from stages.checks import Source
from stages.compile import compile_plan
from stages.criteria.base import (
    NOTHING_WANTED,
    Count,
    History,
    Measurement,
    MeasurementState,
    Past,
    SeriesValue,
    Wanted,
)
from stages.flag_spec import ABSENT
from stages.plan import StagedRollout
from tests.orchestrator.core.drive import BEGIN, plan_of

COUNTING = re.compile(r"count\((.*)\)")
NEWEST = re.compile(r"max\(timestamp\((.*)\)\)")
RESETS = re.compile(r"max\(resets\((.*)\[1h\]\)\)")
BY_LE = re.compile(r"sum by \(le\) \(increase\((.*)\[1h\]\)\)")
INCREASE = re.compile(r"sum(?: by \([\w, ]+\) )?\(increase\((.*)\[\d+s\]\)\)")
SECONDS_A_DAY = 86400

ARMS = {"canary": '{t="c"}', "control": '{t="s"}'}
WIDTHS = [end - begin for end, begin in zip(BAND_ENDS, (0.0, *BAND_ENDS), strict=False)]
DRAWN = 'rollout_exposures_total{flag="beta",arm=~"canary|control"}'
DRAWN_BAD = 'rollout_exposures_total{flag="beta",arm=~"canary|control",outcome="error"}'

Rate = float | Callable[[str, int], float]


@dataclass
class Counter:
    """*rate*: events a second; or of a label's value and an hour (0 is the oldest of the day)."""

    rate: Rate = 0.0
    series: int = 1
    newest: float | None = -5.0
    resets: float = 0.0
    labels: tuple[str, ...] = ()
    edges: Mapping[str, float] = field(default_factory=dict)

    def rises(self, label: str, hour: int) -> float:
        return self.rate(label, hour) if callable(self.rate) else self.rate


class Served:
    """A Prometheus that has *counters* by selector, and flags that stand where *flags* says."""

    def __init__(self, counters: Mapping[str, Counter], flags: Mapping[str, float] | None = None, hours: int = 24):
        self.counters, self.flags, self.hours = counters, dict(flags or {}), hours
        self.failure = ""
        self.values: dict[str, list[float]] = {}
        self.asked: list[str] = []

    def now(self) -> float:
        return BEGIN

    async def observe(self, observation: Any, _scene: Scene) -> Seen:
        if observation.key not in self.flags:
            raise Temporary("away")
        return Seen({**ABSENT, "state": "enabled", "percentage": self.flags[observation.key]})

    async def measure(self, source: Source, _scene: Scene, at: float, wanted: Wanted = NOTHING_WANTED) -> Measurement:
        self.asked.append(source.query or "")
        if self.failure:
            return Measurement(MeasurementState.ERROR, at, detail=self.failure)
        if source.query is not None:
            series = self._series(source.query, at)
            state = MeasurementState.OK if series else MeasurementState.MISSING
            return Measurement(state, at, tuple(series))
        return Measurement(MeasurementState.OK, at, counts=tuple(self._counts(wanted)), past=tuple(self._past(wanted)))

    def _series(self, query: str, at: float) -> list[SeriesValue]:
        for pattern, value in (
            (COUNTING, lambda one: float(one.series)),
            (NEWEST, lambda one: self._newest(one, at)),
            (RESETS, lambda one: one.resets),
        ):
            if (match := pattern.fullmatch(query)) is not None:
                counter = self.counters.get(match.group(1))
                found = value(counter) if counter is not None and counter.series else None
                return [] if found is None else [SeriesValue("", found, at)]
        if (match := BY_LE.fullmatch(query)) is not None:
            edges = self.counters.get(match.group(1), Counter()).edges
            return [SeriesValue(f'{{le="{edge}"}}', value, at) for edge, value in edges.items()]
        return [SeriesValue(f'{{n="{n}"}}', value, at) for n, value in enumerate(self.values.get(query, []))]

    def _newest(self, counter: Counter, at: float) -> float | None:
        """As a server answers: the newest sample that is not later than *at*, nor older than 5 minutes."""
        if counter.newest is None:
            return None
        newest = min(BEGIN + counter.newest, at)
        return newest if at - newest < 300 else None

    def _counts(self, wanted: Wanted) -> list[Count]:
        if wanted.counting is None:
            return []
        seconds = wanted.counting.to - wanted.counting.from_
        found = []
        for name, selector in wanted.counting.selectors.items():
            counter = self.counters.get(selector)
            for label in (counter.labels or ("",)) if counter is not None and counter.series else ():
                value = counter.rises(label, 23) * seconds if counter is not None else 0.0
                found.append(Count(name, (label,) if wanted.counting.by else (), value))
        return found

    def _past(self, wanted: Wanted) -> list[Past]:
        found = []
        for history in wanted.history:
            match = INCREASE.fullmatch(history.expression)
            assert match is not None, history.expression
            bad = [(match.group(1), "")]
            if "outcome" in history.by:  # of a flag: what is not bad is the rest
                bad = [(DRAWN_BAD, "error"), (DRAWN, "ok")]
            for selector, outcome in bad:
                found += self._of_counter(history, self.counters.get(selector), outcome)
        return found

    def _of_counter(self, history: History, counter: Counter | None, outcome: str) -> list[Past]:
        if counter is None or not counter.series:
            return []
        first = max(history.from_, history.to - self.hours * 3600 + history.step_seconds)
        steps = int((history.to - first) // history.step_seconds) + 1 if self.hours else 0
        found = []
        for at in (history.to - step * history.step_seconds for step in range(steps)):
            hour = 23 - int((history.to - at) // 3600)
            for label in counter.labels or ("",):
                rate = counter.rises(label, hour)
                if outcome == "ok":
                    rate -= self.counters[DRAWN_BAD].rises(label, hour)
                labels = {"arm": "control", "band": label, "outcome": outcome}
                by = tuple(labels[name] for name in history.by)
                found.append(Past(history.name, by, at, rate * history.step_seconds))
        return found


def exposure(per_second: float, bad_share: Callable[[str, int], float] | float) -> dict[str, Counter]:
    """The exposure of a flag: events by band in proportion to its width, of which *bad_share* are bad."""
    width = dict(zip(BANDS, WIDTHS, strict=True))

    def share(band: str, hour: int) -> float:
        return bad_share(band, hour) if callable(bad_share) else bad_share

    return {
        DRAWN: Counter(lambda band, _: per_second * width[band] / 100, labels=BANDS),
        DRAWN_BAD: Counter(lambda band, hour: per_second * width[band] / 100 * share(band, hour), labels=BANDS),
    }


def arms(canary: float, control: float, bad_share: float = 0.01, **of_both: Any) -> dict[str, Counter]:
    return {
        "all": Counter(canary + control, series=2, **of_both),
        "bad": Counter((canary + control) * bad_share, series=2),
        'all{t="c"}': Counter(canary, series=1 if canary else 0),
        'all{t="s"}': Counter(control, series=1 if control else 0),
        'bad{t="c"}': Counter(canary * bad_share, series=1 if canary else 0),
        'bad{t="s"}': Counter(control * bad_share, series=1 if control else 0),
    }


def spec(criterion: Mapping[str, Any], **stage: Any) -> dict[str, Any]:
    raised = {"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [5, 25, 100], "bake": "10m"}
    return {
        "prometheus": {"url": "http://p"},
        "flags": {"beta": {}},
        "gates": {"health": {"criteria": [{"name": "errors", "for": "60s", **criterion}]}},
        "stages": [{**raised, "gate": "health", **stage}],
    }


COMPARE_FLAG = {"compare": {"max_increase": "5%"}}
COMPARE_ARMS = {"compare": {"bad": "bad", "total": "all", "arms": ARMS}}
RATIO = {"ratio": {"bad": "bad", "total": "all", "at_most": "1%"}}


async def found(served: Served, written: dict[str, Any]) -> list[Finding]:
    document = StagedRollout.model_validate(plan_of(written))
    program = compile_plan([("production", document)], "d", {})
    observers = {"observe_flag": served}
    world: Any = SimpleNamespace(clock=served, observers=observers, measurer=served, cluster=None)
    environment = program.environments[0]
    return await survey_gates(program, environment, world, scene_of(program, "production"))


async def told(served: Served, written: dict[str, Any], level: Level | None = None) -> list[str]:
    return [
        f"{one.where}: {one.sentence}" for one in await found(served, written) if level is None or one.level is level
    ]


# --- counters that are not as they should be --------------------------------------------------------------------------


async def test_a_server_that_does_not_answer_is_an_error_that_says_why() -> None:
    served = Served({})
    served.failure = "Prometheus at p refuses the query: bad_data"
    for criterion in (COMPARE_FLAG, COMPARE_ARMS, RATIO):
        (error,) = await told(served, spec(criterion), Level.ERROR)
        assert (
            error
            == "production: gate health, errors: it can't be measured: Prometheus at p refuses the query: bad_data"
        )


async def test_counters_without_series_would_hold() -> None:
    (warning,) = await told(Served({}), spec(RATIO))
    assert warning.endswith("the counter of all events all has no series now")
    (warning,) = await told(Served({}), spec(COMPARE_ARMS))
    assert "of all there is no series at all now" in warning
    (warning,) = await told(Served({}), spec(COMPARE_FLAG))
    assert f"no use of the flag beta is counted now ({DRAWN} has no series): put an exposure block" in warning


async def test_bad_events_that_have_no_series_may_be_a_misspelt_label() -> None:
    warnings = await told(Served({"all": Counter(10)}), spec(RATIO), Level.WARNING)
    assert any(
        "bad has no series, which counts as no bad event; is every label's value right?" in one for one in warnings
    )


async def test_far_too_many_series_are_an_error_and_nothing_more_is_asked_of_them() -> None:
    served = Served({"all": Counter(10, series=100_000), "bad": Counter(1)})
    (error,) = await told(served, spec(RATIO))
    assert "the counter of all events all has 100,000 series, which every look would read; add matchers" in error
    assert served.asked == ["count(all)"]


async def test_a_query_with_far_too_many_series_is_a_warning_whatever_they_say() -> None:
    served = Served({}, {"beta": 0})
    served.values["up"] = [1.0] * 100_000
    written = spec({"query": "up", "fail": "> 5"})
    program = compile_plan([("production", StagedRollout.model_validate(plan_of(written)))], "d", {})
    world: Any = SimpleNamespace(clock=served, observers={"observe_flag": served}, measurer=served, cluster=None)
    (warning,) = [one.sentence for one in await survey(program, world) if one.level is Level.WARNING]
    assert warning.startswith("it answers with 100,000 series, of which the worst alone decides; add up or select")


async def test_arms_that_do_not_match_are_told_apart_from_counters_that_are_not_there() -> None:
    (warning,) = await told(Served({"all": Counter(10)}), spec(COMPARE_ARMS))
    assert """of all neither arm has a series now ({t="c"}, {t="s"})""" in warning


async def test_a_canary_that_is_not_there_may_come_with_the_rollout_and_a_control_must_be_there() -> None:
    (warning, *_) = await told(Served(arms(0, 100)), spec(COMPARE_ARMS), Level.WARNING)
    assert """the canary all{t="c"} has no series now: well, if it comes with this rollout""" in warning
    (warning, *_) = await told(Served(arms(100, 0)), spec(COMPARE_ARMS), Level.WARNING)
    assert """the control all{t="s"} has no series now: there would be nothing to compare with""" in warning


async def test_series_in_both_arms_hide_a_difference() -> None:
    counters = {**arms(5, 95), 'all{t="c",t="s"}': Counter(1, series=3)}
    warnings = await told(Served(counters), spec(COMPARE_ARMS), Level.WARNING)
    assert any("3 series are in both arms" in one for one in warnings)


async def test_arms_that_are_swapped_are_seen_by_their_traffic() -> None:
    warnings = await told(Served(arms(95, 5)), spec(COMPARE_ARMS), Level.WARNING)
    assert any(
        "the canary has 95% of the events now and the control the rest: are the arms swapped?" in one
        for one in warnings
    )
    assert not any("swapped" in one for one in await told(Served(arms(5, 95)), spec(COMPARE_ARMS)))


@pytest.mark.parametrize(
    ("newest", "words"),
    (
        (-240.0, "the newest sample is 4m old, more than two scrapes of 15s"),
        (300.0, "samples come from 4m ahead of this clock, or more: one of the two clocks is wrong"),
        (40.0, "samples come from 40s ahead of this clock, or more"),
    ),
)
async def test_clocks_that_are_apart_show_in_the_samples(newest: float, words: str) -> None:
    served = Served({"all": Counter(100, newest=newest), "bad": Counter(1)})
    assert any(words in one for one in await told(served, spec(RATIO), Level.WARNING))


async def test_samples_of_the_last_scrape_are_fresh() -> None:
    for newest in (-29.0, 0.0):
        served = Served({"all": Counter(100, newest=newest), "bad": Counter(1)})
        assert await told(served, spec(RATIO), Level.WARNING) == []


async def test_what_goes_down_is_no_counter() -> None:
    served = Served({"all": Counter(100, resets=57), "bad": Counter(1, resets=2)})
    (warning,) = await told(served, spec(RATIO), Level.WARNING)
    assert "all went down 57 times within the hour, but counters only rise: is it a gauge?" in warning


async def test_a_flag_that_is_up_and_has_not_arrived_everywhere_is_told() -> None:
    below = 'rollout_exposures_total{flag="beta",arm="control",band=~"0[.]1|1|2|5"}'
    both = 'rollout_exposures_total{flag="beta",arm=~"canary|control",band=~"0[.]1|1|2|5"}'
    counters = {**exposure(200, 0.01), below: Counter(1), both: Counter(10)}
    warnings = await told(Served(counters, {"beta": 5}), spec(COMPARE_FLAG), Level.WARNING)
    assert any(
        "the flag stands at 5 %, but 300 of 3,000 uses of the last minutes by keys that have it" in one
        for one in warnings
    )
    assert not any("stands at" in one for one in await told(Served(counters, {"beta": 0}), spec(COMPARE_FLAG)))


# --- durations, burn rates, before and after --------------------------------------------------------------------------

LATENCY = {"latency": {"histogram": 'seconds{job="a"}', "arms": ARMS}}
EDGES = {"0.1": 500.0, "0.5": 900.0, "1": 990.0, "2": 1000.0, "+Inf": 1000.0}
COUNT, BUCKETS = 'seconds_count{job="a"', 'seconds_bucket{job="a"'


def durations(edges: Mapping[str, float], canary: float = 5.0, control: float = 95.0) -> dict[str, Counter]:
    return {
        f"{BUCKETS}}}": Counter(1, series=10, edges=edges),
        f'{BUCKETS},t="s"}}': Counter(1, series=5, edges=edges),
        f"{COUNT}}}": Counter(canary + control, series=2),
        f'{COUNT},t="c"}}': Counter(canary),
        f'{COUNT},t="s"}}': Counter(control),
    }


async def test_a_latency_says_at_its_edges_what_it_sees() -> None:
    notes = await told(Served(durations(EDGES)), spec(LATENCY), Level.NOTE)
    (p90, p99) = (next(one for one in notes if f"of events slower than {edge}" in one) for edge in ("0.5", "1"))
    assert re.search(r"at 100 events/s with 10 % bad it sees 1\.\dx at 5 % within 10m, 1\.\dx at 25 % within 10m", p90)
    assert "with 1 % bad it sees" in p99


@pytest.mark.parametrize(
    ("counters", "words"),
    (
        ({}, 'seconds_bucket{job="a"} has no series now'),
        ({f"{COUNT}}}": Counter(1)}, "a summary, or buckets that are dropped"),
        ({'seconds{job="a"}': Counter(1)}, 'seconds{job="a"} is a native histogram, or no histogram'),
    ),
)
async def test_a_histogram_without_buckets_is_an_error_that_says_what_it_is(
    counters: dict[str, Counter], words: str
) -> None:
    (error,) = await told(Served(counters), spec(LATENCY), Level.ERROR)
    assert words in error


async def test_buckets_that_do_not_divide_are_told() -> None:
    edges = {"0.1": 1000.0, "0.5": 1000.0, "+Inf": 1000.0}
    (warning,) = await told(Served(durations(edges)), spec(LATENCY), Level.WARNING)
    assert "all events fell into one bucket, so slow and fast can't be told apart" in warning


@pytest.mark.parametrize(("bad", "level", "burn"), ((0.05, Level.NOTE, "0.5"), (0.3, Level.WARNING, "3")))
async def test_a_burn_rate_is_told_as_it_is(bad: float, level: Level, burn: str) -> None:
    written = spec({"slo": {"bad": "bad", "total": "all", "objective": "99.9%"}})
    (sentence,) = await told(Served({"all": Counter(100), "bad": Counter(bad)}), written, level)
    assert sentence.endswith(f"over the last 1d the error budget burnt {burn} times as fast as it may")


async def test_a_change_needs_its_query_now_and_before() -> None:
    written = spec({"change": {"query": "up", "window": "1h", "max_increase": "10%"}})
    served = Served({})
    (warning,) = await told(served, written)
    assert "its query has no series now" in warning
    served.values["up"] = [1.0]
    (note,) = await told(served, written)
    assert note.endswith("errors: it is 1 now")
    served.values["up"] = [1.0] * 100_000
    (warning, _) = await told(served, written)
    assert "it answers with 100,000 series, of which the worst alone decides" in warning


# --- what a gate can see ----------------------------------------------------------------------------------------------


async def test_a_comparison_says_what_it_sees_at_each_step_but_the_last() -> None:
    (note,) = await told(Served(exposure(200, 0.01)), spec(COMPARE_FLAG))
    assert re.fullmatch(
        r"production: stage open, errors: at 200 events/s with 1 % bad it sees "
        r"1\.[5-9]x at 5 % within 10m, 1\.[2-5]x at 25 % within 10m",
        note,
    )


async def test_where_it_sees_nothing_it_says_what_would_help() -> None:
    warnings = await told(Served(exposure(2, 0.01)), spec(COMPARE_FLAG), Level.WARNING)
    at_5, at_25 = warnings
    assert re.search(r"at 5 % within 10m it sees nothing below \d+x at today's 2 events/s", at_5)
    assert re.search(r"for [23](\.\d)?x it takes a bake of \d+h", at_5)
    assert "at 25 % within 10m it sees nothing below" in at_25
    (warning,) = await told(Served(arms(0.0005, 0.0095)), spec(COMPARE_ARMS, percentages=[5]), Level.WARNING)
    assert "it sees no regression, however large, at today's 36 events/h; more events would help" in warning


async def test_a_larger_first_step_is_proposed_where_it_would_do() -> None:
    (warning,) = await told(Served(exposure(40, 0.01)), spec(COMPARE_FLAG, percentages=[1]), Level.WARNING)
    assert re.search(r"for 2(\.\d)?x it takes a bake of (210m|4h) or 25 % here", warning)


async def test_without_bad_events_it_says_which_share_it_sees() -> None:
    notes = await told(Served(exposure(200, 0.0)), spec(COMPARE_FLAG, percentages=[5]), Level.NOTE)
    assert any(
        re.search(r"there is not one bad event now; at 5 % within 10m it sees a canary of which 0\.\d+ % fails", one)
        for one in notes
    )


async def test_a_canary_that_runs_already_has_the_share_that_it_has() -> None:
    (note,) = await told(Served(arms(20, 180)), spec(COMPARE_ARMS, percentages=[1]))
    (other,) = await told(Served(arms(2, 198)), spec(COMPARE_ARMS, percentages=[1]))
    sizes = [float(re.search(r"it sees ([\d.]+)x", one).group(1)) for one in (note, other)]  # type: ignore[union-attr]
    assert sizes[0] < sizes[1]


async def test_tests_that_share_the_budget_see_a_little_less() -> None:
    alone = spec(COMPARE_FLAG, percentages=[5])
    together = spec(COMPARE_FLAG, percentages=[5])
    together["gates"]["health"]["alpha"] = 1e-6
    sizes = [
        float(re.search(r"it sees ([\d.]+)x", (await told(Served(exposure(200, 0.01)), one))[0]).group(1))  # type: ignore[union-attr]
        for one in (alone, together)
    ]
    assert sizes[0] < sizes[1]


async def test_large_numbers_are_written_out() -> None:
    (note,) = await told(Served(arms(1e6, 9e6, 0.4)), spec(COMPARE_ARMS, percentages=[5]))
    assert "at 10,000,000 events/s with 40 % bad it sees 1.1x" in note


async def test_a_share_says_what_it_sees_above_its_bound() -> None:
    (note,) = await told(Served({"all": Counter(20), "bad": Counter(0.02)}), spec(RATIO, percentages=[5]))
    assert re.search(r"at 20 events/s with 0\.1 % bad it sees 1\.\d % at 5 % within 10m", note)
    (warning,) = await told(Served({"all": Counter(0.05), "bad": Counter(0.0)}), spec(RATIO, percentages=[5]))
    assert "at today's 3 events/min" in warning
    assert re.search(r"for 2 % it takes a bake of|more events would help", warning)


@pytest.mark.parametrize("criterion", (COMPARE_FLAG, COMPARE_ARMS, RATIO))
async def test_without_events_there_is_nothing_to_see(criterion: Mapping[str, Any]) -> None:
    silent = {**exposure(0, 0), **arms(0, 0), "all": Counter(0), 'all{t="s"}': Counter(0), 'all{t="c"}': Counter(0)}
    warnings = await told(Served(silent), spec(criterion), Level.WARNING)
    assert any("there are no events now" in one for one in warnings)


async def test_a_server_that_is_young_is_judged_by_its_last_minutes() -> None:
    (note,) = await told(Served(exposure(200, 0.01), hours=0), spec(COMPARE_FLAG))
    assert "at 200 events/s with 1 % bad" in note


async def test_a_gate_that_no_stage_names_is_looked_at_all_the_same() -> None:
    written = spec(RATIO)
    del written["stages"][0]["gate"]
    (warning,) = await told(Served({}), written)
    assert "has no series now" in warning


# --- the luck of the draw ---------------------------------------------------------------------------------------------


def moving(low: float, high: float) -> Callable[[str, int], float]:
    """A few keys of the lowest bands cause errors in some hours: the cohort's share goes up and down."""

    def share(band: str, hour: int) -> float:
        return (high if hour % 2 else low) if BANDS.index(band) <= 3 else 0.01

    return share


async def test_users_that_cluster_are_told_with_what_cannot_be_told_from_luck() -> None:
    served = Served(exposure(200, moving(0.005, 0.04)))
    warnings = await told(served, spec(COMPARE_FLAG, percentages=[5]), Level.WARNING)
    (luck,) = [one for one in warnings if "by luck alone" in one]
    assert re.search(
        r"as far as the last 1d shows, the keys below 5 % may have 0\.\d+ to [\d.]+ times their share", luck
    )
    assert luck.endswith("can't be told from the draw, however long it bakes")


async def test_users_that_do_not_cluster_are_not() -> None:
    assert not any("luck" in one for one in await told(Served(exposure(200, 0.01)), spec(COMPARE_FLAG)))


async def test_keys_of_which_nothing_is_known_have_the_share_of_their_percentage() -> None:
    counters = {DRAWN: Counter(200, labels=("none",)), DRAWN_BAD: Counter(2, labels=("none",))}
    notes = await told(Served(counters), spec(COMPARE_FLAG, percentages=[5]), Level.NOTE)
    assert any("where the keys of beta lie is not recorded (band)" in one for one in notes)
    assert any("at 200 events/s with 1 % bad it sees" in one for one in notes)


async def test_a_latency_without_a_histogram_is_that_of_the_stages_flag() -> None:
    served = Served({})
    (error,) = await told(served, spec({"latency": {}}), Level.ERROR)
    assert "rollout_exposure_seconds" in error
    assert any('_bucket{flag="beta"' in query for query in served.asked)
