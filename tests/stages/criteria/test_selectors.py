"""Selectors of counters and the matchers of arms: what is some, and what they make together."""

import pytest

from stages.criteria.selectors import matchers_of, of_arm, taken_apart, with_suffix


@pytest.mark.parametrize(
    ("selector", "together"),
    (
        ("requests", 'requests{track="canary"}'),
        ("requests{}", 'requests{track="canary"}'),
        ('requests{code=~"5..",}', 'requests{code=~"5..",track="canary"}'),
        ("requests{code!='200'}", 'requests{code!="200",track="canary"}'),
        ('requests {code!~"2.."} # }', 'requests{code!~"2..",track="canary"}'),
        ('{__name__="requests",code="500"}', 'requests{code="500",track="canary"}'),
        ('{__name__=~"requests.*"}', '{__name__=~"requests.*",track="canary"}'),
        ('{"my.requests"}', '{"my.requests",track="canary"}'),
        ('requests{path="}\\"\\n"}', 'requests{path="}\\"\\n",track="canary"}'),
        ('requests{track="canary"}', 'requests{track="canary"}'),
    ),
)
def test_an_arm_adds_its_matchers(selector: str, together: str) -> None:
    assert of_arm(selector, '{track="canary",}') == together
    assert str(taken_apart(together)) == together


@pytest.mark.parametrize(
    "text", ("rate(requests[5m])", "requests[5m]", "requests offset 5m", "requests @ 5", "a or b", "sum(a)", "1", "a +")
)
def test_what_is_computed_is_no_counter(text: str) -> None:
    with pytest.raises(ValueError, match="a selector of counters is expected"):
        taken_apart(text)


@pytest.mark.parametrize(
    "arm", ("track", "{t=c}", '{t="c"}[5m]', '{t="c"} offset 5m', 'x{t="c"}', '{a="b" or c="d"}', "")
)
def test_an_arm_is_matchers_in_braces(arm: str) -> None:
    with pytest.raises(ValueError, match="label matchers in braces are expected"):
        matchers_of(arm)


def test_an_arm_without_matchers_would_be_everything() -> None:
    with pytest.raises(ValueError, match="an arm would be everything"):
        matchers_of("{}")


@pytest.mark.parametrize("arm", ('{__name__="other"}', '{__name__=~"other.*"}'))
def test_an_arm_does_not_name_the_metric(arm: str) -> None:
    with pytest.raises(ValueError, match="label matchers in braces are expected"):
        matchers_of(arm)


def test_a_suffix_goes_behind_the_name() -> None:
    assert with_suffix('seconds{job="shop"}', "_bucket") == 'seconds_bucket{job="shop"}'
    assert with_suffix('{"my.seconds"}', "_bucket") == '{"my.seconds_bucket"}'


def test_a_name_that_is_not_there_has_no_suffix() -> None:
    with pytest.raises(ValueError, match="the name of a histogram is expected"):
        with_suffix('{__name__=~"seconds.*"}', "_bucket")
