"""`rollout bundle`: a plan with what it names, as objects; what no cluster would take is refused before it is sent."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from orchestrator.cluster.bundle import bundle_of
from orchestrator.errors import InvalidPlan
from tests.orchestrator.cli.conftest import Cli

PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {{name: search}}
spec:
  x-anchors: &quick {{bake: 10m, gate: health}}
  database: postgresql://db/${{DATABASE}}
  flags: {{beta: {{}}}}
  gates: {{health: {{criteria: [{{name: errors, query: errors, fail: "> 1"}}]}}}}
  prometheus: {{url: "http://localhost:9090"}}
  stages:
    - {{name: schema, kind: migration, migrations: [{{up: sql/001.sql, keep: it is new}}]}}
    - {{name: open, kind: monitoring, flag: beta, percentages: [50], <<: *quick}}
{more}"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql" / "001.sql").write_text("CREATE TABLE t (id bigint PRIMARY KEY);\n")
    monkeypatch.setenv("DATABASE", "shop")
    monkeypatch.setenv("UNRELATED", "a secret of this shell")
    return tmp_path


def write(folder: Path, more: str = "", text: str = PLAN) -> str:
    path = folder / "plan.yaml"
    path.write_text(text.format(more=more))
    return str(path)


def documents(text: str) -> list[Any]:
    return list(YAML(typ="safe", pure=True).load_all(text))


def test_a_plan_goes_as_it_is_written_with_its_files_and_the_variables_that_it_names(folder: Path, cli: Cli) -> None:
    done = cli("bundle", write(folder), "--namespace", "shop", "--created-by", "alice")
    assert done.code == 0, done.err
    files, plan = documents(done.out)
    bundle = bundle_of(files)
    assert bundle.files == {"sql/001.sql": "CREATE TABLE t (id bigint PRIMARY KEY);\n"}
    assert bundle.variables == {"DATABASE": "shop"}
    assert plan["metadata"] == {
        "name": "search",
        "namespace": "shop",
        "annotations": {
            "stagedrollout.io/bundle": files["metadata"]["name"],
            "stagedrollout.io/created-by": "alice",
        },
    }
    assert plan["spec"]["database"] == "postgresql://db/${DATABASE}"
    assert plan["spec"]["stages"][1]["bake"] == "10m"
    assert "x-anchors" not in plan["spec"]


def test_groups_of_who_writes_it_are_named_one_a_line(folder: Path, cli: Cli) -> None:
    done = cli("bundle", write(folder), "--created-by", "alice", "--group", "search team", "--group", "sre")
    assert documents(done.out)[1]["metadata"]["annotations"]["stagedrollout.io/created-by-groups"] == "search team\nsre"


def test_groups_of_nobody_are_refused(folder: Path, cli: Cli) -> None:
    done = cli("bundle", write(folder), "--group", "sre")
    assert (done.code, done.out) == (2, "")
    assert "--group says more of who --created-by names; give that too" in done.err


def test_settings_are_in_what_is_printed(folder: Path, cli: Cli) -> None:
    done = cli("bundle", write(folder), "--set", "stages.open.bake=1m", "--created-by", "alice")
    assert documents(done.out)[1]["spec"]["stages"][1]["bake"] == "1m"


def test_without_a_name_it_is_said_that_a_cluster_wants_one(folder: Path, cli: Cli) -> None:
    done = cli("bundle", write(folder))
    assert done.code == 0
    assert "name yourself with --created-by USER" in done.err
    assert "annotations" in documents(done.out)[1]["metadata"]


@pytest.mark.parametrize(
    ("more", "words"),
    (
        ("  checks: [{script: 'true'}]\n", "spec.checks[0].script: a plan from a cluster runs no commands"),
        (
            "  kubernetes: {context: prod}\n",
            "spec.kubernetes.context: a plan from a cluster acts in that cluster alone",
        ),
        ("  owner: 1.10\n", "spec.owner: "),
    ),
)
def test_what_the_controller_would_refuse_is_refused_here(folder: Path, cli: Cli, more: str, words: str) -> None:
    """``1.10`` is a text where a file is read, and would be the number 1.1 once it is JSON."""
    done = cli("bundle", write(folder, more))
    assert done.code == InvalidPlan.exit_code
    assert words in done.err
    assert done.out == ""


def test_files_that_no_config_map_holds_are_refused_with_their_size(folder: Path, cli: Cli) -> None:
    (folder / "sql" / "001.sql").write_text("-- " + "x" * 1_000_000 + "\nCREATE TABLE t (id bigint PRIMARY KEY);\n")
    done = cli("bundle", write(folder), "--created-by", "alice")
    assert done.code == 2
    assert "a ConfigMap holds 1,000,000" in done.err
