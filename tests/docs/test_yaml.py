"""Every YAML block of the docs is what it looks like: a plan, a piece of one, or something else that is known."""

import json
from typing import Any

import pytest
from ruamel.yaml import YAML

from orchestrator.allowance import Allowance
from orchestrator.crd.objects import CommandSpec
from stages.documents import read_document
from stages.load_schedule import load_schedule
from tests.docs.blocks import Block, blocks
from tests.docs.frame import framed, is_piece
from tests.stages.plans import SMALL, any_file, load
from tests.support.process import ROOT

BLOCKS = [block for block in blocks() if block.language == "yaml"]
OURS = "stagedrollout.io/v1alpha1"
OF_OTHERS = {  # what docs/coming_from.md puts beside a plan of ours
    ("argoproj.io/v1alpha1", "Rollout"),
    ("argoproj.io/v1alpha1", "AnalysisTemplate"),
    ("flagger.app/v1beta1", "Canary"),
}
ACTION = "manifests/github"


def parsed(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_yaml_block_is_valid(block: Block) -> None:
    data = parsed(block.text)
    if isinstance(data, dict) and "apiVersion" in data:
        _whole_document(block, data)
    elif "jobs" in data:
        _workflow(data)
    elif is_piece(data):
        framed(read_document(block.text, block.page).data).to_program()
    else:
        _of_the_server(block, data)


def _whole_document(block: Block, data: dict[str, Any]) -> None:
    match data["apiVersion"], data["kind"]:
        case (str(version), "StagedRollout") if version == OURS:
            load(block.text).to_program()
        case (str(version), "ScheduledChecks") if version == OURS:
            load_schedule(block.text, block.page, {}, read_file=any_file)
        case (str(version), "StagedRolloutCommand") if version == OURS:
            CommandSpec.model_validate(data["spec"])
        case known:
            assert known in OF_OTHERS, f"{block}: neither ours nor one that the docs compare with: {known}"
            assert data["metadata"]["name"]
            assert data["spec"]


def _of_the_server(block: Block, data: dict[str, Any]) -> None:
    if "annotations" in data.get("metadata", {}):
        plan = read_document(SMALL, "small").data
        plan["metadata"] = data["metadata"]
        load(json.dumps(plan))
    elif set(data) == {"namespace", "resources", "patches"}:  # a kustomization
        for patch in data["patches"]:
            assert {change["op"] for change in parsed(patch["patch"])} <= {"add", "replace", "remove"}
    else:
        Allowance.model_validate(data)


def _workflow(data: dict[str, Any]) -> None:
    """Of GitHub Actions: what it gives to our action is what that takes."""
    takes = parsed((ROOT / ACTION / "action.yml").read_text())["inputs"]
    used = 0
    for job in data["jobs"].values():
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), step
            if ACTION in step.get("uses", ""):
                used += 1
                assert set(step["with"]) <= set(takes)
                assert {name for name, one in takes.items() if one.get("required")} <= set(step["with"])
    assert used, "a workflow that does not use our action is somebody else's documentation"
    assert "on" in data


def test_the_blocks_are_found() -> None:
    assert len(BLOCKS) >= 40
    assert {block.page for block in BLOCKS} >= {"README.md", "docs/plan.md", "docs/tutorial.md"}


def test_a_piece_with_a_mistake_is_refused() -> None:
    for text in ("gates: {g: {criterias: []}}", "- {name: x, kind: batch, flag: f, percentages: [5], bake: 10}"):
        with pytest.raises(Exception, match=r"criterias|a duration needs a unit"):
            framed(parsed(text))
