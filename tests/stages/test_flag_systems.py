"""Flags in systems that a team already has, as a plan names them: what it means, and what is refused at its place."""

import pytest

from stages.actions.flag import FlagAction
from stages.cluster import Kubernetes
from stages.flag_spec import FlagSpec
from stages.flag_systems import FlagdSystem, PlacedFlag, UnleashSystem, place_of
from stages.load import from_raw
from stages.values import SecretRef
from tests.stages.plans import load, problems

UNLEASH = 'unleash: {url: "https://unleash.example.com", token: {env: UNLEASH_TOKEN}}'
PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: elsewhere}
spec:
  flag_systems: {main: {%(system)s}}
  flags: {batches: {system: main%(flag)s}, ours: {}}
  stages:
    - {name: batches, kind: batch, flag: batches, %(levels)s, gate: health, bake: 10m}
    - {name: ours, kind: monitoring, flag: ours, percentages: [0.5, 100], gate: health, bake: 10m}
  prometheus: {url: "http://localhost:9090"}
  gates: {health: {criteria: [{name: errors, query: "rate(errors[5m])", fail: "> 5", for: 1m}]}}
"""


def plan(system: str = UNLEASH, flag: str = "", levels: str = "percentages: [5, 100]", more: str = "") -> str:
    return PLAN % {"system": system, "flag": flag, "levels": levels} + more


def sentences(text: str) -> list[str]:
    return [found.partition(": ")[2] for found in problems(text)]


# --- what it means ----------------------------------------------------------------------------------------------------


def test_a_flag_is_placed_in_each_environment_and_others_are_ours() -> None:
    environments = (
        "  environments: [{name: staging, flag_systems: {main: development}}, {name: production}]\n  x-more: 1\n"
    )
    program = load(plan(more=environments)).to_program()
    placed = {one.name: place_of(one.flags, "batches") for one in program.environments}
    assert {name: place and place.system for name, place in placed.items()} == {
        name: UnleashSystem(
            url="https://unleash.example.com",
            token=SecretRef(env="UNLEASH_TOKEN"),
            project="default",
            environment=there,
        )
        for name, there in (("staging", "development"), ("production", "production"))
    }
    assert place_of(program.environments[0].flags, "ours") is None


def test_an_environment_that_the_system_names_is_every_ones_without_a_word_of_its_own() -> None:
    system = UNLEASH.replace("token", "environment: live, token")
    environments = "  environments: [{name: staging, flag_systems: {main: lab}}, {name: production}]\n"
    program = load(plan(system, more=environments)).to_program()
    places = [place_of(one.flags, "batches") for one in program.environments]
    assert [getattr(place.system, "environment", None) for place in places if place] == ["lab", "live"]


def test_a_file_may_be_another_one_in_each_environment() -> None:
    environments = "  environments: [{name: staging, flag_systems: {main: staging.json}}, {name: production}]\n"
    program = load(plan("flagd: {file: flags.json}", more=environments)).to_program()
    places = [place_of(one.flags, "batches") for one in program.environments]
    assert [place.system for place in places if place] == [
        FlagdSystem(file="staging.json"),
        FlagdSystem(file="flags.json"),
    ]


def in_clusters(system: str, more: str = "") -> dict[str, FlagdSystem]:
    program = load(plan(f"flagd: {{{system}}}", more=more)).to_program()
    found = {one.name: place_of(one.flags, "batches") for one in program.environments}
    return {name: place.system for name, place in found.items() if place and isinstance(place.system, FlagdSystem)}


CLUSTERS = """\
  kubernetes: {context: main, namespace: shop}
  environments:
    - {name: staging, kubernetes: {namespace: shop-staging}}
    - {name: production, flag_systems: {main: live-flags}}
"""


def test_an_object_is_in_the_cluster_of_its_environment_unless_it_says_another() -> None:
    found = in_clusters("config_map: flags, key: all.json, kubernetes: {context: flags}", CLUSTERS)
    assert found == {
        name: FlagdSystem(config_map=object_, key="all.json", kubernetes=Kubernetes(context="flags", namespace=where))
        for name, object_, where in (("staging", "flags", "shop-staging"), ("production", "live-flags", "shop"))
    }
    found = in_clusters("feature_flag: flags", CLUSTERS)
    assert found["staging"] == FlagdSystem(
        feature_flag="flags", kubernetes=Kubernetes(context="main", namespace="shop-staging")
    )


def test_a_config_map_has_its_flags_under_the_key_of_a_file() -> None:
    assert in_clusters("config_map: flags")["production"].key == "flags.json"


@pytest.mark.parametrize(
    ("system", "claim"),
    (
        ("config_map: flags", "flag:main/shop/configmap/live-flags/flags.json/batches"),
        ("feature_flag: flags", "flag:main/shop/featureflag/live-flags/batches"),
    ),
)
def test_a_flag_of_an_object_is_one_whatever_plans_call_their_environments(system: str, claim: str) -> None:
    program = load(plan(f"flagd: {{{system}}}", more=CLUSTERS)).to_program()
    assert claim in program.claims()


def test_a_kept_plan_means_the_same() -> None:
    loaded = load(plan())
    kept = from_raw(loaded.raw, loaded.files)
    assert (kept.digest, kept.to_program()) == (loaded.digest, loaded.to_program())


def test_the_target_keeps_its_name_and_the_claim_is_the_features() -> None:
    program = load(plan()).to_program()
    assert set(program.environments[0].targets()) == {"flag:production/batches", "flag:production/ours"}
    assert set(program.claims()) == {
        "flag:https://unleash.example.com/default/production/batches",
        "flag:production/ours",
    }
    site = program.environments[0].site
    assert isinstance(site.flags["batches"], PlacedFlag)
    assert type(site.flags["ours"]) is FlagSpec
    assert FlagAction(flag="batches").target(site).id == "flag:production/batches"


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    (
        (plan().replace("system: main", "system: mian"), "spec.flags.batches.system: unknown flag system 'mian'; did"),
        (
            plan().replace("  flag_systems: {main", "  x-flag_systems: {main"),
            "spec.flags.batches.system: unknown flag system 'main'; spec.flag_systems declares none",
        ),
        (
            plan(more="  environments: [{name: production, flag_systems: {other: x}}]\n"),
            "spec.environments[0].flag_systems.other: unknown flag system 'other'; there are main",
        ),
        (plan(""), "spec.flag_systems.main: a flag system is one of unleash and flagd"),
        (plan(f"{UNLEASH}, flagd: {{file: x}}"), "spec.flag_systems.main: a flag system is one of unleash and flagd"),
        (plan(UNLEASH.replace("https", "ftp")), "spec.flag_systems.main.unleash.url: the address of an Unleash server"),
        (plan(UNLEASH.replace("://", "://ann:pw@")), "spec.flag_systems.main.unleash.url: an address with a user"),
        (
            plan(UNLEASH.replace("{env: UNLEASH_TOKEN}", '"*:*.abc"')),
            "spec.flag_systems.main.unleash.token: ",
        ),
        (plan("flagd: {}"), "spec.flag_systems.main.flagd: flagd is one of file, config_map and feature_flag"),
        (
            plan("flagd: {file: a, config_map: a}"),
            "spec.flag_systems.main.flagd: flagd is one of file, config_map and feature_flag",
        ),
        (
            plan("flagd: {file: a, kubernetes: {namespace: b}}"),
            "spec.flag_systems.main.flagd: a file is in no cluster; leave kubernetes out, or name a config_map",
        ),
        (
            plan("flagd: {feature_flag: a, key: b}"),
            "spec.flag_systems.main.flagd: key is one of a ConfigMap's keys, and no config_map is named",
        ),
        (
            plan("flagd: {config_map: My_Flags}"),
            "spec.flag_systems.main.flagd.config_map: the name of an object in Kubernetes is expected, such as search",
        ),
        (
            plan("flagd: {config_map: flags, key: a/b}"),
            "spec.flag_systems.main.flagd.key: a key of a ConfigMap is expected, such as flags.json, not 'a/b'",
        ),
        (
            plan("flagd: {feature_flag: flags}", more="  environments: [{name: x, flag_systems: {main: a/b.json}}]\n"),
            "spec.environments[0].flag_systems.main: the name of an object in Kubernetes is expected, such as search",
        ),
        (
            plan("flagd: {feature_flag: flags}", flag=", targets: {team: [qa]}"),
            "spec.flags.batches.targets: batches is in flagd, where a run sets a state and a percentage only; set",
        ),
        (
            plan(flag=", targets: {team: [qa]}"),
            "spec.flags.batches.targets: batches is in Unleash, where a run sets a state and a percentage only; set",
        ),
        (
            plan("flagd: {file: x}", flag=", parameters: {size: 5}"),
            "spec.flags.batches.parameters: batches is in flagd, where",
        ),
        (
            plan(flag=", profiles: {slow: {size: 1}}, profile: slow"),
            "spec.flags.batches.profiles: batches is in Unleash, where",
        ),
        (
            plan(levels="percentages: [0.5, 100]"),
            "spec.stages[0].percentages[0]: Unleash's percentages are whole numbers, so 0.5 can't be set there; choose",
        ),
        (
            plan(levels="steps: [{percentage: 5}, {percentage: 7.5}]"),
            "spec.stages[0].steps[1].percentage: Unleash's percentages are whole numbers",
        ),
        (
            plan(levels="steps: [{percentage: 5, targets: {team: [qa]}}]"),
            "spec.stages[0].steps[0].targets: batches is in Unleash",
        ),
        (
            plan(more="  environments: [{name: production, percentages: [1.5, 100]}]\n"),
            "spec.environments[0].percentages[0]: Unleash's percentages are whole numbers",
        ),
        (
            plan(
                more="  triggers: [{name: t, query: up, fail: '< 1', actions: [{set: {batches: {percentage: 0.1}}}]}]\n"
            ),
            "spec.triggers[0].actions[0].set.batches.percentage: Unleash's percentages are whole numbers",
        ),
        (
            plan(more="  triggers: [{name: t, query: up, fail: '< 1', actions: [{flag: batches, profile: x}]}]\n"),
            "spec.triggers[0].actions[0].profile: batches is in Unleash",
        ),
    ),
)
def test_what_a_system_cannot_do_is_told_at_its_place(text: str, sentence: str) -> None:
    found = sentences(text)
    assert any(one.startswith(sentence) for one in found), found


@pytest.mark.parametrize(
    "system",
    ("flagd: {file: x.json}", "flagd: {config_map: flags}", UNLEASH.replace("token", "environment: live, token")),
)
def test_two_environments_may_not_raise_a_flag_in_one_place(system: str) -> None:
    environments = "  environments: [{name: staging}, {name: production}]\n"
    (sentence,) = sentences(plan(system, more=environments))
    assert sentence == (
        "spec.environments[1]: batches is in the same place of 'main' as in staging; say where it is in each "
        "environment, such as flag_systems: {main: ...}"
    )


def test_places_are_compared_in_plans_with_files_too() -> None:
    more = "  database: {env: DATABASE_URL}\n  environments: [{name: staging}, {name: production}]\n  x-more: 1\n"
    stage = "    - {name: table, kind: migration, migrations: [{up: a.sql, down: b.sql}]}\n  prometheus"
    load(plan(more=more).replace("  prometheus", stage))


def test_two_places_by_a_value_of_the_environment_are_two() -> None:
    environments = "  environments: [{name: staging, values: {AT: a}}, {name: production, values: {AT: b}}]\n"
    load(plan('flagd: {file: "flags-${AT}.json"}', more=environments))


def test_environments_in_which_no_stage_raises_the_flag_share_nothing() -> None:
    environments = "  environments: [{name: staging}, {name: production}]\n"
    text = plan("flagd: {file: x.json}", more=environments)
    load(text.replace("flag: batches, ", "flag: batches, environments: [production], "))


def test_a_finer_percentage_is_no_matter_in_flagd() -> None:
    load(plan("flagd: {file: x.json}", levels="percentages: [0.125, 100]"))


def test_percentages_of_an_environment_without_the_flags_stage_are_no_matter() -> None:
    stage = "flag: batches, environments: [production], percentages: [5, 100]"
    environments = "  environments: [{name: staging, percentages: [0.5]}, {name: production}]\n"
    load(plan(more=environments).replace("flag: batches, percentages: [5, 100]", stage))


def test_what_the_kill_switch_does_not_reach_is_said() -> None:
    (warning,) = load(plan()).warnings
    assert str(warning).partition(": ")[2] == (
        "spec.flags.batches.system: the kill switch does not reach batches, which is in Unleash: a run under it holds, "
        "and the flag stays where it stands; roll the run back to lower it, or switch it off there"
    )


def test_a_system_that_no_flag_is_in_is_said() -> None:
    warnings = load(plan(f"{UNLEASH}}}, spare: {{flagd: {{file: x}}")).warnings
    assert any("no flag of the plan is in the flag system 'spare'" in str(warning) for warning in warnings)
