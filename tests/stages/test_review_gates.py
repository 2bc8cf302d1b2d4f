"""Gates held against the rest of their plan, without asking anyone."""

from collections.abc import Sequence

import pytest

from tests.stages.plans import changed, load, problems, the_problem, with_lines

CRITERION = '{name: errors, query: "rate(errors[5m])", fail: "> 5", for: 1m}'
STAGE = "    - {name: beta, kind: monitoring, flag: beta, percentages: [5, 50, 100], gate: health, bake: 10m}\n"
GO = "    - {name: go, kind: steps, steps: [{wait: 5m}], gate: health}\n"
COMPARED = "{name: errors, compare: {max_increase: 5%}, for: 1m}"
ARMS = """{canary: '{t="c"}', control: '{t="s"}'}"""
COUNTED = f"""{{name: errors, compare: {{bad: 'bad{{a="b"}}', total: 'all{{a="b"}}', arms: {ARMS}}}}}"""
LATENCY = f"{{name: slow, latency: {{histogram: seconds, arms: {ARMS}}}}}"
RATIO = "{name: share, ratio: {bad: bad, total: all, at_most: 1%}, for: 1m}"
SLO = "{name: budget, slo: {bad: bad, total: all, objective: 99.9%}}"
CHANGE = "{name: before, change: {query: up, window: 1h, max_increase: 10%}}"


def plan(*criteria: str, gate: str = "", stages: str | None = None) -> str:
    text = changed(f"        - {CRITERION}\n", "".join(f"        - {one}\n" for one in criteria))
    text = changed("      criteria:", f"      {gate}\n      criteria:" if gate else "      criteria:", text)
    return text if stages is None else changed(STAGE, stages, text)


def warned(text: str) -> list[str]:
    return [f"{one.path}: {one.message}" for one in load(text).warnings]


def about(words: str, found: Sequence[str]) -> list[str]:
    return [one for one in found if words in one]


# --- what can't work --------------------------------------------------------------------------------------------------


def test_arms_of_the_stages_flag_need_a_stage_that_raises_one() -> None:
    load(plan(COMPARED))
    told = the_problem(plan(COMPARED, stages=STAGE + GO))
    assert "spec.gates.health.criteria[0].compare: the stage 'go' raises no flag whose arms could be compared" in told
    told = the_problem(plan("{name: slow, latency: {}}", stages=STAGE + GO))
    assert "spec.gates.health.criteria[0].latency: the stage 'go' raises no flag whose arms could be compared" in told


@pytest.mark.parametrize("named", ("{name: errors, compare: {flag: beta}}", COUNTED))
def test_named_arms_can_be_compared_anywhere(named: str) -> None:
    load(plan(named, stages=STAGE + GO))


def test_the_watch_compares_the_arms_of_the_last_stage() -> None:
    watch = "watch: [{name: day, to: 24h, gate: health}]"
    load(plan(COMPARED) + f"  {watch}\n")
    other = GO.replace(", gate: health", "")
    told = the_problem(plan(COMPARED, stages=STAGE + other) + f"  {watch}\n")
    assert "the watch's phase 'day' raises no flag" in told


def test_a_watch_that_an_environment_replaces_is_not_looked_at() -> None:
    text = plan(COMPARED, stages=STAGE + GO.replace(", gate: health", ""))
    text += "  watch: [{name: day, to: 24h, gate: health}]\n  environments: [{name: production, watch: 1h}]\n"
    load(text)


def test_only_what_is_for_the_environment_is_looked_at() -> None:
    elsewhere = COMPARED.replace("for: 1m", "for: 1m, environments: [staging]")
    environments = "  environments: [{name: staging}, {name: production}]\n"
    load(
        plan(elsewhere, RATIO, stages=STAGE + GO.replace("steps,", "steps, environments: [production],")) + environments
    )
    told = problems(plan(elsewhere, RATIO, stages=STAGE + GO) + environments)
    assert about("raises no flag", told)


@pytest.mark.parametrize(
    ("criterion", "field"),
    ((COMPARED, "compare"), (LATENCY, "latency"), (RATIO, "ratio"), (SLO, "slo"), (CHANGE, "change")),
)
def test_what_is_counted_needs_a_prometheus(criterion: str, field: str) -> None:
    text = changed('  prometheus: {url: "http://localhost:9090"}\n', "", plan(criterion))
    assert f"spec.gates.health.criteria[0].{field}: {field} needs a Prometheus" in the_problem(text)
    load(text + "  environments: [{name: production, prometheus: {url: 'http://p'}}]\n")


def test_a_source_without_a_prometheus_cannot_be_counted_from() -> None:
    named = RATIO.replace("for: 1m", "source: eu")
    told = the_problem(plan(named) + "  sources: {eu: {database: {env: EU}}}\n")
    assert "criteria[0].source: the source 'eu' has no prometheus, which ratio needs" in told
    load(plan(named) + "  sources: {eu: {prometheus: {url: 'http://eu'}}}\n")


def test_a_change_of_something_else_needs_no_prometheus() -> None:
    text = plan("{name: rows, change: {sql: SELECT 1, window: 1h, max_increase: 10%}}")
    load(changed('  prometheus: {url: "http://localhost:9090"}\n', "", text))


@pytest.mark.parametrize(
    ("criterion", "path"),
    (
        (RATIO.replace("bad: bad", "bad: 'rate(bad[5m])'"), "ratio.bad"),
        (RATIO.replace("total: all", "total: 'all[5m]'"), "ratio.total"),
        (RATIO.replace("total: all", "total: all offset 5m"), "ratio.total"),
        (SLO.replace("bad: bad", "bad: 'sum(bad)'"), "slo.bad"),
        (LATENCY.replace("histogram: seconds", "histogram: 'sum(seconds)'"), "latency.histogram"),
        (COUNTED.replace("""'all{a="b"}'""", "all @ 5"), "compare.total"),
    ),
)
def test_counters_are_selected_and_not_computed(criterion: str, path: str) -> None:
    told = the_problem(plan(criterion))
    assert f"spec.gates.health.criteria[0].{path}: a selector of counters is expected" in told


def test_a_selector_that_is_not_promql_is_told_so() -> None:
    told = the_problem(plan(RATIO.replace("bad: bad", "bad: 'bad{a=b}'")))
    assert "criteria[0].ratio.bad: a selector of counters is expected" in told
    assert "this is not PromQL: " in told


@pytest.mark.parametrize("arm", ("track", """'{t="c"} offset 5m'""", "'{t=c}'"))
def test_arms_are_matchers(arm: str) -> None:
    told = the_problem(plan(COUNTED.replace("""'{t="c"}'""", arm)))
    assert "criteria[0].compare.arms.canary: label matchers in braces are expected" in told


def test_a_change_is_asked_by_a_query_that_sees_it() -> None:
    told = the_problem(plan(CHANGE.replace("query: up", "query: 'rate('")))
    assert "criteria[0].change.query: the query is not PromQL" in told
    told = the_problem(plan(CHANGE.replace("query: up", "query: up @ 5")))
    assert "criteria[0].change.query: the query is fixed to a time" in told


# --- what is worth a second look --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("criterion", "alpha", "words"),
    (
        (RATIO, "0.5", "with alpha 0.5 a healthy run is failed once in 2 times"),
        (RATIO, "1.0e-9", "alpha 1e-09 asks for evidence of 1e+09 to 1"),
        (CRITERION, "0.01", "alpha is the error budget of tests, and this gate has none"),
    ),
)
def test_an_alpha_out_of_sense_is_warned_of(criterion: str, alpha: str, words: str) -> None:
    (found,) = about(".alpha: ", warned(plan(criterion, gate=f"alpha: {alpha}")))
    assert words in found
    assert about(".alpha: ", warned(plan(RATIO, gate="alpha: 0.01"))) == []


def test_a_bake_in_which_a_test_cannot_fail_is_warned_of() -> None:
    short = STAGE.replace("bake: 10m", "bake: 1m")
    (found, *_) = about("can't fail", warned(plan(RATIO, stages=short)))
    assert "spec.stages[0]: the stage 'beta' at 5 % bakes for 1m, in which 'share' can't fail" in found
    assert found.endswith("its 'for' and a look last 75s")
    assert about("can't fail", warned(plan(RATIO))) == []
    assert about("can't fail", warned(plan(CRITERION, stages=short))) == []


def test_a_range_that_is_none_is_warned_of() -> None:
    ranged = STAGE.replace("bake: 10m", "bake: {min: 10m, max: 10m}, final_bake: {min: 1h, max: 2h}")
    (found,) = about("min and max", warned(plan(RATIO, stages=ranged)))
    assert found == "spec.stages[0].bake: min and max are both 10m, so nothing advances early; 10m says the same"


def test_looking_more_often_than_samples_come_is_warned_of() -> None:
    slow = changed('"http://localhost:9090"}', '"http://localhost:9090", scrape_interval: 1m}', plan(RATIO))
    (found,) = about(".every: ", warned(slow))
    assert "looking every 15s mostly shows nothing new: samples come every 1m" in found
    assert about(".every: ", warned(plan(RATIO))) == []
    assert about(".every: ", warned(plan(RATIO, gate="every: 5s")))


def test_the_source_that_is_asked_says_how_often_samples_come() -> None:
    text = (
        plan(RATIO.replace("for: 1m", "source: eu"))
        + "  sources: {eu: {prometheus: {url: 'http://eu', scrape_interval: 30s}}}\n"
    )
    assert about(".every: ", warned(text))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    (
        (RATIO, RATIO.replace("share", "again").replace("1%", "2%"), True),
        (RATIO, RATIO.replace("share", "again").replace("total: all", "total: most"), False),
        (COMPARED, COMPARED.replace("errors", "again").replace("max_increase: 5%", "max_increase: 50%"), True),
        (CRITERION, CRITERION.replace("name: errors", "name: again"), True),
        (CRITERION, CRITERION.replace("name: errors", "name: again").replace("> 5", "> 50"), False),
        (RATIO, SLO, False),
    ),
)
def test_two_criteria_that_measure_the_same_are_warned_of(one: str, other: str, same: bool) -> None:
    found = about("measures the same", warned(plan(one, other)))
    assert bool(found) is same
    assert all(line.startswith("spec.gates.health.criteria[1]: 'again' measures the same as") for line in found)


def test_at_100_percent_nobody_is_left_to_compare_with() -> None:
    (found,) = about("nobody in the control", warned(plan(COMPARED)))
    assert found.startswith("spec.stages[0]: the stage 'beta' at 100 % leaves nobody in the control, so 'errors' can't")
    assert about("nobody in the control", warned(plan(COUNTED))) == []
    assert about("nobody in the control", warned(plan(COMPARED, stages=STAGE.replace(", 100]", "]")))) == []
    own = with_lines("environments: [{name: production, percentages: [10]}]", text=plan(COMPARED))
    assert about("nobody in the control", warned(own)) == []
