"""The picture of a test's evidence, for pages and for terminals."""

import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from orchestrator.core.chart import BARS, HEIGHT, LONGEST_SPARK, evidence_svg, short, spark
from orchestrator.core.times import iso

BOUNDS = {"against": 3.0, "holds_at": 20, "fails_at": 100.0, "excluded": 5.0, "excludes_at": 20}


def trail(*against: float | None, excluded: float | None = None) -> list[dict[str, Any]]:
    return [{"at": iso(1.7e9 + 15 * i), "against": one, "excluded": excluded} for i, one in enumerate(against)]


def heights(svg: str) -> list[list[float]]:
    return [[float(place.partition(",")[2]) for place in line.split()] for line in re.findall(r'points="([^"]*)"', svg)]


def test_evidence_rises_upwards_and_stays_on_the_picture_however_large_or_small() -> None:
    (drawn,) = heights(evidence_svg("errors", trail(1e-300, 1.0, 20.0, 100.0, 1e300), BOUNDS))
    assert drawn == sorted(drawn, reverse=True)
    assert all(0 <= y <= HEIGHT for y in drawn)


def test_both_lines_are_drawn_where_both_are_known() -> None:
    assert len(heights(evidence_svg("errors", trail(1, 2, 3, excluded=4.0), BOUNDS))) == 2


@pytest.mark.parametrize("points", ((), (1.0,), (None, None, None)))
def test_of_less_than_two_looks_there_is_no_picture(points: tuple[float | None, ...]) -> None:
    assert evidence_svg("errors", trail(*points), BOUNDS) == ""


def test_the_picture_is_xml_that_says_in_words_what_it_shows_and_names_are_escaped() -> None:
    root = ET.fromstring(evidence_svg('<b>"errors"</b>', trail(1, 2, 3), BOUNDS))
    title = root.find("title")
    assert title is not None
    assert title.text is not None
    assert title.text.startswith('<b>"errors"</b>: evidence against the release 3, holds at 20, fails at 100')


def test_the_row_of_bars_is_full_where_it_fails_and_never_too_long() -> None:
    assert spark(trail(0.001, 100.0, 500.0), 100.0) == BARS[0] + 2 * BARS[-1]
    many = spark(trail(*[1.0] * 500, 100.0), 100.0)
    assert len(many) == LONGEST_SPARK
    assert many[-1] == BARS[-1]


@pytest.mark.parametrize(
    ("value", "text"),
    ((0.0213, "0.021"), (3.14, "3.1"), (123.4, "123"), (51234, "51,234"), (1e9, "over 1 M"), (None, "-")),
)
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert short(value) == text
