"""What the models cannot see: names, needs, the way back, order. Line 10 is a step's, line 15 the first added one."""

import pytest

from stages.later import LATER
from stages.load import to_raw
from stages.problems import listed
from stages.review import review
from stages.review.view import make_view
from tests.stages.plans import SMALL, changed, load, problems, the_problem, with_lines, with_step

VERSION = (
    "    - {name: v, kind: version, workload: deployment/x, canary: deployment/y, image: 'app:2', percentages: [5]}\n"
)


def message(found: str) -> str:
    """Without the file, line and column."""
    return found.partition(": ")[2]


@pytest.mark.parametrize(
    ("line", "sentence"),
    (
        (
            "triggers: [{name: t, query: up, fail: '< 1', actions: [{disable: bata}]}]",
            "spec.triggers[0].actions[0].disable: unknown flag 'bata'; did you mean 'beta'?",
        ),
        (
            "triggers: [{name: t, query: up, fail: '< 1', actions: [{set: {gamma: {percentage: 1}}}]}]",
            "spec.triggers[0].actions[0].set.gamma: unknown flag 'gamma'; there are beta",
        ),
        (
            "triggers: [{name: t, query: up, fail: '< 1', arm_from: bta}]",
            "spec.triggers[0].arm_from: unknown stage 'bta'; did you mean 'beta'?",
        ),
        (
            "triggers: [{name: t, query: up, fail: '< 1', notify: [ops]}]",
            "spec.triggers[0].notify[0]: unknown channel 'ops'; spec.notify.channels declares none",
        ),
        (
            "triggers: [{name: t, query: up, fail: '< 1', source: eu}]",
            "spec.triggers[0].source: unknown source 'eu'; spec.sources declares none",
        ),
        (
            "triggers: [{name: t, query: up, fail: '< 1', environments: [prod]}]",
            "spec.triggers[0].environments[0]: unknown environment 'prod'; did you mean 'production'?",
        ),
        (
            "watch: [{name: w, to: 1h, gate: [health, helth]}]",
            "spec.watch[0].gate[1]: unknown gate 'helth'; did you mean 'health'?",
        ),
        (
            "notify: {channels: {dev: {webhook: {url: x}}}, severity: {critical: [ops]}}",
            "spec.notify.severity.critical[0]: unknown channel 'ops'; there are dev",
        ),
        (
            "notify: {channels: {dev: {webhook: {url: x}}}, escalation: [{after: 0s, channels: [dve]}]}",
            "spec.notify.escalation[0].channels[0]: unknown channel 'dve'; did you mean 'dev'?",
        ),
        (
            "notify: {channels: {dev: {webhook: {url: x}}}, news: [{when: [started], channels: [de]}]}",
            "spec.notify.news[0].channels[0]: unknown channel 'de'; did you mean 'dev'?",
        ),
        (
            "sources: {eu: {}}\n  checks: [{query: up, source: eu, expect: {number: '> 0'}}]",
            "spec.checks[0].source: the source 'eu' has no prometheus, which a query needs",
        ),
        (
            "triggers: [{name: t, query: up, fail: '< 1'}, {name: t, query: up, fail: '< 2'}]",
            "spec.triggers[1]: the trigger name 't' is used twice (first as entry 1); names are distinct",
        ),
        (
            "checks: [{name: a, command: [x]}, {name: b, command: [x]}, {name: a, command: [y]}]",
            "spec.checks[2]: the check name 'a' is used twice (first as entry 1); names are distinct",
        ),
        (
            "environments: [{name: e}, {name: e}]",
            "spec.environments[1]: the environment name 'e' is used twice (first as entry 1); names are distinct",
        ),
        (
            "triggers: [{name: t, query: sum(, fail: '< 1'}]".replace("sum(", "'sum('"),
            "spec.triggers[0].query: the query is not PromQL: unclosed left parenthesis",
        ),
        (
            "triggers: [{name: t, query: up, fail: '< 1', ask: {question: really}}]",
            "spec.triggers[0]: ask is the question before a rollback; it needs then: rollback",
        ),
        (
            "triggers: [{name: t, query: up, fail: '< 1', action: disable}]",
            "spec.triggers[0]: action is only short for a rollback; other actions are a list under actions",
        ),
        (
            "checks: [{query: up, dir: x}]",
            "spec.checks[0]: dir belongs to command and script, not to query",
        ),
        (
            "checks: [{command: [x], expect: {rows: 3}}]",
            "spec.checks[0]: expect.rows belongs to sql and query, not to command",
        ),
        (
            "checks: [{file: x, expect: {age: 24h}}]",
            "spec.checks[0].expect.age: an age such as \"< 24h\" is expected, not '24h'",
        ),
        (
            "checks: [{command: [x], expect: {json: {a: {number: ten}}}}]",
            'spec.checks[0].expect.json.a.number: a bound such as "> 10", ">= 95" or "== 0" is expected, not \'ten\'',
        ),
        (
            "approval: {any_of: [a], on_timeout: rollback}",
            "spec.approval: on_timeout needs a timeout, after which it happens",
        ),
        (
            "success: [{name: s, query: up, improves: '> 1'}]",
            "spec.success[0]: improves compares two windows; say how long they are with window",
        ),
        (
            "environments: [{name: e, percentages: [50, 5]}]",
            "spec.environments[0]: the percentages of an environment rise from step to step, and there is at least one",
        ),
        (
            (
                "window: {allow: [{from: '09:00', to: '17:00'}]}\n"
                "  environments: [{name: e, window: {allow: [{from: '18:00', to: '20:00'}]}}]"
            ),
            "spec.environments[0].window: this window never opens together with the ones around it",
        ),
        (
            "database: {env: A, file: b}".replace("database", "commands: {vars: {X").replace("b}", "b}}}"),
            "spec.commands.vars.X: a reference names exactly one of env, file and secret",
        ),
    ),
)
def test_parts_that_do_not_fit_together_are_told(line: str, sentence: str) -> None:
    assert message(the_problem(with_lines(line))) == sentence


@pytest.mark.parametrize(
    ("step", "sentence"),
    (
        ("{command: [x]}", ": the way back is not known: declare undo (a command, or an action), or undo: none"),
        (
            "{http: {url: 'http://x'}}",
            ": the way back is not known: declare undo (a command, or an action), or undo: none",
        ),
        ("{command: [x], undo: [y, '{before}']}", ".undo: {before} is what observe printed, but there is no observe"),
        (
            "{command: [x], undo: {command: [y], probe: [p, '{before}']}}",
            ".undo: {before} is what observe printed, but there is no observe",
        ),
        (
            "{command: [x], observe: [o], undo: {command: [y], dir: '{before}'}}",
            ".undo: {before} is filled in among the words of a command and of its probe only",
        ),
        (
            "{command: [x], undo: {wait: 1s}}",
            ".undo: an undo changes something; put what a person is asked or told into rollback",
        ),
        ("{command: [x], undo: {comand: [y]}}", ".undo: unknown action 'comand'; did you mean 'command'?"),
        ("{command: [x], undo: {command: [y], dri: z}}", ".undo.dri: unknown field 'dri'; did you mean 'dir'?"),
        ("{command: [x], undo: {command: [y], undo: none}}", ".undo.undo: an undo has no undo of its own"),
        ("{command: [x], undo: {flag: gamma, percentage: 0}}", ".undo.flag: unknown flag 'gamma'; there are beta"),
        ("{command: [x], undo: all}", ".undo: 'none', a list or a mapping is expected, not 'all'"),
        ("{command: [], undo: none}", ".command: at least one entry is expected"),
        (
            "{flag: beta, percentage: 5, undo: none}",
            ".undo: a flag goes back by itself, to what it was before; leave undo out",
        ),
        ("{flag: beta}", ": nothing is set; name state, percentage, targets, parameters or profile"),
        ("{flag: beta, profile: slow}", ".profile: unknown profile 'slow'; the flag declares none"),
        ("{flag: beta, state: on}", ".state: one of 'enabled' or 'disabled' is expected, not 'on'"),
        (
            "{flag: beta, parameters: {killed: 1}}",
            ": parameters.killed: another name (this one is the kill switch's) is expected, not 'killed'",
        ),
        ("{wait: 5m, timeout: 1m}", ".timeout: a wait lasts as long as it says; there is no timeout to give"),
        (
            "{http: {url: x, value: a}, undo: none}",
            ".http.value: value picks a number for a criterion; an action has none to judge",
        ),
        ("{http: {url: x, json: {}, body: y}, undo: none}", ".http: a request has json or body, not both"),
        ("{sql: a b.sql, undo: none}", ".sql: the path of a SQL file is expected, relative to the plan"),
        (
            "{sql: a.sql, undo: none}",
            (
                ".sql: SQL needs a database, such as database: {env: DATABASE_URL}; "
                "here, at the stage, the environment or spec"
            ),
        ),
    ),
)
def test_actions_that_could_not_be_carried_out_or_undone_are_told(step: str, sentence: str) -> None:
    assert message(the_problem(with_step(step))) == f"spec.stages[0].steps[0]{sentence}"


def test_actions_of_a_rollback_need_no_undo() -> None:
    load(with_lines("rollback: {before: [{command: [x]}], ask: [{question: q, actions: [{command: [y]}]}]}"))


def test_actions_that_look_alike_need_names_of_their_own() -> None:
    twice = with_step("{command: [x], undo: none}") + "        - {command: [x], undo: none}\n"
    assert (
        message(the_problem(twice))
        == "spec.stages[0].steps[1]: the same as another action of 'go'; give each a name of its own"
    )
    load(with_step("{command: [x], undo: none}") + "        - {command: [x], name: again, undo: none}\n")
    load(with_step("{command: [x], target: t, undo: none}") + "        - {command: [x], target: t, undo: none}\n")


def test_an_sql_file_is_run_once() -> None:
    text = SMALL + "    - {name: s, kind: migration, migrations: [{up: a.sql}, {up: a.sql}]}\n"
    assert message(the_problem(text)) == "spec.stages[1].migrations[1]: a.sql is run twice; a file is applied once"


def test_a_query_needs_a_prometheus_where_it_is_asked() -> None:
    without = changed('  prometheus: {url: "http://localhost:9090"}\n', "")
    sentence = "a query needs a Prometheus: name its url under spec.prometheus, of the environment, or as a source"
    assert message(the_problem(without)) == f"spec.gates.health.criteria[0].query: {sentence}"
    load(without + "  environments: [{name: e, prometheus: {url: x}}]\n")
    load(without.replace('fail: "> 5"', 'fail: "> 5", source: eu') + "  sources: {eu: {prometheus: {url: x}}}\n")
    assert len(problems(without + "  environments: [{name: e, prometheus: {url: x}}, {name: f}]\n")) == 1
    only_e = without.replace('fail: "> 5"', 'fail: "> 5", environments: [e]')
    load(only_e + "  environments: [{name: e, prometheus: {url: x}}, {name: f}]\n")


def test_a_query_fixed_to_a_time_is_no_evidence() -> None:
    assert message(the_problem(changed("rate(errors[5m])", "errors @ 5"))) == (
        "spec.gates.health.criteria[0].query: the query is fixed to a time with '@', so it never sees the change"
    )


def test_a_later_stage_may_raise_a_flag_further_but_not_begin_below() -> None:
    again = "    - {name: again, kind: batch, flag: beta, gate: health, percentages: "
    text = changed("[5, 50, 100]", "[5, 50]")
    load(text + again + "[50, 100]}\n")
    assert message(the_problem(text + again + "[20, 100]}\n")) == (
        "spec.stages[1].percentages: beta stands at 50 % after the stage 'beta'; 20 % would be a step down"
    )


def test_every_environment_has_a_stage() -> None:
    text = changed("bake: 10m", "bake: 10m, environments: [e]") + "  environments: [{name: e}, {name: f}]\n"
    assert message(the_problem(text)) == "spec.stages: no stage runs in the environment 'f'"


def test_a_window_across_time_zones_that_overlap_is_open() -> None:
    load(
        with_lines("window: {timezone: Europe/Berlin, allow: [{from: '09:00', to: '17:00'}]}")
        + "  environments: [{name: e, window: {timezone: America/New_York, allow: [{from: '09:00', to: '17:00'}]}}]\n"
    )


def test_an_escalation_that_floods_is_refused() -> None:
    text = with_lines(
        "notify: {channels: {a: {webhook: {url: x}}}, escalation: [{after: 0m, channels: [a], repeat: 1s}]}"
    )
    assert "repeat is at least 60s" in message(the_problem(text))


@pytest.mark.parametrize(
    ("service", "why"),
    (
        ("slack: {url: 'https://hooks.slack.com/services/T/B/X'}", "a plan is read by many; name where it is kept"),
        ("slack: {token: {env: T}}", "channel goes with the token of a bot"),
        ("email: {server: m, from: a@x.org, to: [b@x.org], user: u}", "user and password go together"),
        (
            "email: {server: m, from: a@x.org, to: [b@x.org], user: u, password: {env: P}, security: none}",
            "a password is not sent unencrypted",
        ),
        ("slack: {url: {env: U}}, apprise: {env: V}", "exactly one service"),
        ("pagerduty: {routing_key: {env: K}, region: mars}", "'us' or 'eu'"),
    ),
)
def test_a_channel_that_can_not_be_told_anything_is_refused(service: str, why: str) -> None:
    assert why in message(the_problem(with_lines(f"notify: {{channels: {{a: {{{service}}}}}}}")))


@pytest.mark.parametrize(
    ("text", "what"),
    ((SMALL + VERSION.replace("image:", "route: httproute/x, image:"), "shifting traffic by a route"),),
)
def test_what_a_later_version_brings_is_refused_and_not_ignored(text: str, what: str) -> None:
    assert message(the_problem(text)).endswith(f": not in this version yet, but in a later one: {what}")


def test_commands_may_run_in_an_image() -> None:
    text = with_lines(
        "commands: {image: 'tools:1', service_account: x, user: 1000, resources: {limits: {memory: 1Gi}}}"
    )
    (environment,) = load(text).to_program().environments
    pod = environment.site.command_pod
    assert pod is not None
    assert (pod.image, pod.service_account, pod.user, pod.limits) == ("tools:1", "x", 1000, {"memory": "1Gi"})
    assert not pod.has_files
    assert not pod.has_secrets


@pytest.mark.parametrize("field", ("service_account: x", "user: 1000", "resources: {}"))
def test_what_only_an_image_has_needs_one(field: str) -> None:
    problem = the_problem(with_lines(f"commands: {{{field}}}"))
    name = field.partition(":")[0]
    assert message(problem) == f"spec.commands: {name} is for commands that run in an image; name that too (image)"


def test_alembic_runs_in_no_image() -> None:
    text = SMALL + "    - {name: m, kind: migration, alembic: {}}\n"
    problem = the_problem(with_lines("commands: {image: 'tools:1'}", text=text))
    assert "Alembic is run where the controller is, and not in an image" in message(problem)


def test_the_list_of_what_comes_later_names_fields_that_exist() -> None:
    for later in LATER:
        assert later.field is None or later.field in later.part.model_fields


def test_a_valid_plan_has_no_findings() -> None:
    environment, document = load(SMALL).documents[0]
    assert review(make_view(environment, document, to_raw(document))) == []


def test_a_name_that_would_break_the_line_is_shown_as_it_is_written_in_code() -> None:
    assert listed(["beta", "\n", " "], "and") == "beta, '\\n' and ' '"
