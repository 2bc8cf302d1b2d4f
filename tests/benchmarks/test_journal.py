"""What the benchmark of journals says of the rounds that it measured."""

from benchmarks.journal import MOST, Rates, _compared

RATES: Rates = {
    ("ours", MOST): [50.0, 90.0, 60.0],
    ("group", MOST): [100.0, 100.0, 200.0],
    ("sqlite3", MOST): [10.0, 12.0, 11.0],
}


def test_a_ratio_is_of_what_was_measured_in_the_same_round() -> None:
    found = _compared(RATES, "ours", "group", {"sqlite3": "sqlite3"})
    assert (found["events_per_s"], found["raw_per_s"], found["ratio"]) == (60, 100, 0.5)


def test_a_peer_that_is_not_there_is_left_out() -> None:
    found = _compared(RATES, "ours", "group", {"sqlite3": "sqlite3", "dbos": "dbos"})
    assert found["peers"] == {"sqlite3": {"events_per_s": 11}}
