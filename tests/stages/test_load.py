import dataclasses
import gc
import weakref

import pytest

from stages.load import digest_of, from_raw, load_plan, to_raw
from stages.plan import StagedRollout
from stages.problems import InvalidPlan
from tests.stages.plans import (
    EXAMPLE,
    EXAMPLE_VARIABLES,
    SMALL,
    Files,
    any_file,
    changed,
    load,
    problems,
    the_problem,
    with_lines,
    with_step,
)


def test_the_example_of_the_language_is_loaded_and_compiled() -> None:
    plan = load(EXAMPLE, EXAMPLE_VARIABLES)
    program = plan.to_program("/plans")
    assert plan.name == program.name == "embedding-enhancements"
    assert [stage.name for stage in program.environment("production").stages] == [
        "infrastructure",
        "monitoring",
        "queue",
        "batch",
    ]
    assert sorted(plan.files) == [
        "./backup-age.sh",
        "./verify-rollback.sh",
        "k8s/workers.yaml",
        "sql/001_metrics.down.sql",
        "sql/001_metrics.sql",
        "sql/002_queue.sql",
    ]


def test_a_plan_that_was_kept_as_json_is_read_back_the_same() -> None:
    plan = load(EXAMPLE, EXAMPLE_VARIABLES)
    again = from_raw(plan.raw, plan.files)
    assert again.documents == plan.documents
    assert again.digest == plan.digest


def test_what_was_not_written_is_not_written_back() -> None:
    document = load(SMALL).documents[0][1]
    raw = to_raw(document)
    assert raw["spec"]["stages"][0]["bake"] == "10m"
    assert "settle" not in raw["spec"]["stages"][0]
    assert StagedRollout.model_validate(raw) == document


def test_the_digest_is_that_of_the_meaning_and_not_of_the_spelling() -> None:
    spelt = changed(
        "percentages: [5, 50, 100]", "percentages:\n        - 5\n        - 50\n        - 100 # all\n     ", SMALL
    )
    spelt = spelt.replace("{name: beta, kind: monitoring", "{kind: monitoring, name: beta")
    assert load(changed("bake: 10m", "bake: 600s")).digest == load(SMALL).digest
    assert len(load(SMALL).digest) == 64
    assert load(SMALL).short_digest == load(SMALL).digest[:12]


@pytest.mark.parametrize(
    "other",
    (changed("bake: 10m", "bake: 11m"), changed("name: small", "name: other"), changed("[5, 50, 100]", "[5, 51, 100]")),
)
def test_the_digest_changes_with_the_plan(other: str) -> None:
    assert load(other).digest != load(SMALL).digest


def test_the_digest_changes_with_the_content_of_a_file() -> None:
    text = with_step("{sql: a.sql, undo: none}").replace("spec:\n", "spec:\n  database: x\n")
    one = load_plan(text, "p", {}, read_file=Files(**{"a.sql": b"1"}))
    other = load_plan(text, "p", {}, read_file=Files(**{"a.sql": b"2"}))
    assert one.digest != other.digest == digest_of(other.raw, {"a.sql": "2"})


def test_a_loaded_plan_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load(SMALL).name = "x"  # type: ignore[misc]


# --- bad input: each with its place and its sentence ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    (
        (
            changed("percentages:", "percentges:"),
            "plan.yaml:14:50: spec.stages[0].percentges: unknown field 'percentges'; did you mean 'percentages'?",
        ),
        (
            changed("bake: 10m", "bake: 10x"),
            "plan.yaml:14:97: spec.stages[0].bake: a duration such as 30s, 5m or 48h is expected, not '10x'",
        ),
        (
            changed("bake: 10m", "bake: 10"),
            "plan.yaml:14:97: spec.stages[0].bake: a duration needs a unit, such as 10s or 10m",
        ),
        (
            changed("bake: 10m", "bake: 1.5"),
            "plan.yaml:14:97: spec.stages[0].bake: a duration needs a unit, such as 1.5s or 1.5m",
        ),
        (
            changed("bake: 10m", "bake: {min: 10m}"),
            "plan.yaml:14:97: spec.stages[0].bake.max: the field 'max' is missing",
        ),
        (
            changed("bake: 10m", "bake: {min: 10m, max: 5m}"),
            "plan.yaml:14:97: spec.stages[0].bake: the max of a bake is at least its min",
        ),
        (
            changed("[5, 50, 100]", "[5, 50, 101]"),
            "plan.yaml:14:71: spec.stages[0].percentages[2]: a percentage lies between 0 and 100, not at 101",
        ),
        (
            changed("[5, 50, 100]", "[5, 50.0001]"),
            (
                "plan.yaml:14:67: spec.stages[0].percentages[1]: "
                "percentages have steps of 0.001; 50.0001 is finer than that"
            ),
        ),
        (
            changed("[5, 50, 100]", "[50, 5]"),
            "plan.yaml:14:7: spec.stages[0]: percentages rise from step to step; 5 comes after 50",
        ),
        (
            changed("[5, 50, 100]", "[]"),
            (
                "plan.yaml:14:7: spec.stages[0]: an exposure stage has percentages or steps, one of the two, "
                "with at least one entry"
            ),
        ),
        (
            changed("gate: health", "gate: heath"),
            "plan.yaml:14:83: spec.stages[0].gate: unknown gate 'heath'; did you mean 'health'?",
        ),
        (
            changed("flag: beta", "flag: betta"),
            "plan.yaml:14:44: spec.stages[0].flag: unknown flag 'betta'; did you mean 'beta'?",
        ),
        (
            changed("kind: monitoring", "kind: monitorng"),
            "plan.yaml:14:26: spec.stages[0].kind: unknown kind 'monitorng'; did you mean 'monitoring'?",
        ),
        (
            changed("kind: monitoring, ", ""),
            "plan.yaml:14:7: spec.stages[0]: the field 'kind' is missing",
        ),
        (
            changed('"> 5"', "5"),
            (
                'plan.yaml:12:59: spec.gates.health.criteria[0].fail: a bound such as "> 10", ">= 95" or "== 0" '
                "is expected, "
                "not 5"
            ),
        ),
        (
            changed("kind: StagedRollout", "kind: Rollout"),
            "plan.yaml:2:7: kind: 'StagedRollout' is expected, not 'Rollout'; did you mean 'StagedRollout'?",
        ),
        (
            changed("v1alpha1", "v2"),
            (
                "plan.yaml:1:13: apiVersion: 'stagedrollout.io/v1alpha1' is expected, not 'stagedrollout.io/v2'; "
                "did you mean 'stagedrollout.io/v1alpha1'?"
            ),
        ),
        (
            changed("name: small", "name: Small Plan"),
            "plan.yaml:3:18: metadata.name: a name of small letters, digits and '-' is expected, not 'Small Plan'",
        ),
        ("[]", "plan.yaml:1:1: a mapping is expected, not a list"),
        ("just words", "plan.yaml:1:1: a mapping is expected, not 'just words'"),
        ("", "plan.yaml:1:1: the file is empty; a plan is expected"),
        (
            SMALL + "---\n" + SMALL,
            "plan.yaml:15:1: a second document begins here; a plan is exactly one (remove what follows the '---')",
        ),
        (
            with_lines("watch: [{name: a, to: 2h}, {name: b, from: 1h, to: 3h}]"),
            "plan.yaml:15:30: spec.watch[1]: the phases 'a' and 'b' overlap: 'a' lasts to 2h",
        ),
        (
            with_lines("approval: {any_of: [sre], on_timeout: explode}"),
            "plan.yaml:15:41: spec.approval.on_timeout: one of 'hold' or 'rollback' is expected, not 'explode'",
        ),
        (
            with_lines("checks: {name: x}"),
            "plan.yaml:15:11: spec.checks: a list is expected, not a mapping",
        ),
        (
            with_lines("owner: [a]"),
            "plan.yaml:15:10: spec.owner: a text is expected, not a list",
        ),
        (
            with_lines("sign_off: no-one"),
            "plan.yaml:15:13: spec.sign_off: a mapping is expected, not 'no-one'",
        ),
        (
            with_lines("checks: [{command: ls -l}]"),
            "plan.yaml:15:22: spec.checks[0].command: a list is expected, not 'ls -l'",
        ),
        (
            with_lines("checks: [{command: [ls], query: up}]"),
            (
                "plan.yaml:15:12: spec.checks[0]: exactly one of command, script, http, sql, health, query, file, env, "
                "manual is "
                "expected; found command and query"
            ),
        ),
        (
            with_lines("window: {deny: [{from: 2026-12-20, to: 2026-13-01}]}"),
            (
                "plan.yaml:15:42: spec.window.deny[0].to: a date such as 2026-12-20 or a time such as "
                "2026-12-20T18:00 is "
                "expected, not '2026-13-01'"
            ),
        ),
        (
            with_lines("window: {timezone: Berlin}"),
            "plan.yaml:15:22: spec.window.timezone: 'Berlin' is no time zone; names look like Europe/Berlin",
        ),
        (
            with_lines("window: {allow: [{days: [mon], from: '09:00', to: '17:00'}], deny: [{days: [mon]}]}"),
            "plan.yaml:15:11: spec.window: this window never opens",
        ),
        (
            with_step("{comand: [x], undo: none}"),
            "plan.yaml:10:11: spec.stages[0].steps[0]: unknown action 'comand'; did you mean 'command'?",
        ),
        (
            with_step("{command: [x]}"),
            (
                "plan.yaml:10:11: spec.stages[0].steps[0]: the way back is not known: declare undo (a command, or an "
                "action), "
                "or undo: none"
            ),
        ),
    ),
)
def test_bad_input_is_told_in_one_sentence_with_its_place(text: str, message: str) -> None:
    assert the_problem(text) == message


def test_a_plan_without_stages_is_refused() -> None:
    text = SMALL[: SMALL.index("    - {name: beta, kind")]
    assert "plan.yaml:13:3: spec.stages: a list is expected, not nothing" in problems(text)
    assert the_problem(text.replace("  stages:\n", "  stages: []\n")) == (
        "plan.yaml:13:11: spec.stages: at least one entry is expected"
    )


def test_all_problems_are_told_at_once_in_the_order_of_the_text() -> None:
    text = changed("bake: 10m", "bake: 10x")
    text = changed("fail:", "fial:", text)
    text = changed("url:", "uri:", text)
    text += "    - {name: other, kind: monitoring, flag: gamma, percentages: [5], gate: nothing, bake: 1m}\n"
    assert [problem.split(":", 3)[1] for problem in problems(text)] == ["5", "12", "14", "15", "15"]


def test_parts_that_are_valid_are_reviewed_although_others_are_not() -> None:
    text = changed("bake: 10m", "bake: 10x") + (
        "    - {name: a, kind: steps, steps: [{sql: missing.sql, undo: none}, {flag: gama, percentage: 5}]}\n"
    )
    found = problems(text, files=Files())
    assert [problem.partition(": ")[2] for problem in found] == [
        "spec.stages[0].bake: a duration such as 30s, 5m or 48h is expected, not '10x'",
        "spec.stages[1].steps[0].sql: there is no file missing.sql (paths are relative to the plan)",
        "spec.stages[1].steps[1].flag: unknown flag 'gama'; there are beta",
    ]


def test_a_misspelt_field_that_is_needed_is_one_problem_and_not_two() -> None:
    assert the_problem(changed("criteria:", "criterria:")) == (
        "plan.yaml:11:7: spec.gates.health.criterria: unknown field 'criterria'; did you mean 'criteria'?"
    )


@pytest.mark.parametrize(
    ("files", "message"),
    (
        (Files(), "there is no file sql/a.sql (paths are relative to the plan)"),
        (Files(**{"sql/a.sql": None}), "sql/a.sql cannot be read: Permission denied"),
        (
            Files(**{"sql/a.sql": b"SELECT 1;\n\xff"}),
            "sql/a.sql, line 2: this is no UTF-8; save the file as UTF-8",
        ),
        (
            Files(**{"sql/a.sql": b"-- nothing\n/* at\nall */ ;\n"}),
            "sql/a.sql has no statement in it; write one, or take the file out of the plan",
        ),
        (
            Files(**{"sql/a.sql": b" " * (1 << 20) + b" "}),
            "sql/a.sql has more than 1 MiB; name a large program by its absolute path",
        ),
    ),
)
def test_a_file_that_cannot_travel_along_is_told_where_it_is_named(files: Files, message: str) -> None:
    text = SMALL + "    - {name: schema, kind: migration, migrations: [{up: sql/a.sql}]}\n"
    assert problems(text, files=files) == [f"plan.yaml:15:57: spec.stages[1].migrations[0].up: {message}"]


def test_files_have_a_limit_together() -> None:
    names = [f"{index}.sql" for index in range(9)]
    steps = "".join(f"        - {{sql: {name}, undo: none}}\n" for name in names)
    text = with_step("{wait: 1s}").replace("spec:\n", "spec:\n  database: x\n") + steps
    found = problems(text, files=Files(**dict.fromkeys(names, b"x" * (1 << 20))))
    assert found == [
        "plan.yaml:20:17: spec.stages[0].steps[9].sql: with 8.sql the files of the plan have more than 8 MiB"
    ]


def test_only_relative_paths_with_a_slash_are_files_of_the_plan() -> None:
    steps = "{command: [./a.sh, x/y], observe: [bin/o], probe: [/bin/p], undo: [git, revert]}"
    assert sorted(load(with_step(steps)).files) == ["./a.sh", "bin/o"]


def test_a_command_that_judges_success_travels_along() -> None:
    success = '  success: [{name: old requests, command: [./old-api.sh], is: "== 0"}]\n'
    assert sorted(load(SMALL + success).files) == ["./old-api.sh"]


def test_a_file_outside_the_folder_of_the_plan_does_not_travel() -> None:
    assert the_problem(with_step("{command: [../../etc/x], undo: none}")).endswith(
        "../../etc/x lies outside the plan's folder; files that travel with a plan lie beside it or beneath"
    )


def test_scheduled_checks_are_no_plan_and_say_what_they_are_for() -> None:
    text = (
        "apiVersion: stagedrollout.io/v1alpha1\nkind: ScheduledChecks\nmetadata: {name: ops}\n"
        "spec: {rounds: [{name: morning, at: '09:00', checks: [{command: [x]}]}]}\n"
    )
    assert the_problem(text) == (
        "plan.yaml:2:7: kind: ScheduledChecks is no plan: `rollout check FILE` asks its rounds now, "
        "and `rollout start FILE` has them asked at their times"
    )


def test_flags_and_images_of_any_length_give_steps_a_name_that_fits() -> None:
    image = f"registry.example/{'team/' * 20}api@sha256:{'0' * 64}"
    flag = "f" * 200
    stages = (
        f"    - {{name: open, kind: batch, flag: {flag}, percentages: [5, 100]}}\n"
        f'    - {{name: roll, kind: version, workload: deployment/api, image: "{image}", percentages: [100]}}\n'
    )
    text = (
        "apiVersion: stagedrollout.io/v1alpha1\nkind: StagedRollout\nmetadata: {name: long}\nspec:\n"
        f"  flags: {{{flag}: {{}}}}\n  kubernetes: {{namespace: shop}}\n  stages:\n{stages}"
    )
    first, second = load(text).to_program().environments[0].stages
    labels = [step.acts[0].label for step in (*first.steps, *second.steps)]
    assert [len(label) for label in labels] == [120, 120, 120]
    assert [label.partition("…")[2] for label in labels] == [" to 5 %", " to 100 %", " on 100 %"]


def test_a_number_written_where_a_text_is_meant_is_the_text_that_was_written() -> None:
    text = with_lines("commands: {vars: {PORT: 8080, VERSION: 1.10, DEBUG: true, TIME: 16:00, MODE: off}}")
    variables = load(text).documents[0][1].spec.commands.vars
    assert variables == {"PORT": "8080", "VERSION": "1.10", "DEBUG": "true", "TIME": "16:00", "MODE": "off"}


def test_keys_that_begin_with_x_hold_anchors_and_do_not_count() -> None:
    text = changed(
        "spec:\n",
        "spec:\n  x-calm: &calm {bake: 10m, gate: health, wrong: ${NOT_DEFINED}}\n".replace("${NOT_DEFINED}", "1"),
    )
    text = text.replace(", wrong: 1", "").replace("gate: health, bake: 10m}", "<<: *calm}")
    assert load(text).digest == load(SMALL).digest


def test_warnings_say_what_is_worth_a_second_look() -> None:
    text = changed(", for: 1m", "").replace("gate: health, ", "")
    assert [str(warning) for warning in load(text).warnings] == [
        "plan.yaml:10:5: spec.gates.health: no stage and no phase of the watch names the gate 'health'",
        "plan.yaml:12:11: spec.gates.health.criteria[0]: 'errors' has no 'for': one bad look decides",
        "plan.yaml:14:7: spec.stages[0]: the stage 'beta' has no gate: it goes up by time alone",
    ]
    assert load(SMALL).warnings == ()


def test_a_backup_in_a_stage_that_changes_nothing_is_told() -> None:
    backup = "backup: {command: [./backup.sh], restore: [{command: [./restore.sh]}]}"
    alone = f"  - {{name: safe, kind: steps, {backup}, steps: [{{wait: 1m}}]}}"
    beside = f"  - {{name: data, kind: steps, {backup}, steps: [{{command: [./fill.sh], undo: none}}]}}"
    (warning,) = load(with_lines(alone, beside)).warnings
    assert str(warning) == (
        "plan.yaml:15:75: spec.stages[1].backup.restore: the stage 'safe' changes nothing, so the backup is never "
        "offered to be restored; declare it in the stage that changes the data"
    )


def test_problems_are_values_and_their_error_prints_them_line_by_line() -> None:
    with pytest.raises(InvalidPlan) as caught:
        load_plan(changed("bake: 10m", "bake: x"), "p.yaml", {}, read_file=any_file)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.column, problem.path) == ("p.yaml", 14, 97, "spec.stages[0].bake")
    assert str(caught.value) == str(problem)


def test_equal_gates_of_many_plans_are_kept_once_and_no_longer_than_one_of_them() -> None:
    text = changed('fail: "> 5"', 'fail: "> 4711"')  # which no other test's plan has
    one, same = load(text), load(text.replace("name: small", "name: other"))
    differs = load(changed('fail: "> 5"', 'fail: "> 6"'))
    gate, also, another = (plan.to_program().environments[0].gates["health"] for plan in (one, same, differs))
    assert also is gate
    assert another is not gate
    assert "> 6" in another.model_dump_json()
    kept = weakref.ref(gate)
    del one, same, gate, also
    gc.collect()
    assert kept() is None
