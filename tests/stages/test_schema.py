import json
from typing import Any

import jsonschema
import pytest

from stages.documents import read_document
from stages.load import load_plan
from stages.problems import InvalidPlan
from stages.schema import described_fields, json_schema
from tests.stages.plans import EXAMPLE, SMALL, any_file, changed, with_lines, with_step

VALIDATOR = jsonschema.Draft202012Validator(json_schema())


def errors(text: str) -> list[Any]:
    return list(VALIDATOR.iter_errors(read_document(text, "p.yaml").data))


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    json.dumps(json_schema(), allow_nan=False)


@pytest.mark.parametrize(
    "text",
    (
        EXAMPLE,
        SMALL,
        with_lines("x-anchors: {a: 1}"),
        with_step("{command: [x], undo: {command: [y]}}"),
        with_step('{flag: beta, percentage: "${N}"}'),
        with_lines(
            "window: {allow: [{days: [mon], from: '09:00', to: '24:00'}], deny: [{from: 2026-12-20, to: 2027-01-03}]}"
        ),
        with_lines("triggers: [{name: t, query: up, fail: '< 1', action: rollback}]"),
    ),
)
def test_a_valid_plan_is_valid_for_the_schema(text: str) -> None:
    assert errors(text) == []


@pytest.mark.parametrize(
    "text",
    (
        changed("percentages:", "percentges:"),
        changed("kind: monitoring", "kind: monitorng"),
        changed("kind: monitoring, ", ""),
        changed("kind: StagedRollout", "kind: Rollout"),
        changed("v1alpha1", "v2"),
        changed("name: small", "name: Small Plan"),
        changed("metadata: {name: small}\n", ""),
        changed("bake: 10m", "bake: 10"),
        changed("bake: 10m", "bake: 10x"),
        changed("bake: 10m", "bake: {min: 10m}"),
        changed("[5, 50, 100]", "[5, 101]"),
        changed("[5, 50, 100]", "[-1]"),
        changed("[5, 50, 100]", "5"),
        changed('"> 5"', "5"),
        changed('"> 5"', '"more than 5"'),
        changed("criteria:", "criterias:"),
        with_lines("owner: [a]"),
        with_lines("checks: {name: x}"),
        with_lines("checks: [{command: ls -l}]"),
        with_lines("checks: [{command: []}]"),
        with_lines("approval: {any_of: [sre], on_timeout: explode}"),
        with_lines("watch: [{name: a}]"),
        with_lines("window: {allow: [{days: [someday]}]}"),
        with_lines("window: {allow: [{from: 25:00}]}"),
        with_lines("notify: {severity: {fatal: [a]}}"),
        with_lines("on_fire: run"),
        with_step("{comand: [x], undo: none}"),
        with_step("{flag: beta, percentage: 101}"),
        with_step("{command: [x], undo: all}"),
        with_step("{command: [x], undo: {comand: [y]}}"),
        with_step("{wait: soon}"),
        SMALL[: SMALL.index("  stages:")],
        changed("  stages:\n", "  stages: []\n  x-rest:\n"),
    ),
)
def test_the_schema_refuses_what_the_models_refuse_in_structure(text: str) -> None:
    with pytest.raises(InvalidPlan):
        load_plan(text, "p.yaml", {}, read_file=any_file)
    assert errors(text) != []


def test_every_described_field_exists() -> None:
    assert [name for name, exists in described_fields() if not exists] == []


def test_fields_are_described_where_they_are_inherited() -> None:
    definitions = json_schema()["$defs"]
    assert definitions["QueueStage"]["properties"]["bake"]["description"].startswith("How long a step stays")
    assert definitions["Trigger"]["properties"]["query"]["description"] == "PromQL."
