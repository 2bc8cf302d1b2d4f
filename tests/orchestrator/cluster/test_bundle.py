"""A plan's files as a ConfigMap, and back."""

import re

import pytest

from orchestrator.cluster.bundle import MOST_BYTES, Bundle, bundle_of, config_map

FILES = {"sql/001.sql": "SELECT 1;\n", "sql.001.sql": "SELECT 2;\n", "./jobs/fill it.yaml": "kind: Job\n"}


def test_every_file_comes_back_under_the_path_that_the_plan_has_for_it() -> None:
    made = config_map("demo", "shop", Bundle(FILES, {"REGION": "eu"}))
    assert made is not None
    assert all(re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key) for key in made["data"])
    found = bundle_of(made)
    assert {path: found.read(path).decode() for path in FILES} == FILES
    assert found.variables == {"REGION": "eu"}


def test_it_is_named_after_what_is_in_it_and_never_changes() -> None:
    first, again, other = (
        config_map("demo", None, Bundle({"a.sql": text})) for text in ("SELECT 1", "SELECT 1", "SELECT 2")
    )
    assert first is not None
    assert first == again
    assert first["immutable"]
    assert other is not None
    assert first["metadata"]["name"] != other["metadata"]["name"]


def test_a_plan_without_files_and_variables_needs_none() -> None:
    assert config_map("demo", None, Bundle()) is None


def test_a_config_map_made_by_hand_has_files_under_the_last_part_of_their_path() -> None:
    by_hand = bundle_of({"data": {"001.sql": "SELECT 1"}})
    assert by_hand.read("sql/001.sql") == b"SELECT 1"
    with pytest.raises(FileNotFoundError):
        by_hand.read("sql/002.sql")


def test_files_that_are_too_large_for_a_config_map_are_refused_with_their_size() -> None:
    with pytest.raises(ValueError, match=r"the plan's files have 1,\d{3},\d{3} bytes, and a ConfigMap holds 1,000,000"):
        config_map("demo", None, Bundle({"a.sql": "x" * MOST_BYTES}))


@pytest.mark.parametrize("index", ("no JSON", '{"files": {"a.sql": "missing"}}', '{"files": 3}', "[]"))
def test_an_index_that_is_none_is_refused(index: str) -> None:
    with pytest.raises(ValueError, match=r"its plan-index.json is none that `rollout bundle` has written"):
        bundle_of({"data": {"plan-index.json": index}})
