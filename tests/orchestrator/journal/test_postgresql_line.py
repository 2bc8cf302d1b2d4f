"""Which server of an address is taken; what becomes of it with real ones is seen by `tests/faults/test_failover.py`."""

import pytest
from psycopg.conninfo import conninfo_to_dict

from orchestrator.journal.postgresql.address import parse
from orchestrator.journal.postgresql.line import Place, each_host


@pytest.mark.parametrize(
    ("url", "places"),
    (
        ("postgresql://ann:pw@h1:1,h2:2/db", [("h1", "1"), ("h2", "2")]),
        ("postgresql://ann:pw@h1,h2/db?port=5433", [("h1", "5433"), ("h2", "5433")]),
        ("postgresql://ann:pw@h1:1/db", [("h1", "1")]),
        ("postgresql://?service=ours", [(None, None)]),
    ),
)
def test_an_address_is_taken_apart_into_its_hosts(url: str, places: list[tuple[str, str]]) -> None:
    found = [conninfo_to_dict(host.conninfo) for host in each_host(parse(url))]
    assert [(one.get("host"), one.get("port")) for one in found] == places
    assert {one.get("dbname") for one in found} <= {"db", None}
    assert {host.name for host in each_host(parse(url))} == {parse(url).name}


def test_a_server_of_an_older_timeline_was_overtaken_unless_it_is_of_another_system() -> None:
    newest = Place("7712", 3)
    assert Place("7712", 2).was_overtaken_by(newest)
    assert not Place("7712", 3).was_overtaken_by(newest)
    assert not Place("7712", 4).was_overtaken_by(newest)
    assert not Place("8000", 1).was_overtaken_by(newest)  # upgraded, or another database altogether


def test_a_server_that_does_not_say_where_it_stands_was_not_overtaken() -> None:
    assert not Place().was_overtaken_by(Place("7712", 3))
    assert not Place("7712").was_overtaken_by(Place("7712", 3))
