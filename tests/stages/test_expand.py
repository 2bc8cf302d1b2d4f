import json

import pytest

from stages.load import load_plan
from tests.stages.plans import SMALL, any_file, changed, load, problems, the_problem, with_lines, with_step

TWO = """\
  environments:
    - name: staging
      values: {HOST: staging.example, STEP: 100, VERSION: 1.10}
      prometheus: {url: "http://${HOST}:9090"}
    - name: production
      values: {HOST: "${DOMAIN:-example}", STEP: 50, VERSION: 2.0}
"""


def url(text: str, variables: dict[str, str], environment: int = 0) -> str:
    prometheus = load(text, variables).documents[environment][1].spec.prometheus
    assert prometheus is not None
    return prometheus.url


@pytest.mark.parametrize(
    ("written", "expanded"),
    (
        ("http://${HOST}:9090", "http://h:9090"),
        ("${HOST}${HOST}", "hh"),
        ("http://${NONE:-local:9090}", "http://local:9090"),
        ("${EMPTY:-filled}", "filled"),
        ("a${EMPTY}b", "ab"),
        ("${NONE:-}x", "x"),
        ("cost $$5", "cost $5"),
        ("$${HOST}", "${HOST}"),
        ("$HOST and $", "$HOST and $"),
        ("${ONCE}", "${HOST}"),
    ),
)
def test_names_are_expanded_once(written: str, expanded: str) -> None:
    variables = {"HOST": "h", "EMPTY": "", "ONCE": "${HOST}"}
    assert url(changed('"http://localhost:9090"', f'"{written}"'), variables) == expanded


def test_an_undefined_name_is_told_with_its_place_and_where_to_define_it() -> None:
    assert the_problem(changed("http://localhost:9090", "http://${HOST}")) == (
        "plan.yaml:5:21: spec.prometheus.url: ${HOST} is not defined; set the variable HOST for the command, name it "
        "under values of the environment, or write ${HOST:-default}"
    )


@pytest.mark.parametrize("written", ("${}", "${1}", "${A-b}", "${A B}", "${", "${A"))
def test_what_looks_like_a_name_and_is_none_is_told(written: str) -> None:
    assert the_problem(changed("http://localhost:9090", written)).endswith(
        "a name such as ${NAME} or ${NAME:-default} is expected; write $${ where ${ itself is meant"
    )


def test_each_environment_gets_a_document_of_its_own_with_its_values_first() -> None:
    text = changed("http://localhost:9090", "http://${HOST}") + TWO
    variables = {"HOST": "shadowed", "DOMAIN": "example.com"}
    assert [environment for environment, _ in load(text, variables).documents] == ["staging", "production"]
    assert url(text, variables, 0) == "http://staging.example"
    assert url(text, variables, 1) == "http://example.com"


def test_the_section_of_an_environment_is_expanded_with_its_own_values_in_every_document() -> None:
    plan = load(SMALL + TWO)
    for _, document in plan.documents:
        prometheus = document.spec.environments[0].prometheus
        assert prometheus is not None
        assert prometheus.url == "http://staging.example:9090"


def test_a_name_that_only_one_environment_lacks_says_which() -> None:
    text = changed("http://localhost:9090", "http://${ONLY}") + TWO.replace("STEP: 100", "STEP: 100, ONLY: x")
    assert the_problem(text).startswith(
        "plan.yaml:5:21: spec.prometheus.url: ${ONLY} is not defined in environment production"
    )


def test_a_text_that_is_one_expansion_becomes_a_number_where_one_is_meant() -> None:
    text = changed("[5, 50, 100]", '["${STEP}"]') + TWO
    plan = load(text)
    steps = [program.stages[0].steps[0].percentage for program in plan.to_program().environments]
    assert steps == [100.0, 50.0]


def test_a_text_that_is_one_expansion_stays_the_text_where_one_is_meant() -> None:
    text = with_lines('commands: {vars: {VERSION: "${VERSION}", FLAG: "${FLAG}"}}') + TWO
    plan = load(text, {"FLAG": "true"})
    assert [document.spec.commands.vars["VERSION"] for _, document in plan.documents] == ["1.10", "2.0"]
    assert plan.documents[0][1].spec.commands.vars["FLAG"] == "true"


def test_scripts_and_sql_in_the_plan_are_left_alone() -> None:
    text = with_lines("checks: [{script: 'echo ${HOME} $$'}, {sql: 'SELECT $$a$$ ${X}'}]")
    checks = load(text).documents[0][1].spec.checks
    assert checks[0].script == "echo ${HOME} $$"
    assert checks[1].sql == "SELECT $$a$$ ${X}"


def test_the_path_of_an_sql_file_is_expanded() -> None:
    text = with_step('{sql: "${DIR}/a.sql", undo: none}').replace("spec:\n", "spec:\n  database: x\n")
    assert list(load(text, {"DIR": "sql"}).files) == ["sql/a.sql"]


def test_keys_are_not_expanded() -> None:
    text = with_lines('links: {"${X}": "${Y}"}')
    assert load(text, {"Y": "y"}).documents[0][1].spec.links == {"${X}": "y"}


def test_the_name_of_a_plan_is_the_same_in_all_environments() -> None:
    text = changed("name: small", 'name: "${HOST}"') + TWO
    assert problems(text)[0].startswith("plan.yaml:3:18: metadata.name: ${HOST} is not defined")
    assert load(text, {"HOST": "shop"}).name == "shop"


def test_expansion_has_a_limit() -> None:
    found = problems(with_lines("links:", *(f'  - "{"${BIG}" * 20}"' for _ in range(9))), {"BIG": "x" * 10_000})
    assert any("more than 1 MiB of text once its names are expanded" in problem for problem in found)


def test_success_is_judged_by_what_is_expanded_for_the_last_environment() -> None:
    plan = {
        "apiVersion": "stagedrollout.io/v1alpha1",
        "kind": "StagedRollout",
        "metadata": {"name": "two"},
        "spec": {
            "prometheus": {"url": "http://localhost:9090"},
            "flags": {"beta": {}},
            "environments": [{"name": name, "values": {"WHERE": name}} for name in ("staging", "production")],
            "stages": [{"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [100], "bake": "1m"}],
            "success": [{"name": "well", "query": 'up{where="${WHERE}"}', "is": "== 1"}],
        },
    }
    program = load_plan(json.dumps(plan), "p.yaml", {}, read_file=any_file).to_program(None)
    assert program.success[0].query == 'up{where="production"}'
