import json
from dataclasses import replace

import pytest

from orchestrator.core.events import Paused, Resumed
from orchestrator.journal import chain
from orchestrator.ports import Recorded


@pytest.fixture
def records() -> list[Recorded]:
    events = [Paused(by="ann"), Resumed(by="bob"), Paused(by="ann"), Resumed(by="eve")]
    encoded = [chain.encode(event) for event in events]
    return [record for record, _ in chain.extend("r", 0, chain.GENESIS, 5, encoded)]


def test_an_untouched_journal_verifies(records: list[Recorded]) -> None:
    assert chain.verify(records) is None
    assert chain.verify([]) is None


@pytest.mark.parametrize(
    "change",
    (
        {"at": 6.0},
        {"run": "other"},
        {"event": Resumed(by="mallory")},
        {"event": Paused(by="bob")},
        {"hash": "0" * 64},
        {"seq": 7},
    ),
)
def test_whatever_is_changed_in_an_event_is_found_at_its_number(
    records: list[Recorded], change: dict[str, object]
) -> None:
    records[1] = replace(records[1], **change)  # type: ignore[arg-type]
    assert chain.verify(records) == 2


def test_a_missing_a_doubled_and_a_swapped_event_are_found(records: list[Recorded]) -> None:
    first, second, third, fourth = records
    assert chain.verify([first, third, fourth]) == 2
    assert chain.verify([first, second, second, third]) == 3
    assert chain.verify([first, third, second, fourth]) == 2
    assert chain.verify([second, third, fourth]) == 1


def test_a_journal_with_a_new_past_does_not_fit_what_came_after(records: list[Recorded]) -> None:
    forged = chain.extend("r", 0, chain.GENESIS, 5, [chain.encode(Paused(by="mallory"))])
    assert chain.verify([*(record for record, _ in forged), *records[1:]]) == 2


def test_a_part_verifies_behind_the_hash_before_it(records: list[Recorded]) -> None:
    assert chain.verify(records[2:], before=records[1].hash, after=2) is None
    assert chain.verify(records[2:], before=records[0].hash, after=2) == 3


def test_canonical_json_is_the_same_for_equal_values_and_is_json() -> None:
    assert chain.canonical({"b": [1, 1.5, None], "a": "ö\n"}) == '{"a":"\\u00f6\\n","b":[1,1.5,null]}'
    assert chain.canonical({"a": 1, "b": 2}) == chain.canonical({"b": 2, "a": 1})
    odd = chain.canonical({"a": (float("nan"), [float("-inf")])})
    assert json.loads(odd) == {"a": ["NaN", ["-Infinity"]]}


def test_a_time_given_as_an_integer_hashes_like_the_float_that_is_stored() -> None:
    encoded = [chain.encode(Paused())]
    ((whole, _),) = chain.extend("r", 0, chain.GENESIS, 5, encoded)
    ((real, _),) = chain.extend("r", 0, chain.GENESIS, 5.0, encoded)
    assert whole == real
    assert isinstance(whole.at, float)
