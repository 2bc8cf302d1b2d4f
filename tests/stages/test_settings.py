import pytest

from stages.plan import StagedRollout
from tests.stages.plans import SMALL, changed, load, problems, the_problem


def with_settings(*settings: str, text: str = SMALL) -> StagedRollout:
    return load(text, {"NAME": "expanded"}, settings).documents[0][1]


def test_entries_of_lists_are_found_by_name_or_index() -> None:
    assert with_settings("stages.beta.bake=1m").spec.stages[0].bake == 60.0
    assert with_settings("stages.0.bake=2m").spec.stages[0].bake == 120.0
    assert with_settings("gates.health.criteria.errors.for=5s").spec.gates["health"].criteria[0].for_ == 5.0


def test_a_path_may_begin_at_the_top() -> None:
    assert with_settings("metadata.name=other").metadata.name == "other"
    assert with_settings("spec.owner=me").spec.owner == "me"


def test_fields_that_are_not_there_yet_are_added() -> None:
    assert with_settings("commands.vars.MODE=off").spec.commands.vars == {"MODE": "off"}


def test_values_are_read_as_yaml() -> None:
    stage = with_settings("stages.beta.percentages=[10, 100]", "stages.beta.point_of_no_return=true").spec.stages[0]
    assert stage.percentages == (10.0, 100.0)  # type: ignore[union-attr]
    assert stage.point_of_no_return is True
    assert with_settings("gates.health.criteria.0.fail=> 7").spec.gates["health"].criteria[0].fail.number == 7  # type: ignore[union-attr]
    assert with_settings("owner=1.10").spec.owner == "1.10"
    assert with_settings("owner='a=b'").spec.owner == "a=b"


def test_a_set_value_is_expanded_like_a_written_one() -> None:
    assert with_settings("owner=${NAME}").spec.owner == "expanded"


def test_names_may_have_dots() -> None:
    text = changed("flags:\n    beta:", "flags:\n    a.b: {}\n    beta:")
    assert with_settings("flags.a.b.parameters.x=1", text=text).spec.flags["a.b"].parameters == {"x": 1}


@pytest.mark.parametrize(
    ("setting", "message"),
    (
        (
            "stages.beta.bake=1x",
            "--set stages.beta.bake=1x: spec.stages[0].bake: a duration such as 30s, 5m or 48h is expected, not '1x'",
        ),
        (
            "stages.beta.bak=1m",
            "--set stages.beta.bak=1m: spec.stages[0].bak: unknown field 'bak'; did you mean 'bake'?",
        ),
        ("stages.betta.bake=1m", "--set stages.betta.bake=1m: spec.stages has no entry 'betta'; did you mean 'beta'?"),
        ("stages.7.bake=1m", "--set stages.7.bake=1m: spec.stages has no entry '7'; there are beta"),
        (
            "stages.beta.percentages.9=1",
            (
                "--set stages.beta.percentages.9=1: spec.stages[0].percentages has no entry '9'; "
                "it has 3 entries, counted from 0"
            ),
        ),
        (
            "stages.beta.bake.min=1m",
            "--set stages.beta.bake.min=1m: spec.stages[0].bake is '10m'; there is nothing inside to set",
        ),
        ("bake", "--set bake: a setting looks like stages.queue.bake=1m"),
        ("a..b=1", "--set a..b=1: a setting looks like stages.queue.bake=1m"),
        ("owner=[a", "--set owner=[a: the '[' on line 1 is not closed"),
        ("owner=1e999", "--set owner=1e999: the number is too large; put it in quotes if a text is meant"),
    ),
)
def test_a_setting_that_does_not_fit_is_told_by_its_own_words(setting: str, message: str) -> None:
    assert the_problem(SMALL, sets=[setting]) == message


def test_every_setting_that_does_not_fit_is_told() -> None:
    assert len(problems(SMALL, sets=["x", "y", "stages.z=1"])) == 3
