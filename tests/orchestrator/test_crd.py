"""The custom resource definitions: that they are what the models say, and have the form that Kubernetes asks for."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from orchestrator.core.commands import ROLE_NEEDED, Command
from orchestrator.core.phases import CommandName, Leg, Phase, Reason
from orchestrator.crd import definitions
from orchestrator.crd.__main__ import main, to_yaml
from orchestrator.crd.definitions import ARGUMENTS
from orchestrator.crd.limits import LONGEST, MOST
from orchestrator.crd.objects import (
    LONGEST_TEXT,
    CommandArguments,
    CommandSpec,
    RolloutStatus,
    cut,
    to_command,
)
from orchestrator.crd.rules import RULES, Rule, belongs, distinct, of, told_apart
from orchestrator.crd.structural import INT_OR_STRING, OPEN, VALIDATIONS, structural
from stages.plan import PlanSpec
from stages.schema import json_schema
from stages.shapes import field_names
from tests.support.process import ROOT

BASE = ROOT / "manifests" / "base"
ROLLOUTS, COMMANDS = "crd-stagedrollouts.yaml", "crd-stagedrolloutcommands.yaml"
MOST_IN_ANNOTATIONS = 256 * 1024


@cache
def schema_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = definitions()[name]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def at(schema: dict[str, Any], path: str) -> dict[str, Any]:
    """``spec.stages[].before[].scale``; ``{}`` for the values of a map."""
    for part in re.findall(r"\[\]|\{\}|[^.\[\]{}]+", path):
        if part == "[]":
            schema = schema["items"]
        else:
            schema = schema["additionalProperties"] if part == "{}" else schema["properties"][part]
    return schema


def plan_at(path: str) -> dict[str, Any]:
    return at(schema_of(ROLLOUTS), f"spec.{path}")


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, entry in schema.get("properties", {}).items():
        yield from nodes(entry, f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], path + mark)


def messages(node: dict[str, Any]) -> list[str]:
    return [rule["message"] for rule in node.get(VALIDATIONS, [])]


# --- what is committed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(definitions()))
def test_what_is_committed_is_what_the_models_give(name: str) -> None:
    assert (BASE / name).read_text() == to_yaml(definitions()[name]), "run `make manifests`"


def test_they_are_written_into_a_folder(tmp_path: Path) -> None:
    main(str(tmp_path))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        name: to_yaml(content) for name, content in definitions().items()
    }


def test_a_definition_fits_into_the_annotation_that_kubectl_apply_leaves() -> None:
    """kubectl writes <, > and & as six characters each. A part is left for other annotations."""
    for content in definitions().values():
        text = json.dumps(content, separators=(",", ":"))
        assert len(text) + 5 * sum(map(text.count, "<>&")) < 0.97 * MOST_IN_ANNOTATIONS


# --- form -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", (ROLLOUTS, COMMANDS))
def test_every_value_has_one_type_or_is_open(name: str) -> None:
    for path, node in nodes(schema_of(name)):
        assert [*filter(None, (node.get("type"), node.get(INT_OR_STRING)))] or node.get(OPEN), path
        assert not (node.get(OPEN) and node.get("type") not in (None, "object")), path
        assert "$ref" not in node, path
        assert all(set(one) == {"required"} for one in node.get("anyOf", [])), path


def test_only_free_values_and_those_of_several_types_are_open() -> None:
    found = {path.rpartition(".")[2] for path, node in nodes(schema_of(ROLLOUTS)) if node.get(OPEN)}
    free = {"parameters", "parameters{}", "profiles{}", "json", "json{}", "values{}", "undo", "verify[]"}
    texts_or_secrets = {"database", "vars{}", "headers{}", "url", "username", "ca", "cert", "key", "ended", "user"}
    texts_or_lists = {"links", "contacts", "gate", "contains", "lacks", "status", "watch"}
    texts_or_mappings = {"bake", "final_bake", "sign_off", "on_missing", "on_rollback"}
    shares = {"max_increase", "at_most", "objective"}
    allowed = free | texts_or_secrets | texts_or_lists | texts_or_mappings | shares
    assert found <= allowed, found - allowed


def test_every_field_of_a_plan_is_there() -> None:
    assert sorted(schema_of(ROLLOUTS)["properties"]["spec"]["properties"]) == sorted(field_names(PlanSpec))


def test_rules_stand_only_where_the_api_server_reaches() -> None:
    def below(node: dict[str, Any], is_open: bool, path: str) -> None:
        is_open = is_open or (bool(node.get(OPEN)) and "type" not in node)
        assert not (is_open and VALIDATIONS in node), path
        for name, entry in node.get("properties", {}).items():
            below(entry, is_open, f"{path}.{name}")
        for key in ("items", "additionalProperties"):
            if isinstance(node.get(key), dict):
                below(node[key], is_open, f"{path}[]")

    below(schema_of(ROLLOUTS), False, "")


def test_lists_around_rules_have_a_limit() -> None:
    for path, node in nodes(plan_at("stages")):
        if node.get("type") == "array" and any(VALIDATIONS in inner for _, inner in nodes(node["items"])):
            assert node["maxItems"] <= 100, path


def test_limits_are_of_fields_that_there_are() -> None:
    names = {path.rpartition(".")[2].rstrip("[]{}") for path, _ in nodes(schema_of(ROLLOUTS))}
    assert {*MOST, *LONGEST} <= names


def test_rules_are_of_models_that_there_are_and_ask_for_their_fields() -> None:
    known = json_schema()["$defs"]
    for model, rules in RULES.items():
        for rule in rules:
            assert rule.fields <= set(known[model]["properties"]), (model, rule.expression)


def test_a_rule_that_asks_for_what_it_cannot_see_is_a_mistake() -> None:
    schema = json_schema()
    approval = schema["$defs"]["Approval"]["properties"]
    approval["any_of"] = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    with pytest.raises(AssertionError, match=r"asks for \['any_of'\], which is left open"):
        structural({"$ref": "#/$defs/Approval", "$defs": schema["$defs"]})


# --- what becomes of types --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    (
        ("owner", {"type": "string"}),
        ("stages[].kind", {"type": "string"}),
        ("stages[].percentages[]", {"type": "number", "minimum": 0, "maximum": 100}),
        ("stages[].on_fail", {"type": "string", "enum": ["rollback", "pause"]}),
        ("stages[].batch", {"type": "integer", "minimum": 1}),
        ("stages[].point_of_no_return", {"type": "boolean"}),
        ("gates{}.alpha", {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 1}),
        ("gates{}.criteria[].empty", {INT_OR_STRING: True, "enum": ["inconclusive", "pass", 0]}),
        ("checks[].expect.exit", {INT_OR_STRING: True, "pattern": "^(any)$"}),
        ("checks[].http.json", {OPEN: True}),
        ("flags{}.parameters", {"type": "object", OPEN: True}),
        ("notify.channels{}", {"type": "object", "minProperties": 1, "maxProperties": 1}),
        ("database", {OPEN: True, "maxProperties": 1}),
        ("environments[].sign_off", {OPEN: True, "pattern": "^(none)$"}),
    ),
)
def test_a_type_of_the_language_becomes_one_of_kubernetes(path: str, expected: dict[str, Any]) -> None:
    node = plan_at(path)
    assert {key: node.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    ("path", "good", "bad"),
    (
        ("stages[].settle", ("30s", "1h30m", "${SETTLE}"), ("30", "soon")),
        ("stages[].bake", ("10m", "${BAKE}"), ("ten",)),
        ("gates{}.criteria[].fail", ("> 5", "< 5%", "${LIMIT}"), ("5", "more")),
        ("checks[].expect.rows", (">= 1",), ("some",)),
        ("stages[].workload", ("deployment/a", "statefulset/b.c", "${W}"), ("deploy/a", "a")),
        ("window.deny[].from", ("09:00", "2026-12-20", "2026-12-20T10:00:00Z"), ("noon",)),
    ),
)
def test_texts_with_a_form_keep_it_and_may_be_expansions(
    path: str, good: tuple[str, ...], bad: tuple[str, ...]
) -> None:
    pattern = plan_at(path)["pattern"]
    assert [text for text in good if not re.search(pattern, text)] == []
    assert [text for text in bad if re.search(pattern, text)] == []


def test_a_part_is_described_where_it_first_stands() -> None:
    assert (
        plan_at("checks[].command")["description"] == "A program and its arguments, each a word of its own; no shell."
    )
    assert "description" not in plan_at("stages[].checks[].command")


# --- unions -----------------------------------------------------------------------------------------------------------


def test_an_action_has_the_fields_of_all_kinds_and_rules_that_tell_whose_they_are() -> None:
    action = plan_at("stages[].before[]")
    assert {"flag", "scale", "replicas", "command", "wait", "undo"} <= set(action["properties"])
    said = messages(action)
    assert any(text.startswith("an action has exactly one of flag, scale, image") for text in said)
    assert "state, percentage, targets, parameters and profile belong to flag" in said
    assert "scale and replicas belong together; one of them is not given" in said


def test_a_stage_has_the_kinds_and_their_fields() -> None:
    stage = plan_at("stages[]")
    assert set(stage["properties"]["kind"]["enum"]) == {
        "backfill", "batch", "migration", "monitoring", "queue", "steps", "version"
    }  # fmt: skip
    said = messages(stage)
    assert "replicas and drain belong to stages of kind queue" in said
    assert "a stage of kind backfill needs update and key" in said


def test_what_belongs_to_nobody_else_is_refused_beside_a_ready_made_criterion() -> None:
    said = messages(plan_at("gates{}.criteria[]"))
    assert any(text.endswith("do not go with standard") and text.startswith("command, script") for text in said)
    assert any(text.startswith("ratio, compare, latency, change and slo say themselves") for text in said)


def test_a_union_that_nobody_told_apart_is_a_mistake() -> None:
    part: dict[str, Any] = {"properties": {"a": {}}}
    with pytest.raises(LookupError, match="Unknown"):
        told_apart({"Unknown": part, "Other": part}, frozenset("a"))


def test_words_of_cel_are_escaped() -> None:
    assert of("for") == "self.__for__"
    assert belongs(("for",), ("query",)).fields == {"for", "query"}
    assert Rule("has(self.a) && self.b.size() > 0", "").fields == {"a", "b"}


def test_names_of_a_list_are_distinct() -> None:
    assert distinct("stages", "stage").message == "each stage has a name of its own; one is used twice"


# --- status and commands ----------------------------------------------------------------------------------------------


def test_the_status_has_the_words_of_the_core() -> None:
    status = schema_of(ROLLOUTS)["properties"]["status"]["properties"]
    assert status["phase"]["enum"] == [str(phase) for phase in Phase]
    assert status["leg"]["enum"] == [str(leg) for leg in Leg]
    assert status["holds"]["items"]["properties"]["reason"]["enum"] == [str(reason) for reason in Reason]


def test_all_of_a_status_is_bounded() -> None:
    for path, node in nodes(schema_of(ROLLOUTS)["properties"]["status"]):
        if node.get("type") == "array":
            assert "maxItems" in node, path
        if node.get("type") == "string":
            assert "maxLength" in node or "enum" in node or node.get("format") == "date-time", path
        if "additionalProperties" in node:
            assert "maxProperties" in node, path


def test_a_long_text_is_cut() -> None:
    assert cut("short") == "short"
    assert len(cut("x" * 5000)) == LONGEST_TEXT
    assert cut("x" * 5000).endswith("…")


def test_a_status_is_written_in_camel_case_and_without_what_is_not_known() -> None:
    status = RolloutStatus.model_validate({"observed_generation": 2, "phase": "running"})
    assert status.model_dump(mode="json", by_alias=True, exclude_unset=True) == {
        "observedGeneration": 2,
        "phase": "running",
    }


def test_a_command_has_the_arguments_of_the_core() -> None:
    assert {*CommandArguments.model_fields} == {*Command.model_fields} - {"command", "reason", "key"}
    assert set(ARGUMENTS) == set(field_names(CommandArguments))
    assert schema_of(COMMANDS)["properties"]["spec"]["properties"]["command"]["enum"] == [*map(str, CommandName)]


def test_a_command_becomes_the_cores() -> None:
    spec = {
        "rollout": "search",
        "command": "rollback",
        "arguments": {"stage": "batch", "withSchema": True},
        "reason": "errors",
        "requestedBy": "alice",
    }
    assert to_command(CommandSpec.model_validate(spec), "uid-1") == Command(
        command=CommandName.ROLLBACK, reason="errors", stage="batch", with_schema=True, key="uid-1"
    )
    with pytest.raises(ValidationError, match="reason"):
        CommandSpec.model_validate({**spec, "reason": " "})


def test_every_command_is_granted_by_one_role_for_people() -> None:
    roles = YAML(typ="safe", pure=True).load_all((BASE / "people.yaml").read_text())
    granted = {
        role["metadata"]["name"]: [
            resource.partition("/")[2] for rule in role["rules"] for resource in rule["resources"] if "/" in resource
        ]
        for role in roles
    }
    assert sorted(name for names in granted.values() for name in names) == sorted(map(str, CommandName))
    needing_approvers = {str(name) for name, role in ROLE_NEEDED.items() if role == "approver"}
    assert needing_approvers <= set(granted["stagedrollout-approver"])
