"""``compare`` look by look: releases that are healthy, worse, silent, late, or on their way to everybody."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from flags.exposure_names import BAND_ENDS, BANDS
from stages.criteria import Compare
from stages.criteria.base import Count, Judgement, Measurement, MeasurementState, Memory, Setting, Verdict
from stages.criteria.compare import judge, wanted

BEGIN = 1_700_000_000.0
ARMS = {"canary": '{track="canary"}', "control": '{track="stable"}'}
SELECTORS = {"bad": 'requests_total{code=~"5.."}', "total": "requests_total", "arms": ARMS}


def compare(**fields: Any) -> Compare:
    return Compare.model_validate({"name": "errors", "compare": fields})


@dataclass
class Flag:
    """Users of a flag: *rate* events a second, *share* of them bad, *factor* times that in the canary."""

    percentage: float = 5.0
    rate: float = 200.0
    share: float = 0.01
    factor: float = 1.0
    seed: int = 1
    late: float = 0.0  # of the canary's events, what is still served without the flag
    silent: bool = False
    memory: Memory = field(default_factory=Memory)
    looks: list[Judgement] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self.setting = Setting(since=BEGIN, before=BEGIN, warmup_seconds=60.0, flag="beta", percentage=self.percentage)

    def run(
        self, seconds: float, criterion: Compare | None = None, change: Callable[[float], None] | None = None
    ) -> "Flag":
        criterion = criterion or compare()
        at = BEGIN + 15.0 * (len(self.looks) + 1)
        until = at + seconds
        while at < until:
            if change is not None:
                change(at - BEGIN)
            self.look(criterion, at)
            at += 15.0
        return self

    def look(self, criterion: Compare, at: float, state: MeasurementState = MeasurementState.OK) -> Judgement:
        memory = replace(self.memory, extra=json.loads(json.dumps(self.memory.extra)))
        asked = wanted(criterion, self.setting, memory, at).counting
        counts: tuple[Count, ...] = ()
        if asked is not None and state is MeasurementState.OK:
            counts = tuple(self._counts(next(iter(asked.selectors)), asked.to - asked.from_))
        judged = judge(criterion, Measurement(state, at, counts=counts, detail=""), memory, self.setting)
        self.memory = judged.memory
        self.looks.append(judged)
        return judged

    def _counts(self, name: str, seconds: float) -> list[Count]:
        found, begin = [], 0.0
        for band, end in zip(BANDS, BAND_ENDS, strict=True):
            below = min(max(self.setting.percentage or 0.0, begin), end) - begin
            canary = 0.0 if self.silent else below * (1 - self.late)
            parts = [("canary", canary, self.factor), ("control", end - begin - below + below * self.late, 1.0)]
            for arm, width, factor in parts:
                events = self.random.poisson(self.rate * seconds * width / 100)
                bad = self.random.binomial(events, min(self.share * factor, 1.0))
                if width > 0:
                    found += [Count(name, (arm, band, "error"), float(bad))]
                    found += [Count(name, (arm, band, "ok"), float(events - bad))]
            begin = end
        return found

    @property
    def failed_after_seconds(self) -> float | None:
        verdicts = [one.verdict for one in self.looks]
        return 15.0 * (verdicts.index(Verdict.FAIL) + 1) if Verdict.FAIL in verdicts else None


# --- healthy and worse ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_a_release_that_is_no_worse_passes_for_an_hour(seed: int) -> None:
    healthy = Flag(seed=seed).run(3600)
    assert {one.verdict for one in healthy.looks} <= {Verdict.PASS, Verdict.INCONCLUSIVE}
    assert healthy.looks[-1].verdict is Verdict.PASS


@pytest.mark.parametrize(("factor", "within_seconds"), ((10.0, 300.0), (3.0, 600.0), (2.0, 1800.0)))
def test_a_release_that_is_worse_fails_the_sooner_the_worse_it_is(factor: float, within_seconds: float) -> None:
    found = [Flag(seed=seed, factor=factor).run(3600).failed_after_seconds for seed in range(3)]
    assert sum(1 for one in found if one is not None and one <= within_seconds) >= 2, found


def test_a_failing_look_says_by_how_much_and_how_unlikely_that_is() -> None:
    bad = Flag(factor=6.0).run(900)
    failed = next(one for one in bad.looks if one.verdict is Verdict.FAIL)
    assert "x the control's: " in failed.sentence
    assert "the chance of this on a healthy release is below 1 in " in failed.sentence
    assert failed.log_evidence is not None
    assert failed.log_evidence >= np.log(100)


def test_evidence_that_is_on_its_way_to_hold_is_not_called_chance() -> None:
    grown = [
        one for one in Flag(factor=3.0).run(600).looks if one.verdict is Verdict.PASS and (one.log_evidence or 0) > 1
    ]
    assert grown
    assert all("to 1 so far, and holds at 20" in one.sentence and "within chance" not in one.sentence for one in grown)


def test_an_incident_in_both_arms_holds_and_fails_nobody() -> None:
    both = Flag(share=0.8).run(1800)
    assert both.failed_after_seconds is None
    assert "incident in both arms" in both.looks[-1].sentence


def test_a_swing_of_both_arms_is_no_evidence() -> None:
    flag = Flag(seed=3)

    def swings(seconds: float) -> None:
        flag.share = 0.05 if 900 < seconds < 1800 else 0.01

    assert flag.run(3600, change=swings).failed_after_seconds is None


def test_a_blip_of_thirty_seconds_does_not_fail() -> None:
    flag = Flag(seed=4)

    def blips(seconds: float) -> None:
        flag.factor = 20.0 if 600 < seconds <= 630 else 1.0

    assert flag.run(1800, change=blips).failed_after_seconds is None


def test_evidence_that_it_is_not_worse_by_half_grows_on_a_healthy_release() -> None:
    healthy = Flag(rate=2000.0).run(1800)
    assert healthy.looks[-1].enough
    assert "worse by half is excluded" in healthy.looks[-1].sentence


# --- warm-up, gaps, steps ---------------------------------------------------------------------------------------------


def test_while_a_change_settles_it_passes_without_counting_as_bake() -> None:
    flag = Flag(factor=5.0).run(60)
    assert all(one.verdict is Verdict.PASS and one.settling for one in flag.looks)
    assert (flag.looks[-1].log_evidence or 0.0) <= 0.0


def _only_while_it_settles(flag: Flag, factor: float) -> Callable[[float], None]:
    def change(seconds: float) -> None:
        flag.factor = factor if seconds <= 60.0 else 1.0

    return change


@pytest.mark.parametrize("seed", range(4))
def test_a_spike_while_it_settles_neither_fails_nor_holds_it(seed: int) -> None:
    flag = Flag(seed=seed)
    flag.run(600, change=_only_while_it_settles(flag, 20.0))
    assert {one.verdict for one in flag.looks} == {Verdict.PASS}
    assert max(one.log_evidence or 0.0 for one in flag.looks[4:6]) > 0  # it was not forgotten either


def test_what_it_showed_while_it_settled_finds_a_bad_release_sooner() -> None:
    found: dict[str, list[float]] = {"from the start": [], "when it settled": []}
    for seed in range(5):
        at_once, later = Flag(factor=3.0, seed=seed), Flag(seed=seed)

        def begins(seconds: float, flag: Flag = later) -> None:
            flag.factor = 3.0 if seconds > 75.0 else 1.0  # one scrape later than it settled

        for words, flag, change in (("from the start", at_once, None), ("when it settled", later, begins)):
            found[words].append(flag.run(1200, change=change).failed_after_seconds or np.inf)
    assert np.median(found["from the start"]) < np.median(found["when it settled"]), found


def test_an_outage_of_the_canary_fails_even_while_it_settles() -> None:
    flag = Flag(factor=100.0, share=0.01).run(90)
    assert flag.failed_after_seconds is not None
    assert flag.failed_after_seconds <= 90
    assert any("an outage, which needs no test" in one.sentence for one in flag.looks)


@pytest.mark.parametrize("state", (MeasurementState.ERROR, MeasurementState.STALE, MeasurementState.MISSING))
def test_evidence_outlasts_looks_without_a_measurement(state: MeasurementState) -> None:
    flag = Flag(factor=1.6, seed=2).run(600)
    before = flag.looks[-1].log_evidence
    for index in range(20):
        missed = flag.look(compare(), BEGIN + 615 + 15 * index, state)
        assert missed.verdict is Verdict.INCONCLUSIVE
        assert missed.log_evidence == before


def test_what_was_missed_is_counted_by_the_next_whole_look() -> None:
    flag = Flag().run(600)
    flag.look(compare(), BEGIN + 615, MeasurementState.ERROR)
    asked = wanted(compare(), flag.setting, flag.memory, BEGIN + 630).counting
    assert asked is not None
    assert asked.to - asked.from_ == 30


def test_evidence_is_carried_over_a_step_and_dropped_where_a_person_drops_it() -> None:
    flag = Flag(factor=1.5, seed=5).run(900)
    before = flag.looks[-1].log_evidence
    assert before is not None
    flag.setting = replace(flag.setting, since=BEGIN + 910, percentage=25.0)
    carried = flag.look(compare(), BEGIN + 915)
    assert carried.log_evidence == pytest.approx(before, abs=0.7)
    flag.setting = replace(flag.setting, since=BEGIN + 930, evidence_from=BEGIN + 930)
    assert flag.look(compare(), BEGIN + 932).log_evidence == 0.0


# --- what can't be compared -------------------------------------------------------------------------------------------


def test_a_canary_that_nobody_reaches_holds_and_says_so() -> None:
    silent = Flag(silent=True).run(600)
    assert silent.looks[-1].verdict is Verdict.INCONCLUSIVE
    assert "no requests reached the canary" in silent.looks[-1].sentence


def test_keys_that_should_have_the_flag_and_do_not_hold_as_a_mismatch() -> None:
    late = Flag(late=0.5).run(600)
    assert late.looks[-1].verdict is Verdict.INCONCLUSIVE
    assert late.looks[-1].mismatch
    assert "without the flag" in late.looks[-1].sentence


def test_where_everybody_has_the_change_no_control_is_missed() -> None:
    flag = Flag(percentage=50.0).run(600)
    flag.setting = replace(flag.setting, since=BEGIN + 610, percentage=100.0)
    judged = flag.look(compare(), BEGIN + 630)
    assert judged.verdict is Verdict.PASS
    assert "no control any more" in judged.sentence


def test_a_stage_without_a_flag_has_nothing_to_compare() -> None:
    flag = Flag()
    flag.setting = replace(flag.setting, flag=None, percentage=None)
    assert flag.look(compare(), BEGIN + 100).verdict is Verdict.INCONCLUSIVE


# --- selectors --------------------------------------------------------------------------------------------------------


def test_arms_add_their_matchers_to_the_selectors() -> None:
    criterion = compare(**SELECTORS)
    setting = Setting(since=BEGIN, before=BEGIN)
    asked = wanted(criterion, setting, Memory(), BEGIN + 60).counting
    assert asked is not None
    assert asked.selectors["canary_bad"] == 'requests_total{code=~"5..",track="canary"}'
    assert asked.selectors["control_total"] == 'requests_total{track="stable"}'


def test_two_sets_of_series_are_compared_like_two_arms_of_a_flag() -> None:
    criterion, memory = compare(**SELECTORS), Memory()
    setting = Setting(since=BEGIN, before=BEGIN, warmup_seconds=0.0)
    rises = {"canary_bad": 40.0, "canary_total": 400.0, "control_bad": 80.0, "control_total": 8000.0}
    judged = Judgement(Verdict.PASS, "", memory)
    for look in range(1, 21):
        counts = tuple(Count(name, ("", ""), value) for name, value in rises.items())
        judged = judge(criterion, Measurement(MeasurementState.OK, BEGIN + 15 * look, counts=counts), memory, setting)
        memory = judged.memory
    assert judged.verdict is Verdict.FAIL
    assert "10x the control's" in judged.sentence


@pytest.mark.parametrize(
    ("fields", "words"),
    (
        ({**SELECTORS, "flag": "beta"}, "not both"),
        ({"bad": "errors_total", "total": "requests_total"}, "arms is not given"),
        ({**SELECTORS, "bad": "rate(errors_total[5m])"}, "a selector of counters is expected"),
        ({**SELECTORS, "bad": "requests_total"}, "bad and total are the same selector"),
        ({**SELECTORS, "arms": {**ARMS, "control": ARMS["canary"]}}, "the same matchers"),
        ({**SELECTORS, "arms": {**ARMS, "control": '{__name__="x"}'}}, "label matchers"),
        ({"max_increase": -0.1}, "0 or more"),
        ({"flag": "other"}, "unknown flags"),
    ),
)
def test_a_comparison_that_can_not_be_made_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        compare(**fields)


def test_what_a_comparison_would_ignore_is_refused() -> None:
    with pytest.raises(ValidationError, match="query would be ignored"):
        Compare.model_validate({"name": "errors", "query": "up", "compare": {}})


def test_a_pass_tells_of_the_whole_step_and_not_of_the_worst_minutes() -> None:
    flag = Flag(seed=6).run(1800)
    seconds = 1800 - 15  # one scrape behind
    total = int(re.search(r"against [\d,]+ of ([\d,]+)", flag.looks[-1].sentence)[1].replace(",", ""))  # type: ignore[index]
    assert flag.looks[-1].verdict is Verdict.PASS
    assert total == pytest.approx(0.95 * 200 * seconds, rel=0.02)


def test_at_the_last_share_of_a_version_nobody_is_left_in_the_control() -> None:
    setting = Setting(since=BEGIN, before=BEGIN, percentage=100.0)
    by_arms = compare(**SELECTORS)
    assert wanted(by_arms, setting, Memory(), BEGIN + 300).counting is None
    said = judge(by_arms, Measurement(MeasurementState.OK, BEGIN + 300), Memory(), setting)
    assert said.verdict is Verdict.PASS
    assert "everybody has it" in said.sentence
