from __future__ import annotations

import dataclasses
import re
import subprocess
import sys

import promql_parser
import pytest

from flags import exposure_names as names
from tests.support.process import ROOT

HOSTILE = ('a"b', "a\\b", "a b/c", "用户-💡", "a{b}=~'c'", "$1", "a\tb")


def test_the_labels_of_the_bands_are_their_ends() -> None:
    assert tuple(map(float, names.BANDS)) == names.BAND_ENDS


@pytest.mark.parametrize(
    ("percentage", "bands"),
    (
        (0, ()),
        (0.099, ()),
        (0.1, ("0.1",)),
        (1, ("0.1", "1")),
        (5, ("0.1", "1", "2", "5")),
        (7.5, ("0.1", "1", "2", "5")),
        (99.999, ("0.1", "1", "2", "5", "10", "25", "50")),
        (100, names.BANDS),
    ),
)
def test_the_bands_below_a_percentage_are_those_wholly_below_it(percentage: float, bands: tuple[str, ...]) -> None:
    assert names.bands_below(percentage) == bands


def test_the_selectors_of_a_flag() -> None:
    found = names.selectors("new-api", 1)
    counts = 'rollout_exposures_total{flag="new-api",'
    assert found.canary_bad == counts + 'arm="canary",outcome="error"}'
    assert found.canary_total == counts + 'arm="canary"}'
    assert found.control_bad == counts + 'arm="control",outcome="error"}'
    assert found.control_total == counts + 'arm="control"}'
    assert found.canary_seconds == 'rollout_exposure_seconds{flag="new-api",arm="canary"}'
    assert found.control_seconds == 'rollout_exposure_seconds{flag="new-api",arm="control"}'
    assert found.drawn_bad == counts + 'arm=~"canary|control",outcome="error"}'
    assert found.drawn_total == counts + 'arm=~"canary|control"}'
    assert found.cohort_bad == counts + 'arm=~"canary|control",band=~"0[.]1|1",outcome="error"}'
    assert found.cohort_total == counts + 'arm=~"canary|control",band=~"0[.]1|1"}'
    assert found.late == counts + 'arm="control",band=~"0[.]1|1"}'


def test_below_the_first_band_there_is_no_cohort() -> None:
    found = names.selectors("new-api", 0.05)
    assert (found.cohort_bad, found.cohort_total, found.late) == (None, None, None)


@pytest.mark.parametrize("flag", HOSTILE)
def test_selectors_name_the_flag_exactly_whatever_its_key(flag: str) -> None:
    parsed = promql_parser.parse(names.selectors(flag, 5).canary_total)
    assert isinstance(parsed, promql_parser.VectorSelector)
    matchers = {matcher.name: matcher.value for matcher in parsed.matchers.matchers}
    assert matchers == {"flag": flag, "arm": "canary"}


def test_the_flag_that_stands_for_the_others_has_no_arms_to_compare() -> None:
    with pytest.raises(ValueError, match="'other' has no series of its own: give it another key"):
        names.selectors("other", 5)


def test_whoever_reads_the_names_needs_no_metrics_library() -> None:
    code = "import sys, flags.exposure_names; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_docs_name_every_metric_and_every_value_of_its_labels() -> None:
    docs = (ROOT / "docs" / "exposure.md").read_text()
    arms = (names.CANARY, names.CONTROL, names.TARGET, names.NO_ARM)
    metrics = (names.EXPOSURES, names.SECONDS, names.EVALUATIONS)
    labels = {*names.EXPOSURES_LABELS, *names.SECONDS_LABELS, *names.EVALUATIONS_LABELS}
    for word in (*metrics, *labels, *arms, *names.BANDS, names.NO_BAND, names.OK, names.ERROR, names.OTHER):
        assert f"`{word}`" in docs, word
    for field in dataclasses.fields(names.Selectors):
        assert f"`{field.name}`" in docs, field.name


def test_the_queries_in_the_docs_are_promql() -> None:
    docs = (ROOT / "docs" / "exposure.md").read_text()
    (block,) = re.findall(r"```promql\n(.*?)```", docs, re.DOTALL)
    queries = [query for query in block.split("\n\n") if query.strip()]
    assert len(queries) == 4
    for query in queries:
        promql_parser.parse("\n".join(line for line in query.splitlines() if not line.startswith("#")))
