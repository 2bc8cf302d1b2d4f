"""Ready-made criteria: each row becomes a criterion of a kind, and mistakes are told where they were written."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from stages.criteria import Change, Compare, Latency, Ratio, Threshold
from stages.criteria.base import Criterion
from stages.criteria.ready_made import matched_labels, written_path
from stages.criteria.standard import STANDARDS, Errors, Level, Slow
from stages.documents import read_document
from stages.gates import Gate
from stages.load import from_raw, load_plan
from stages.promql import parse
from stages.schema import json_schema
from tests.stages.plans import any_file, changed, load, problems, the_problem

ARMS = {"canary": '{track="canary"}', "control": '{track="stable"}'}
WRITTEN_ARMS = """{canary: '{track="canary"}', control: '{track="stable"}'}"""
DOCS = Path(__file__).parents[3] / "docs"


def criterion(standard: str, selector: str = '{job="shop"}', **fields: Any) -> Criterion:
    written = {"name": "it", "standard": standard, "selector": selector, **fields}
    return Gate.model_validate({"criteria": [written]}).criteria[0]


def bounded(standard: str) -> dict[str, Any]:
    """The bounds that a row needs because it has none of its own."""
    row = STANDARDS[standard]
    return {"fail": "> 500"} if isinstance(row, Level) and row.alert is None else {}


def of(kind: type) -> list[str]:
    return [name for name, row in STANDARDS.items() if isinstance(row, kind)]


def plan(fields: str) -> str:
    """A plan whose one criterion, on line 12, has these fields."""
    return changed('- {name: errors, query: "rate(errors[5m])", fail: "> 5", for: 1m}', f"- {{name: it, {fields}}}")


def queries(made: Criterion) -> list[str]:
    match made:
        case Ratio():
            return [made.ratio.bad, made.ratio.total]
        case Compare():
            return [made.compare.bad or "", made.compare.total or ""]
        case Latency():
            histogram = made.latency.histogram or ""
            return [f"{histogram.partition('{')[0]}_bucket{{le='1'}}", histogram]
        case Change():
            return [made.change.query or ""]
        case Threshold():
            return [made.query or ""]
        case _:
            raise AssertionError(made)


# --- rows -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("standard", STANDARDS)
@pytest.mark.parametrize("selector", ("{}", '{job="shop"}', "{ job =~ 'a|b', le!=\"}\", }"))
def test_what_every_row_asks_can_be_parsed(standard: str, selector: str) -> None:
    for query in queries(criterion(standard, selector, **bounded(standard))):
        parse(query)
        assert "$" not in query


@pytest.mark.parametrize("standard", STANDARDS)
def test_every_row_looks_at_the_selected_series_alone(standard: str) -> None:
    for query in queries(criterion(standard, **bounded(standard))):
        assert "le='1'" in query or 'job="shop"' in query


@pytest.mark.parametrize("standard", of(Errors))
def test_errors_are_a_share_without_arms_and_a_comparison_with_them(standard: str) -> None:
    alone, compared = criterion(standard), criterion(standard, arms=ARMS)
    assert isinstance(alone, Ratio)
    assert isinstance(compared, Compare)
    assert alone.ratio.at_most == 0.01
    assert (compared.compare.bad, compared.compare.total) == (alone.ratio.bad, alone.ratio.total)
    assert compared.compare.arms is not None
    assert compared.compare.arms.canary == ARMS["canary"]
    assert compared.compare.max_increase == 0.05
    assert alone.ratio.bad != alone.ratio.total


@pytest.mark.parametrize("standard", [name for name in of(Slow) if name != "flag-latency"])
def test_latency_is_compared_with_arms_bounded_with_bounds_and_else_held_against_before(standard: str) -> None:
    compared, bound, before = (
        criterion(standard, arms=ARMS),
        criterion(standard, fail="> 0.5"),
        criterion(standard, max_increase="30%", window="2h"),
    )
    assert isinstance(compared, Latency)
    assert isinstance(bound, Threshold)
    assert isinstance(before, Change)
    assert before.change.query == bound.query
    assert (before.change.max_increase, before.change.window, before.change.fails) == (0.3, 7200, False)
    assert bound.for_seconds == 120


@pytest.mark.parametrize("standard", of(Level))
def test_levels_are_thresholds(standard: str) -> None:
    made = criterion(standard, **bounded(standard))
    assert isinstance(made, Threshold)
    assert made.fail is not None
    assert made.for_seconds > 0


def test_milliseconds_are_held_against_bounds_in_seconds() -> None:
    for standard in ("istio-latency", "linkerd-latency", "envoy-latency", "otel-grpc-latency"):
        assert queries(criterion(standard, fail="> 0.5"))[0].endswith(" / 1000")
    assert "1000" not in queries(criterion("http-latency", fail="> 0.5"))[0]


def test_requests_that_two_proxies_count_are_counted_once_unless_the_selector_says_which() -> None:
    assert 'reporter="destination"' in queries(criterion("istio-errors"))[1]
    asked = criterion("istio-errors", '{reporter="source",destination_workload="shop"}')
    assert queries(asked)[1] == 'istio_requests_total{reporter="source",destination_workload="shop"}'


def test_the_latency_of_a_flag_knows_its_arms() -> None:
    made = criterion("flag-latency", '{flag="beta"}')
    assert isinstance(made, Latency)
    assert made.latency.histogram == 'rollout_exposure_seconds{flag="beta"}'
    assert made.latency.arms is not None
    assert made.latency.arms.canary == '{arm="canary"}'


def test_a_metric_and_a_label_of_another_name_take_the_place_of_the_usual_ones() -> None:
    made = criterion("http-errors", metric="shop_requests_total", label="status")
    assert queries(made) == ['shop_requests_total{status=~"5..",job="shop"}', 'shop_requests_total{job="shop"}']


def test_bounds_that_are_written_replace_both_of_the_row() -> None:
    made = criterion("kubernetes-memory", fail="> 98%")
    assert isinstance(made, Threshold)
    assert (made.pass_, str(made.fail)) == (None, "> 98%")


def test_what_every_criterion_has_is_kept() -> None:
    made = criterion(
        "grpc-errors",
        at_most="2%",
        empty="pass",
        on_missing={"rollback_after": "10m"},
        source="eu",
        timeout="3s",
        environments=["production"],
        **{"for": "90s"},
    )
    assert isinstance(made, Ratio)
    assert made.ratio.at_most == 0.02
    assert (made.empty, made.source, made.timeout, made.environments) == ("pass", "eu", 3.0, ("production",))
    assert made.for_seconds == 90
    assert not isinstance(made.on_missing, str)
    assert made.on_missing.rollback_after == 600


def test_a_plan_keeps_what_it_was_made_into() -> None:
    """Else another version's table would change what a run judges by."""
    loaded = load(plan("standard: http-errors, selector: '{job=\"shop\"}'"))
    assert '"standard"' not in json.dumps(loaded.raw)
    again = from_raw(loaded.raw, loaded.files)
    assert again.documents == loaded.documents
    assert loaded.digest == load(
        plan('ratio: {bad: \'http_requests_total{code=~"5..",job="shop"}\', '
             'total: \'http_requests_total{job="shop"}\', at_most: 0.01}')
    ).digest  # fmt: skip


def test_a_model_of_the_written_form_is_taken_as_well() -> None:
    made = criterion("http-errors")
    assert Gate(criteria=(made,)).criteria == (made,)  # type: ignore[arg-type]


# --- mistakes ---------------------------------------------------------------------------------------------------------


HTTP, LATENCY, LAG = (f"standard: {name}, selector: '{{}}'" for name in ("http-errors", "http-latency", "kafka-lag"))


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    (
        (
            "standard: http-erors, selector: '{}'",
            "standard",
            "unknown standard 'http-erors'; did you mean 'http-errors'?",
        ),
        ("standard: oom-killer, selector: '{}'", "standard", "unknown standard 'oom-killer'; there are http-errors, "),
        ("standard: http-errors, selector: up", "selector", "label matchers in braces are expected"),
        ("standard: http-errors, selector: '{a=b}'", "selector", "label matchers in braces are expected"),
        ("standard: http-errors, selector: '{} or up{}'", "selector", "label matchers in braces are expected"),
        ("standard: http-errors, selector: '{__name__=\"up\"}'", "selector", "metric name must not be set twice"),
        (f"{HTTP}, at_most: many", "at_most", 'a share such as "5%"'),
        (f"{HTTP}, fail: '> 1'", "fail", "fail does not go with http-errors, which is a share"),
        (f"{HTTP}, pass: '< 1'", "pass", "pass does not go with http-errors, which is a share"),
        (f"{HTTP}, max_increase: 1%", "max_increase", "max_increase needs arms"),
        (f"{HTTP}, arms: {WRITTEN_ARMS}, at_most: 1%", "at_most", "with arms the canary is held against its control"),
        (f"{HTTP}, at_most: 1%, arms: {WRITTEN_ARMS}", "at_most", "with arms the canary is held against its control"),
        (f"{HTTP}, metric: 'a b'", "metric", "the name of a metric is expected"),
        (f"{HTTP}, label: a-b", "label", "the name of a label is expected"),
        (f"{LATENCY}, label: a", "label", "looks at no label"),
        ("standard: kubernetes-memory, selector: '{}', metric: a", "metric", "is made of several metrics"),
        ("standard: celery-errors, selector: '{}', metric: a", "metric", "is made of several metrics"),
        (f"{LATENCY}, at_most: 5%", "at_most", "give arms, or a bound in seconds"),
        (f"{LATENCY}, fail: '> 1', window: 1h", "window", "window is what stands before the step"),
        (f"{LATENCY}, fail: '> 1', max_increase: 1%", "max_increase", "there are bounds already"),
        (f"{LATENCY}, arms: {WRITTEN_ARMS}, fail: '> 1'", "fail", "with arms the canary is held against its control"),
        (f"{LAG}, fail: '> 1', at_most: 5%", "at_most", "which is a number with bounds"),
        (f"{LAG}, fail: '> 1', arms: {WRITTEN_ARMS}", "arms", "which is a number with bounds"),
    ),
)
def test_a_field_that_does_not_fit_is_told_where_it_was_written(fields: str, field: str, words: str) -> None:
    text = plan(fields)
    line = text.splitlines()[11]
    column = line.index(f" {field}: ") + len(f" {field}: ") + 1
    told = the_problem(text)
    assert told.startswith(f"plan.yaml:12:{column}: spec.gates.health.criteria[0].{field}: ")
    assert words in told


@pytest.mark.parametrize(
    ("fields", "place", "words"),
    (
        ("standard: http-errors", ".selector", "the field 'selector' is missing"),
        (f"{HTTP}, query: up", "", "leave query out, or standard"),
        (f"{HTTP}, slo: {{}}", "", "leave slo out, or standard"),
        (LAG, "", "kafka-lag (messages that a consumer group lags behind) needs pass or fail"),
    ),
)
def test_what_is_wrong_with_a_criterion_as_a_whole_is_told_where_it_begins(fields: str, place: str, words: str) -> None:
    told = the_problem(plan(fields))
    assert told.startswith(f"plan.yaml:12:11: spec.gates.health.criteria[0]{place}: ")
    assert words in told


def test_a_misspelt_field_is_told_at_its_name() -> None:
    told = the_problem(plan(f"{HTTP}, atmost: 1%"))
    assert (
        told == "plan.yaml:12:61: spec.gates.health.criteria[0].atmost: unknown field 'atmost'; did you mean 'at_most'?"
    )


def test_what_is_found_later_names_nothing_that_nobody_wrote() -> None:
    text = changed('  prometheus: {url: "http://localhost:9090"}\n', "", plan("standard: node-cpu, selector: '{}'"))
    (told,) = problems(text)
    assert told.startswith("plan.yaml:11:11: spec.gates.health.criteria[0]: a query needs a Prometheus")
    sourced = plan("standard: node-cpu, selector: '{}', source: eu")
    assert "criteria[0].source: unknown source 'eu'" in the_problem(sourced)


@pytest.mark.parametrize(
    ("path", "expected"),
    (
        (("spec", "gates", "g", "criteria", 0, "query"), ("spec", "gates", "g", "criteria", 0)),
        (("spec", "gates", "g", "criteria", 0, "ratio", "bad"), ("spec", "gates", "g", "criteria", 0)),
        (("spec", "gates", "g", "criteria", 0, "selector"), ("spec", "gates", "g", "criteria", 0, "selector")),
        (("spec", "gates", "g", "criteria", 1, "query"), ("spec", "gates", "g", "criteria", 1, "query")),
        (("spec", "stages", 7), ("spec", "stages", 7)),
        (("spec", "standard", "x"), ("spec", "standard", "x")),
        ((), ()),
    ),
)
def test_a_path_is_cut_where_a_ready_made_criterion_begins_to_be_made_up(path: Any, expected: Any) -> None:
    data = {"spec": {"gates": {"g": {"criteria": [{"standard": "node-cpu", "selector": "{}"}, {"query": "up"}]}}}}
    assert written_path(data, path) == expected


def test_labels_are_found_in_a_selector() -> None:
    assert matched_labels("{a='1', b=~\"x|y\",}") == {"a", "b"}
    assert matched_labels(" {} ") == frozenset()


# --- the schema and the page ------------------------------------------------------------------------------------------

VALIDATOR = jsonschema.Draft202012Validator(json_schema())


@pytest.mark.parametrize(
    ("fields", "valid"),
    (
        ("standard: http-errors, selector: '{job=\"shop\"}', at_most: 1%", True),
        (f"standard: http-errors, selector: '{{}}', arms: {WRITTEN_ARMS}, max_increase: 10%, for: 2m", True),
        ("standard: kafka-lag, selector: '{}', pass: '< 100', fail: '> 500'", True),
        ("standard: '${WHAT}', selector: '{}'", True),
        ("standard: http-erors, selector: '{}'", False),
        ("standard: http-errors", False),
        ("standard: http-errors, selector: '{}', atmost: 1%", False),
    ),
)
def test_the_schema_knows_the_form(fields: str, valid: bool) -> None:
    found = list(VALIDATOR.iter_errors(read_document(plan(fields), "p.yaml").data))
    assert (found == []) is valid


def test_names_can_be_given_by_variables() -> None:
    text = plan("standard: '${WHAT}', selector: '{job=\"${JOB}\"}'")
    loaded = load_plan(text, "plan.yaml", {"WHAT": "node-cpu", "JOB": "nodes"}, read_file=any_file)
    (made,) = loaded.documents[0][1].spec.gates["health"].criteria
    assert 'job="nodes"' in queries(made)[0]


def test_the_page_has_every_row() -> None:
    text = (DOCS / "gates.md").read_text()
    for name, row in STANDARDS.items():
        assert f"| `{name}` | {row.words}" in text
