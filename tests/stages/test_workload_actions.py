"""What actions and stages on Kubernetes workloads come down to: targets, operations there and back, places."""

from typing import Any

import pytest

from stages.actions import Action, Site, parse_action
from stages.actions.workload import StartWorkersAction, VersionAction
from stages.cluster import (
    ApplyManifest,
    Kubernetes,
    ObserveImage,
    ObserveManifest,
    ObserveReplicas,
    ObserveVersion,
    RestartWorkload,
    RunJob,
    ScaleWorkload,
    SetImage,
    SetVersion,
    VersionArm,
)
from stages.effects import TargetKind
from stages.step import Act, StageProgram
from tests.stages.plans import CONFIG_MAP, JOB, SMALL, load, problems, the_problem, with_step

PLACE = Kubernetes(context="prod", namespace="search")
FILES = {"limits.yaml": CONFIG_MAP.decode(), "job.yaml": JOB.decode()}
SITE = Site("production", "go", files=FILES, kubernetes=PLACE)


def action(**written: Any) -> Action:
    return parse_action(written)


def stage(line: str, more: str = "") -> StageProgram:
    """The second stage of a small plan."""
    return load(f"{SMALL}    - {line}\n{more}").to_program().environments[0].stages[1]


# --- single actions ---------------------------------------------------------------------------------------------------


def test_scaling_sets_a_number_and_goes_back_to_the_one_that_was_there() -> None:
    scale = action(scale="deployment/workers", replicas=4)
    assert scale.observation(SITE) == ObserveReplicas(kubernetes=PLACE, workload="deployment/workers")
    common: dict[str, Any] = {"kubernetes": PLACE, "workload": "deployment/workers"}
    assert scale.forward(SITE, {"replicas": 2}) == ScaleWorkload(replicas=4, timeout_seconds=600.0, **common)
    assert scale.backward(SITE, {"replicas": 2}) == ScaleWorkload(replicas=2, timeout_seconds=600.0, **common)
    assert scale.is_done(SITE, {"replicas": 4})
    assert not scale.is_done(SITE, {"replicas": 2})
    assert not scale.is_done(SITE, None)


def test_an_image_is_set_in_the_container_that_was_seen() -> None:
    image = action(image="statefulset/db", to="db:2", timeout="20m")
    seen = {"container": "main", "image": "db:1"}
    assert image.observation(SITE) == ObserveImage(kubernetes=PLACE, workload="statefulset/db")
    common: dict[str, Any] = {
        "kubernetes": PLACE, "workload": "statefulset/db", "container": "main", "timeout_seconds": 1200.0,
    }  # fmt: skip
    assert image.forward(SITE, seen) == SetImage(image="db:2", **common)
    assert image.backward(SITE, seen) == SetImage(image="db:1", **common)
    assert image.is_done(SITE, {"container": "main", "image": "db:2"})
    assert not image.is_done(SITE, seen)


def test_a_manifest_travels_with_its_text_and_goes_back_to_what_was_seen() -> None:
    apply = action(apply="limits.yaml")
    common: dict[str, Any] = {"kubernetes": PLACE, "manifest": "limits.yaml", "text": FILES["limits.yaml"]}
    seen = {"objects": [{"name": "configmap/limits", "exists": False, "fields": {}}]}
    assert apply.observation(SITE) == ObserveManifest(**common)
    assert apply.forward(SITE, seen) == ApplyManifest(**common)
    assert apply.backward(SITE, seen) == ApplyManifest(restore=seen, **common)
    assert not apply.is_done(SITE, seen)


def test_a_restart_and_a_job_have_no_way_back_of_their_own() -> None:
    restart, job = action(restart="daemonset/agent", undo="none"), action(job="job.yaml", timeout="30m", undo="none")
    assert restart.forward(SITE, None) == RestartWorkload(kubernetes=PLACE, workload="daemonset/agent")
    assert job.forward(SITE, None) == RunJob(
        kubernetes=PLACE, manifest="job.yaml", text=FILES["job.yaml"], timeout_seconds=1800.0
    )
    assert restart.backward(SITE, None) is None
    assert job.backward(SITE, None) is None
    assert restart.observation(SITE) is None


@pytest.mark.parametrize(
    "written",
    (
        {"scale": "deployment/workers", "replicas": 4},
        {"image": "deployment/workers", "to": "w:2"},
        {"apply": "limits.yaml"},
    ),
)
def test_a_declared_way_back_stands_in_place_of_the_known_one(written: dict[str, Any]) -> None:
    declared = action(**written, undo=["./back.sh"]).backward(SITE, {"replicas": 2, "image": "w:1", "container": "w"})
    assert declared is not None
    assert (declared.op, getattr(declared, "argv", None)) == ("run_command", ("./back.sh",))
    assert action(**written, undo="none").backward(SITE, {"replicas": 2}) is None


def test_what_is_touched_is_named_with_its_place_and_claimed_as_a_whole() -> None:
    scale, image = action(scale="deployment/a", replicas=1), action(image="deployment/a", container="app", to="a:2")
    restart = action(restart="deployment/a", undo="none")
    targets = [one.target(SITE) for one in (scale, image, restart)]
    assert [(one.id, one.kind, one.title) for one in targets if one is not None] == [
        (
            "replicas:production/prod/search/deployment/a",
            TargetKind.WORKLOAD,
            "replicas of deployment/a in search (prod)",
        ),
        (
            "image of app:production/prod/search/deployment/a",
            TargetKind.WORKLOAD,
            "image of app of deployment/a in search (prod)",
        ),
        ("pods:production/prod/search/deployment/a", TargetKind.WORKLOAD, "pods of deployment/a in search (prod)"),
    ]
    assert {one.claim for one in targets if one is not None} == {"workload:prod/search/deployment/a"}


def test_a_manifest_claims_its_objects_whatever_the_file_is_called() -> None:
    other = Site("production", "go", files={"other.yaml": FILES["limits.yaml"]}, kubernetes=PLACE)
    one, two = action(apply="limits.yaml").target(SITE), action(apply="other.yaml").target(other)
    assert one is not None
    assert two is not None
    assert one.id != two.id
    assert one.claim == two.claim == "objects:prod/search/configmap/limits"


def test_a_job_is_a_target_of_its_stage_and_nobody_elses() -> None:
    target = action(job="job.yaml", undo="none").target(SITE)
    assert target is not None
    assert (target.kind, target.claim) == (TargetKind.OBJECT, None)


# --- where ------------------------------------------------------------------------------------------------------------


def test_the_nearest_word_on_context_and_namespace_counts_each_for_itself() -> None:
    text = (
        f"{SMALL}"
        "    - {name: go, kind: steps, kubernetes: {namespace: of-stage}, steps: [\n"
        "        {scale: deployment/a, replicas: 1},\n"
        "        {scale: deployment/b, replicas: 1, kubernetes: {namespace: of-action}}]}\n"
        "    - {name: on, kind: steps, steps: [{scale: deployment/c, replicas: 1}]}\n"
        "  kubernetes: {context: of-plan, namespace: of-plan}\n"
        "  environments: [{name: staging, kubernetes: {context: of-environment}}, {name: production}]\n"
    )
    program = load(text).to_program()
    found = {
        (environment.name, act.label): act.forward({"replicas": 0}).kubernetes.path("")  # type: ignore[union-attr]
        for environment in program.environments
        for one in environment.stages[1:]
        for act in one.acts()
    }
    assert found == {
        ("staging", "scale deployment/a to 1"): "of-environment/of-stage",
        ("staging", "scale deployment/b to 1"): "of-environment/of-action",
        ("staging", "scale deployment/c to 1"): "of-environment/of-plan",
        ("production", "scale deployment/a to 1"): "of-plan/of-stage",
        ("production", "scale deployment/b to 1"): "of-plan/of-action",
        ("production", "scale deployment/c to 1"): "of-plan/of-plan",
    }


def test_two_plans_that_touch_one_workload_share_a_claim_and_one_in_another_namespace_does_not() -> None:
    line = "    - {name: go, kind: steps, steps: [%s]}\n"
    scale = load(SMALL + line % "{scale: deployment/a, replicas: 1}").to_program().claims()
    image = load(SMALL + line % "{image: deployment/a, to: 'a:2'}").to_program().claims()
    other = load(
        SMALL + line % "{image: deployment/a, to: 'a:2', kubernetes: {namespace: other}}"
    ).to_program().claims()  # fmt: skip
    assert scale.keys() & image.keys() == {"workload:deployment/a", *load(SMALL).to_program().claims()}
    assert "workload:deployment/a" not in other


# --- a queue's workers ------------------------------------------------------------------------------------------------

QUEUE = "{name: q, kind: queue, flag: beta, percentages: [100], gate: health, workload: deployment/w%s}"


def start_of(line: str) -> Act:
    *_, act = stage(line).before
    return act


@pytest.mark.parametrize(
    ("written", "first"),
    (("", 2), (", replicas: {start: 5}", 5), (", replicas: {start: 1}", 2), (", replicas: {min: 0}", 0)),
)
def test_a_queue_starts_its_workers_before_its_first_step(written: str, first: int) -> None:
    act = start_of(QUEUE % written)
    assert isinstance(act.action, StartWorkersAction)
    assert act.forward({"replicas": 0}) == ScaleWorkload(
        workload="deployment/w", replicas=first, timeout_seconds=600.0, kubernetes=Kubernetes()
    )


def test_workers_that_run_already_stay_and_the_way_back_is_their_number() -> None:
    act = start_of(QUEUE % "")
    assert act.is_done({"replicas": 7})
    assert not act.is_done({"replicas": 1})
    back = act.backward({"replicas": 1})
    assert isinstance(back, ScaleWorkload)
    assert back.replicas == 1


def test_workers_start_after_what_stands_in_before() -> None:
    written = QUEUE % ", before: [{apply: k8s/workers.yaml}]"
    assert [act.label for act in stage(written).before] == [
        "apply k8s/workers.yaml",
        "start deployment/w with 2 or more",
    ]


def test_a_queue_without_a_workload_starts_none() -> None:
    line = "{name: q, kind: queue, flag: beta, percentages: [100], gate: health}"
    assert stage(line).before == ()


# --- versions ---------------------------------------------------------------------------------------------------------

VERSION = (
    "{name: v, kind: version, workload: deployment/api, canary: deployment/api-canary, container: app, image: 'api:2', "
    "percentages: [10, 50, 100], gate: health, bake: 1h, final_bake: 4h}"
)
BEFORE = {"stable": {"replicas": 10, "image": "api:1"}, "canary": {"replicas": 0, "image": "api:0"}}


def arms(stable: int, canary: int, stable_image: str = "api:1", canary_image: str = "api:2") -> dict[str, Any]:
    return {
        "stable": {"replicas": stable, "image": stable_image},
        "canary": {"replicas": canary, "image": canary_image},
    }


def test_a_version_has_a_step_for_each_percentage_with_its_gate_and_bake() -> None:
    steps = stage(VERSION).steps
    assert [(one.name, one.percentage, one.gate, one.bake.max_seconds) for one in steps] == [
        ("10%", 10.0, ("health",), 3600.0),
        ("50%", 50.0, ("health",), 3600.0),
        ("100%", 100.0, ("health",), 14400.0),
    ]


def test_a_step_moves_replicas_from_one_deployment_to_the_other_and_the_last_gives_them_all_back() -> None:
    current: Any = BEFORE
    wanted = []
    for step in stage(VERSION).steps:
        (act,) = step.acts
        assert act.observation == ObserveVersion(
            workload="deployment/api", canary_workload="deployment/api-canary", container="app"
        )
        operation = act.forward(current)
        assert isinstance(operation, SetVersion)
        current = operation.version.value()
        assert act.is_done(current)
        wanted.append(current)
    assert wanted == [arms(9, 1), arms(5, 5), arms(10, 0, stable_image="api:2")]


def test_both_deployments_go_back_to_what_they_were() -> None:
    (act,) = stage(VERSION).steps[0].acts
    back = act.backward(BEFORE)
    assert isinstance(back, SetVersion)
    assert back.stable == VersionArm(replicas=10, image="api:1")
    assert back.canary == VersionArm(replicas=0, image="api:0")


@pytest.mark.parametrize("total", (2, 3, 7, 40))
@pytest.mark.parametrize("percentage", (0.001, 1, 10, 33.3, 50, 99, 99.999))
def test_on_the_way_both_versions_run_and_their_number_stays(total: int, percentage: float) -> None:
    moved = VersionAction(workload="deployment/a", canary="deployment/b", to="api:2", percentage=percentage)
    operation = moved.forward(SITE, arms(total, 0))
    assert isinstance(operation, SetVersion)
    assert operation.canary is not None
    assert operation.stable.replicas + operation.canary.replicas == total
    assert operation.canary.replicas >= 1
    assert operation.stable.replicas >= 1
    assert operation.canary.replicas >= min(total * percentage / 100, total - 1)


@pytest.mark.parametrize(
    "standing", (arms(5, 5), arms(10, 0, stable_image="api:2"), arms(10, 0, stable_image="api:2", canary_image="api:1"))
)
def test_a_step_never_takes_the_new_image_away_from_pods_that_have_it(standing: dict[str, Any]) -> None:
    moved = VersionAction(workload="deployment/a", canary="deployment/b", to="api:2", percentage=10)
    assert moved.is_done(SITE, standing)


def test_an_environments_own_percentages_and_bake_stand_in_place_of_a_versions() -> None:
    environment = "  environments: [{name: production, percentages: [25, 100], bake: 5m}]\n"
    assert [(one.percentage, one.bake.max_seconds) for one in stage(VERSION, environment).steps] == [
        (25.0, 300.0),
        (100.0, 300.0),
    ]


def test_both_deployments_are_claimed_so_that_no_two_plans_meet_on_one() -> None:
    claims = load(f"{SMALL}    - {VERSION}\n").to_program().claims()
    line = "    - {name: go, kind: steps, steps: [{scale: deployment/api-canary, replicas: 1}]}\n"
    assert claims.keys() & load(SMALL + line).to_program().claims().keys() - load(
        SMALL
    ).to_program().claims().keys() == {"workload:deployment/api-canary"}
    assert "workload:deployment/api" in claims
    assert "workload:deployment/api-rollout" in load(f"{SMALL}    - {ALONE}\n").to_program().claims()


def walked(action: VersionAction, value: Any, *percentages: float) -> list[Any]:
    """What a version is at each step, from how it stands first."""
    found = []
    for percentage in percentages:
        step = action.model_copy(update={"percentage": percentage})
        if not step.is_done(SITE, value):
            operation = step.forward(SITE, value)
            assert isinstance(operation, SetVersion)
            value = operation.version.value()
            assert step.is_done(SITE, value)
        found.append(value)
    return found


TWO = VersionAction(workload="deployment/api", canary="deployment/api-canary", to="api:2", percentage=1)
ONE = VersionAction(workload="deployment/api", to="api:2", percentage=1)


@pytest.mark.parametrize("percentages", ((100,), (10, 100), (10, 50, 90, 100)))
@pytest.mark.parametrize("replicas", (0, 1, 2, 3, 10))
def test_a_version_ends_with_exactly_the_pods_that_there_were(replicas: int, percentages: tuple[float, ...]) -> None:
    end = {"replicas": replicas, "image": "api:2"}
    two = walked(TWO, {**BEFORE, "stable": {"replicas": replicas, "image": "api:1"}}, *percentages)
    one = walked(ONE, {"stable": {"replicas": replicas, "image": "api:1"}}, *percentages)
    assert two[-1] == {"stable": end, "canary": {"replicas": 0, "image": "api:2"}}
    assert one[-1] == {"stable": end}


def test_of_one_pod_there_are_two_on_the_way_and_it_is_known_that_there_was_one() -> None:
    on_the_way = {**arms(1, 1), "total": 1}
    assert walked(ONE, {"stable": {"replicas": 1, "image": "api:1"}}, 10, 50) == [on_the_way, on_the_way]
    scaled_by_hand = {**arms(3, 1), "total": 1}
    assert walked(ONE, scaled_by_hand, 100) == [{"stable": {"replicas": 4, "image": "api:2"}}]


# --- a version without a canary ---------------------------------------------------------------------------------------

ALONE = VERSION.replace("canary: deployment/api-canary, ", "")


def test_without_a_canary_there_is_a_copy_on_the_way_and_none_at_the_end() -> None:
    steps = stage(ALONE).steps
    (act,) = steps[0].acts
    assert act.observation == ObserveVersion(
        workload="deployment/api", canary_workload="deployment/api-rollout", is_made=True, container="app"
    )
    current: Any = {"stable": BEFORE["stable"]}
    operations = []
    for step in steps:
        operation = step.acts[0].forward(current)
        assert isinstance(operation, SetVersion)
        assert (operation.canary_workload, operation.is_made) == ("deployment/api-rollout", True)
        current = operation.version.value()
        operations.append(current)
    assert operations == [arms(9, 1), arms(5, 5), {"stable": {"replicas": 10, "image": "api:2"}}]
    back = act.backward({"stable": BEFORE["stable"]})
    assert isinstance(back, SetVersion)
    assert (back.stable, back.canary) == (VersionArm(replicas=10, image="api:1"), None)


def test_the_pods_of_a_copy_are_told_by_their_names_so_a_name_has_a_limit() -> None:
    name = "a" * 49
    load(f"{SMALL}    - {ALONE.replace('deployment/api', f'deployment/{name}')}\n")
    told = the_problem(f"{SMALL}    - {ALONE.replace('deployment/api', f'deployment/{name}a')}\n")
    assert told.endswith(
        f"{name}a has 50 characters, so the pods of {name}a-rollout could not be told from its own by name "
        "(with 49 they can); name a second Deployment as canary"
    )
    load(f"{SMALL}    - {VERSION.replace('deployment/api,', f'deployment/{name}a,')}\n")


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "sentence"),
    (
        (
            "{scale: workers, replicas: 2}",
            "scale: a workload is written as deployment/NAME, statefulset/NAME or daemonset/NAME, not 'workers'",
        ),
        (
            "{scale: daemonset/x, replicas: 2}",
            "scale: a DaemonSet runs one pod on each node and has no replicas to scale",
        ),
        ("{scale: deployment/x, replicas: -1}", "replicas: "),
        ("{scale: deployment/x}", "replicas: the field 'replicas' is missing"),
        ("{image: deployment/x}", "to: the field 'to' is missing"),
        ("{image: Deployment/x, to: y}", "image: a workload is written as deployment/NAME"),
        ("{restart: deployment/x}", "the way back is not known: declare undo (a command, or an action), or undo: none"),
        ("{job: k8s/job.yaml}", "the way back is not known: declare undo (a command, or an action), or undo: none"),
        ("{apply: a.yaml, kubernetes: {namspace: b}}", "kubernetes.namspace: unknown field 'namspace'; did you mean"),
        (
            "{apply: sql/a.sql}",
            "apply: sql/a.sql: object 1 is no mapping with apiVersion, kind and metadata",
        ),
        (
            "{job: limits.yaml, undo: none}",
            "job: limits.yaml: one Job of batch/v1 is expected, and there is v1 ConfigMap",
        ),
    ),
)
def test_an_action_that_could_not_be_carried_out_is_told(step: str, sentence: str) -> None:
    assert sentence in the_problem(with_step(step))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    (
        ("deployment/api,", "statefulset/api,", "a version moves between Deployments, written as deployment/NAME"),
        ("deployment/api-canary", "deployment/api", "canary is a Deployment of its own beside the workload"),
        ("[10, 50, 100]", "[10, 10]", "percentages rise from step to step, and begin above 0"),
        ("[10, 50, 100]", "[0, 10]", "percentages rise from step to step, and begin above 0"),
        ("[10, 50, 100]", "[]", "percentages: at least one entry is expected"),
        ("percentages: [10, 50, 100], ", "", "the field 'percentages' is missing"),
    ),
)
def test_a_version_stage_that_could_not_be_carried_out_is_told(old: str, new: str, sentence: str) -> None:
    assert old in VERSION
    assert sentence in the_problem(f"{SMALL}    - {VERSION.replace(old, new, 1)}\n")


@pytest.mark.parametrize(
    ("written", "sentence"),
    (
        (", replicas: {start: 5, max: 4}", "max is 4, which is below start"),
        (", replicas: {min: 5, max: 4}", "max is 4, which is below min"),
        (", replicas: {max: 4, query: up}", "scaling on load takes both: query (the load) and per_replica"),
        (", replicas: {query: up, per_replica: 5}", "scaling on load needs max, the most workers there may be"),
        (", replicas: {max: 4, query: 'sum(', per_replica: 5}", "replicas.query: the query is not PromQL"),
        (", replicas: {max: 4, query: up, per_replica: 5, source: eu}", "replicas.source: unknown source 'eu'"),
    ),
)
def test_workers_of_a_queue_that_could_not_be_started_are_told(written: str, sentence: str) -> None:
    assert sentence in the_problem(f"{SMALL}    - {QUEUE % written}\n")


def test_a_load_needs_a_prometheus() -> None:
    text = f"{SMALL}    - {QUEUE % ', replicas: {max: 4, query: up, per_replica: 5}'}\n"
    without = text.replace('  prometheus: {url: "http://localhost:9090"}\n', "")
    assert any("spec.stages[1].replicas.query: a query needs a Prometheus" in one for one in problems(without))


# --- what is worth a second look --------------------------------------------------------------------------------------


def warned(line: str) -> list[str]:
    return [f"{one.path}: {one.message}" for one in load(f"{SMALL}    - {line}\n").warnings]


@pytest.mark.parametrize(
    ("replicas", "few"), ((", replicas: {min: 1}", "one worker has to run"), (", replicas: {min: 0}", "no worker has"))
)
def test_a_queue_that_begins_with_fewer_than_two_workers_is_warned_of(replicas: str, few: str) -> None:
    (warning,) = warned(QUEUE % replicas)
    assert warning.startswith(f"spec.stages[1]: {few}")
    assert warned(QUEUE % "") == []


def test_a_version_that_ends_before_all_is_warned_of() -> None:
    (warning,) = warned(VERSION.replace("[10, 50, 100]", "[10, 50]"))
    assert warning == "spec.stages[1].percentages: it ends at 50 %, so both versions stay; is 100 missing?"
    assert warned(VERSION) == []


def test_a_version_without_a_gate_is_warned_of() -> None:
    assert warned(VERSION.replace("gate: health, ", "")) == [
        "spec.stages[1]: the stage 'v' has no gate: it goes up by time alone"
    ]


@pytest.mark.parametrize("image", ("api", "registry.example:5000/api", "api:latest"))
def test_an_image_without_a_version_is_warned_of(image: str) -> None:
    (warning,) = warned(VERSION.replace("api:2", image))
    assert warning.startswith(f"spec.stages[1].image: {image} names no version")
    (warning,) = warned(f"{{name: go, kind: steps, steps: [{{image: deployment/x, to: '{image}'}}]}}")
    assert warning.startswith(f"spec.stages[1].steps[0].to: {image} names no version")


def test_a_digest_is_a_version() -> None:
    assert warned(VERSION.replace("api:2", "registry.example:5000/api@sha256:5e9f")) == []


def test_a_gate_that_compares_arms_has_nobody_to_compare_with_once_a_version_is_everywhere() -> None:
    compared = (
        "        - {name: arms, compare: {bad: bad, total: all, arms: {canary: '{a=\"b\"}', control: '{a=\"c\"}'}}}\n"
    )
    text = SMALL.replace("  stages:\n", f"{compared}  stages:\n").replace("[5, 50, 100]", "[5, 50]")
    found = [str(one) for one in load(f"{text}    - {VERSION}\n").warnings]
    assert any(
        "the stage 'v' at 100 % leaves nobody in the control, so 'arms' can't compare there" in one for one in found
    )
    assert not any("the stage 'v' at 50 %" in one for one in found)
