"""Every bad plan: exit code 2, a clear message with its place, and nothing started."""

from pathlib import Path

import pytest

from tests.acceptance.worlds.host import Host

pytestmark = pytest.mark.acceptance

HEAD = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: bad}
spec:
"""
SOUND = """\
  prometheus: {url: "http://127.0.0.1:9090"}
  flags: {one: {}, two: {}}
  gates:
    health: {criteria: [{name: errors, query: error_rate, fail: "> 0.1"}]}
  stages:
    - {name: first, kind: monitoring, flag: one, percentages: [5, 50], gate: health, bake: 10m}
    - {name: second, kind: batch, flag: two, percentages: [50], gate: health}
"""

# what is changed in the sound plan, into what; the line of the message, and what it says
BAD = {
    "an unknown field": ("bake: 10m", "baek: 10m", 10, ("baek", "did you mean", "bake")),
    "a wrong unit": ("bake: 10m", "bake: 10x", 10, ("10x", "30s")),
    "percentage 101": ("[5, 50]", "[5, 101]", 10, ("101", "100")),
    "falling percentages": ("[5, 50]", "[50, 5]", 10, ("5", "50")),
    "an unknown gate": ("[5, 50], gate: health", "[5, 50], gate: wealth", 10, ("wealth", "health")),
    "an unknown flag": ("flag: one", "flag: onne", 10, ("onne", "one")),
    "an unknown kind": ("kind: batch", "kind: bach", 11, ("bach", "batch")),
    "duplicate names": ("name: second", "name: first", 11, ("first",)),
}


def refused(host: Host, plan: Path | str, *arguments: str) -> list[str]:
    """What `start` says of a plan that is no plan, line by line; it leaves no store."""
    said = host.refused("start", plan, *arguments, code=2)
    assert not host.store.exists()
    return said.rstrip().splitlines()


@pytest.mark.parametrize("what", BAD)
def test_a_mistake_is_said_with_file_line_and_column_and_nothing_is_started(host: Host, what: str) -> None:
    old, new, line, words = BAD[what]
    assert old in SOUND
    plan = host.write("plan.yaml", HEAD + SOUND.replace(old, new, 1))
    problem, summary = refused(host, plan)
    assert problem.startswith(f"{plan}:{line}:")
    assert int(problem.removeprefix(f"{plan}:{line}:").partition(":")[0]) > 1
    assert all(word in problem for word in words), problem
    assert summary == "rollout: the plan is not valid: 1 problem; nothing was started"


def test_the_plan_that_the_bad_ones_are_made_of_is_valid(host: Host) -> None:
    host.ok("validate", host.write("plan.yaml", HEAD + SOUND), "--offline")


def test_empty_stages_are_no_plan(host: Host) -> None:
    problem, _ = refused(host, host.write("plan.yaml", HEAD + "  stages: []\n"))
    assert "plan.yaml:5:11" in problem
    assert "stages" in problem


def test_all_mistakes_are_said_at_once_by_start_and_by_validate(host: Host) -> None:
    text = SOUND
    for what in ("an unknown field", "percentage 101", "an unknown flag", "duplicate names"):
        text = text.replace(BAD[what][0], BAD[what][1], 1)
    plan = host.write("plan.yaml", HEAD + text)
    *problems, summary = refused(host, plan)
    assert host.refused("validate", plan, "--offline", code=2).rstrip().splitlines() == [*problems, summary]
    assert len(problems) >= 3
    assert f"{len(problems)} problems" in summary


def test_what_a_later_version_brings_is_refused_with_a_sentence_that_says_so(host: Host) -> None:
    version = "kind: version, workload: deployment/api, image: v2, percentages: [50]"
    route = f"    - {{name: third, {version}, route: httproute/api}}\n"
    *problems, _ = refused(host, host.write("plan.yaml", HEAD + SOUND + route))
    assert any("spec.stages[2].route" in problem and "in a later one" in problem for problem in problems), problems


# --- files ------------------------------------------------------------------------------------------------------------


def test_ten_megabytes_are_no_plan(host: Host) -> None:
    plan = host.write("plan.yaml", HEAD + SOUND + "# " + "x" * (10 << 20) + "\n")
    (said,) = refused(host, plan)
    assert "plan.yaml" in said
    assert "1 MiB" in said


def test_an_alias_bomb_is_found_before_it_grows(host: Host) -> None:
    lines = ["  x-a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"  x-a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    problem, _ = refused(host, host.write("plan.yaml", HEAD + "\n".join(lines) + "\n" + SOUND))
    assert "plan.yaml:" in problem
    assert "alias" in problem


@pytest.mark.parametrize("text", ("spec: [1, 2\nx: }", "\tkind: x\n", "{{{", 'a: "b\n'))
def test_what_is_not_yaml_is_refused_with_its_place(host: Host, text: str) -> None:
    problem, _ = refused(host, host.write("plan.yaml", text))
    assert "plan.yaml:" in problem


@pytest.mark.parametrize("text", ("", "# nothing\n", "just a text\n", "- a\n- list\n", "42\n"))
def test_yaml_that_is_no_plan_is_refused(host: Host, text: str) -> None:
    problem, *_ = refused(host, host.write("plan.yaml", text))
    assert "plan.yaml" in problem


def test_two_documents_are_refused(host: Host) -> None:
    problem, _ = refused(host, host.write("plan.yaml", HEAD + SOUND + "---\n" + HEAD + SOUND))
    assert "plan.yaml:12:" in problem
    assert "document" in problem


def test_bytes_that_are_no_text_are_refused(host: Host) -> None:
    plan = host.folder / "plan.yaml"
    plan.write_bytes(b"\xff\xfe\x00k")
    (said,) = refused(host, plan)
    assert "UTF-8" in said


def test_a_file_that_is_not_there_and_a_folder_are_refused(host: Host) -> None:
    (said,) = refused(host, host.folder / "no-such.yaml")
    assert "no-such.yaml" in said
    assert "no such file" in said
    (said,) = refused(host, host.folder)
    assert "directory" in said


def test_a_file_that_cannot_be_read_is_refused(host: Host) -> None:
    plan = host.write("secret/plan.yaml", HEAD + SOUND)
    plan.chmod(0)
    said = host.as_plain_user("start", plan)
    assert (said.code, said.errors) == (2, f"rollout: the plan {plan} can't be read: permission denied\n")


# --- what a plan refers to --------------------------------------------------------------------------------------------


def test_an_unset_variable_is_named_with_its_place(host: Host) -> None:
    plan = host.write("plan.yaml", HEAD + SOUND.replace("127.0.0.1", "${NO_SUCH_VARIABLE}"))
    problem, _ = refused(host, plan)
    assert "plan.yaml:5:" in problem
    assert "NO_SUCH_VARIABLE" in problem


def test_a_missing_file_that_the_plan_names_is_said(host: Host) -> None:
    stage = "    - {name: schema, kind: migration, database: 'sqlite:///x.db', migrations: [{up: sql/none.sql}]}\n"
    *problems, _ = refused(host, host.write("plan.yaml", HEAD + SOUND + stage))
    assert any("plan.yaml:12:" in problem and "sql/none.sql" in problem for problem in problems), problems


def test_a_missing_secret_is_said_and_nothing_is_started(host: Host) -> None:
    host.write("sql/up.sql", "CREATE TABLE t (id int);\n")
    stage = "    - {name: schema, kind: migration, database: {env: NO_SUCH_SECRET}, migrations: [{up: sql/up.sql}]}\n"
    said = host.refused("start", host.write("plan.yaml", HEAD + SOUND + stage), code=2)
    assert "spec.stages[2].database" in said
    assert "NO_SUCH_SECRET" in said
    assert host.json("list") == []


def test_a_setting_on_the_command_line_is_held_to_the_same_rules(host: Host) -> None:
    plan = host.write("plan.yaml", HEAD + SOUND)
    problem, _ = refused(host, plan, "--set", "stages.first.bake=fast")
    assert "--set stages.first.bake=fast" in problem
