"""Addresses in a plan that cannot be, or would show a password."""

import pytest

from tests.stages.plans import SMALL, changed, load, the_problem

URL = "http://localhost:9090"


@pytest.mark.parametrize(
    "url", ("file:///etc/passwd", "gopher://h:70", "http://h:99999999", "http://h:0", "http://h\\r\\nX: 1")
)
def test_an_address_where_no_prometheus_can_be_is_refused(url: str) -> None:
    assert the_problem(changed(URL, url)).endswith(
        "url: the address of a Prometheus is expected, such as http://prometheus:9090"
    )


@pytest.mark.parametrize(
    ("old", "new", "place"),
    (
        (URL, "http://ann:hunter2hunter@h:9090", "spec.prometheus.url"),
        ("{env: DATABASE_URL}", '"postgresql://ann:hunter2hunter@h/d"', "spec.database"),
    ),
)
def test_a_password_in_an_address_is_warned_of_and_not_repeated(old: str, new: str, place: str) -> None:
    said = [str(one) for one in load(changed(old, new)).warnings]
    assert any("a password stands in this address" in one for one in said), (place, said)
    assert "hunter2hunter" not in "".join(said)


def test_an_address_without_a_password_is_not_warned_of() -> None:
    assert not any("password" in str(one) for one in load(SMALL).warnings)


def test_a_setting_of_many_levels_is_refused_at_once() -> None:
    assert "at most 48 levels" in the_problem(SMALL, sets=("a." * 5_000 + "a=1",))
