import math

import pytest

from stages.promql import InvalidQuery, lookback_seconds


@pytest.mark.parametrize(
    ("query", "seconds"),
    (
        ("up", 0),
        ("1 + 2", 0),
        ("rate(a[5m])", 300),
        ("rate(a[5m] offset 1h)", 3900),
        ("a offset 1d", 86400),
        ("a offset -5m", 0),
        ("rate(a[5m]) / rate(b[10m])", 600),
        ("histogram_quantile(0.95, sum by (le) (rate(a_bucket[5m])))", 300),
        ("max_over_time(rate(a[5m])[1h:1m])", 3900),
        ("max_over_time(rate(a[5m] offset 2m)[1h:1m] offset 1d)", 90420),
        ("topk(3, -(rate(a[2m])))", 120),
        ("a @ end()", 0),
        ("rate(a[5m] @ end())", 300),
        ("a @ 1609746000", math.inf),
        ("max_over_time(a[1h:1m] @ 5)", math.inf),
    ),
)
def test_a_query_looks_back_as_far_as_its_longest_selector(query: str, seconds: float) -> None:
    assert lookback_seconds(query) == seconds


@pytest.mark.parametrize(
    "query",
    (
        "",
        "sum(",
        "rate(a)",
        "a{",
        "nosuch(a)",
        "a + ",
        "(" * 9000 + "a" + ")" * 9000,
        "a" * 40000,
        "a\x00b",
        "-" * 9000 + "a",
        "+".join("a" * 900),
        "a[" * 9000,
        "sum(" * 3000 + "a" + ")" * 3000,
        "{" * 9000,
    ),
)
def test_what_is_no_promql_is_refused_with_a_reason(query: str) -> None:
    with pytest.raises(InvalidQuery, match=r"."):
        lookback_seconds(query)


def test_a_query_at_the_bounds_is_parsed() -> None:
    assert lookback_seconds("(" * 32 + "a" + ")" * 32) == 0
    assert lookback_seconds(" + ".join(["rate(a[5m])"] * 200)) == 300
    assert lookback_seconds("-" * 200 + "a") == 0
    assert lookback_seconds('a{b=~"' + "(x-y|" * 100 + "z" + ")" * 100 + '"}') == 0
