"""Selectors that are a part of another: one answer serves both."""

import pytest

from orchestrator.adapters.prometheus.parts import wholes_of

ALL = 'requests_total{job="shop"}'


def asked(part: str, whole: str = ALL) -> str:
    return wholes_of({"bad": part, "total": whole})["bad"][0]


@pytest.mark.parametrize(
    "part",
    (
        'requests_total{job="shop",code="500"}',
        'requests_total{code="500",job="shop"}',
        'requests_total{job="shop",code=~"5.."}',
        'requests_total{job="shop",code!~"2..|3..",code!=""}',
        '{__name__="requests_total",job="shop",code="500"}',
    ),
)
def test_a_part_is_told_by_the_matchers_that_it_has_more(part: str) -> None:
    assert asked(part) == "total"


@pytest.mark.parametrize(
    "part",
    (
        'errors_total{job="shop"}',
        'requests_total{code="500"}',
        'requests_total{job="store",code="500"}',
        '{__name__=~"requests_.*",job="shop",code="500"}',
        r'requests_total{job="shop",code=~"\\d+"}',  # may mean something else there
        'requests_total{job="shop",code=~"(?i)x"}',
    ),
)
def test_what_is_no_part_or_might_not_be_is_asked_by_itself(part: str) -> None:
    assert asked(part) == "bad"


def test_two_parts_of_one_and_a_part_of_a_part_are_served_by_the_whole() -> None:
    found = wholes_of({
        "canary_bad": 'r{track="canary",code="500"}', "canary_total": 'r{track="canary"}',
        "control_bad": 'r{track="stable",code="500"}', "control_total": 'r{track="stable"}',
    })  # fmt: skip
    assert {name: whole for name, (whole, _) in found.items()} == {
        "canary_bad": "canary_total", "canary_total": "canary_total",
        "control_bad": "control_total", "control_total": "control_total",
    }  # fmt: skip
    chain = wholes_of({"a": 'r{x="1",y="2"}', "b": 'r{x="1"}', "c": "r"})
    assert {whole for whole, _ in chain.values()} == {"c"}


@pytest.mark.parametrize(
    ("matcher", "belongs", "others"),
    (
        ('code="500"', ({"code": "500"},), ({"code": "200"}, {})),
        ('code!="500"', ({"code": "200"}, {}), ({"code": "500"},)),
        ('code=~"5.."', ({"code": "503"},), ({"code": "5003"}, {"code": "200"}, {})),
        ('code!~"5..|4.."', ({"code": "200"}, {}), ({"code": "404"},)),
        ('code=""', ({}, {"code": ""}), ({"code": "1"},)),
    ),
)
def test_labels_match_as_they_do_at_the_server(
    matcher: str, belongs: tuple[dict[str, str], ...], others: tuple[dict[str, str], ...]
) -> None:
    _, of_part = wholes_of({"bad": f"r{{{matcher}}}", "total": "r"})["bad"]
    assert all(of_part(labels) for labels in belongs)
    assert not any(of_part(labels) for labels in others)
