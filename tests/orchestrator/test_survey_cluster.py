"""What a plan does on Kubernetes, held against what clusters tell of themselves."""

import json
from dataclasses import replace

import pytest
from ruamel.yaml import YAML

from orchestrator.cluster_facts import (
    ClusterFacts,
    Keeper,
    Keeping,
    Manifest,
    NamespaceState,
    Need,
    Questions,
    Right,
    Scaler,
    Trial,
    WorkloadFacts,
)
from orchestrator.findings import Finding, Level
from orchestrator.survey_cluster import survey_cluster
from stages.cluster import Kubernetes, ObjectRef
from stages.step import EnvironmentProgram
from tests.stages.plans import CONFIG_MAP, SMALL, load, with_lines, with_step
from tests.support.manifests import MANIFESTS

API = WorkloadFacts(10, {"app": "api:1", "proxy": "proxy:1"})
CANARY = WorkloadFacts(0, {"app": "api:0"})
FACTS = ClusterFacts(
    "Kubernetes (prod)",
    "shop",
    namespace_state=NamespaceState.ACTIVE,
    user="system:serviceaccount:rollout:controller",
    workloads={"deployment/api": API, "deployment/api-canary": CANARY, "deployment/gone": None},
    names=("deployment/api", "deployment/api-canary", "deployment/workers"),
)
SCALE = "{scale: deployment/api, replicas: 2}"
IMAGE = "{image: deployment/api, container: app, to: 'api:2'}"
VERSION = (
    "{name: v, kind: version, workload: deployment/api, canary: deployment/api-canary, container: app, image: 'api:2', "
    "percentages: [5, 50, 100], gate: health}"
)


class Told:
    """A reader that answers with the same facts to whatever is asked."""

    def __init__(self, facts: ClusterFacts) -> None:
        self.facts = facts
        self.asked: list[Questions] = []

    async def look(self, questions: Questions) -> ClusterFacts:
        self.asked.append(questions)
        return self.facts


def environment(text: str, name: str = "production") -> EnvironmentProgram:
    return load(text).to_program().environment(name)


def one_step(step: str) -> EnvironmentProgram:
    return environment(with_step(step))


def staged(stage: str) -> EnvironmentProgram:
    return environment(f"{SMALL}    - {stage}\n")


async def found(of: EnvironmentProgram, facts: ClusterFacts = FACTS) -> list[Finding]:
    return await survey_cluster("small", of, Told(facts))


async def the_finding(of: EnvironmentProgram, facts: ClusterFacts = FACTS) -> Finding:
    (only,) = await found(of, facts)
    return only


async def asked(of: EnvironmentProgram) -> Questions:
    told = Told(FACTS)
    await survey_cluster("small", of, told)
    (only,) = told.asked
    return only


def with_api(facts: WorkloadFacts) -> ClusterFacts:
    return replace(FACTS, workloads={**FACTS.workloads, "deployment/api": facts})


# --- what is asked ----------------------------------------------------------------------------------------------------


async def test_a_plan_without_a_cluster_asks_none() -> None:
    told = Told(FACTS)
    assert await survey_cluster("small", environment(SMALL), told) == []
    assert told.asked == []


async def test_each_place_is_asked_once_for_all_that_the_plan_does_there() -> None:
    text = (
        with_step(SCALE)
        + f"        - {IMAGE}\n"
        + "        - {restart: deployment/other, undo: none, kubernetes: {context: eu, namespace: b}}\n"
    )
    told = Told(FACTS)
    await survey_cluster("small", environment(text), told)
    assert [(one.place, one.workloads) for one in told.asked] == [
        (Kubernetes(), ("deployment/api",)),
        (Kubernetes(context="eu", namespace="b"), ("deployment/other",)),
    ]


async def test_also_what_triggers_the_way_back_answers_and_undos_do_is_asked_for() -> None:
    text = SMALL + (
        "  triggers: [{name: t, query: up, fail: '< 1', for: 1m, actions: [{scale: deployment/a, replicas: 1}]}]\n"
        "  rollback: {before: [{restart: deployment/b}], ask: [{question: q, actions: [{restart: deployment/c}]}]}\n"
        "  stages: [{name: s, kind: steps, steps: [{command: [x], undo: {scale: deployment/d, replicas: 1}}]}]\n"
    )
    begin, end = text.index("  stages:\n"), text.index("  triggers:")
    text = text[:begin] + text[end:]
    assert sorted((await asked(environment(text))).workloads) == [f"deployment/{name}" for name in "abcd"]


def needs(*verbs: str, api_version: str = "apps/v1", kind: str = "Deployment") -> set[Need]:
    return {Need(verb, api_version, kind) for verb in verbs}


WAITING = {
    Need("list", "v1", "Pod"),
    Need("list", "apps/v1", "ReplicaSet"),
    Need("watch", "apps/v1", "Deployment", is_needed=False),
    Need("list", "v1", "Event", is_needed=False),
}

AUTOSCALERS = {
    Need("list", "autoscaling/v2", "HorizontalPodAutoscaler", is_needed=False),
    Need("list", "keda.sh/v1alpha1", "ScaledObject", is_needed=False),
}


@pytest.mark.parametrize(
    ("step", "wanted"),
    (
        (SCALE, needs("get", "patch") | WAITING | AUTOSCALERS),
        (IMAGE, needs("get", "patch") | WAITING),
        ("{restart: deployment/api, undo: none}", needs("get", "patch") | WAITING),
        (
            "{apply: k8s/limits.yaml}",
            needs("get", "create", "patch", "delete", api_version="v1", kind="ConfigMap"),
        ),
        (
            "{job: k8s/job.yaml, undo: none}",
            needs("get", "create", "delete", api_version="batch/v1", kind="Job")
            | {
                Need("list", "v1", "Pod"),
                Need("list", "v1", "Event", is_needed=False),
                Need("watch", "batch/v1", "Job", is_needed=False),
                Need("get", "v1", "Pod", "log", is_needed=False),
            },
        ),
    ),
)
async def test_an_action_needs_the_verbs_that_it_and_its_way_back_use(step: str, wanted: set[Need]) -> None:
    assert set((await asked(one_step(step))).needs) == wanted


async def test_manifests_are_tried_with_their_text() -> None:
    questions = await asked(one_step("{apply: k8s/limits.yaml}"))
    assert questions.manifests == (Manifest("k8s/limits.yaml", CONFIG_MAP.decode()),)
    (job,) = (await asked(one_step("{job: k8s/job.yaml, undo: none}"))).manifests
    assert job.is_job


# --- the place --------------------------------------------------------------------------------------------------------


async def test_a_cluster_that_cannot_be_asked_is_one_error() -> None:
    away = ClusterFacts("Kubernetes (prod)", "shop", failure="connection refused")
    error = await the_finding(one_step(SCALE), away)
    assert error == Finding(
        Level.ERROR,
        "production: namespace shop of Kubernetes (prod)",
        "it can't be asked: connection refused",
    )


async def test_a_namespace_that_is_not_there_is_an_error_with_what_may_be_meant() -> None:
    absent = replace(FACTS, namespace_state=NamespaceState.ABSENT, names=("shops", "kube-system"), workloads={})
    assert (await the_finding(one_step(SCALE), absent)).sentence == (
        "there is no such namespace; did you mean 'shops'?"
    )
    others = replace(absent, names=("a", "b"))
    assert (await the_finding(one_step(SCALE), others)).sentence == "there is no such namespace; there are a and b"


async def test_a_namespace_that_is_being_deleted_is_an_error() -> None:
    ending = replace(FACTS, namespace_state=NamespaceState.TERMINATING)
    error = await the_finding(one_step(SCALE), ending)
    assert (error.level, error.sentence) == (
        Level.ERROR,
        "it is being deleted; name another one, or wait until it is made again",
    )


PATCH = Right("patch", "apps", "deployments", "shop", is_needed=True, is_granted=False)
GET = Right("get", "apps", "deployments", "shop", is_needed=True, is_granted=True)


COMMANDS = "commands: {image: 'tools:1', vars: {TOKEN: {env: TOKEN}}}"


async def test_commands_in_an_image_need_what_their_jobs_need_and_one_is_tried() -> None:
    of = environment(with_lines(COMMANDS, "checks: [{name: c, script: 'true'}]"))
    questions = await asked(of)
    assert questions.commands == of.site.command_pod
    needed = {(one.verb, one.kind, one.subresource) for one in questions.needs if one.is_needed}
    jobs = {(verb, "Job", "") for verb in ("get", "create", "patch", "delete")}
    assert needed == jobs | {
        ("list", "Pod", ""),
        ("get", "Pod", "log"),
        ("create", "ConfigMap", ""),
        ("create", "Secret", ""),
    }
    facts = replace(FACTS, trials=(Trial("", "the Job of a command", "it violates PodSecurity"),))
    where, words = "production: commands", "the Job of a command: it violates PodSecurity"
    assert await found(of, facts) == [Finding(Level.ERROR, where, words)]


@pytest.mark.parametrize("file", ("components/commands/commands.yaml", "examples/workloads.yaml"))
async def test_the_manifests_grant_what_commands_in_an_image_need(file: str) -> None:
    of = environment(with_lines(COMMANDS, "checks: [{name: c, script: 'true'}]"))
    role = next(iter(YAML(typ="safe", pure=True).load_all((MANIFESTS / file).read_text())))
    granted = {
        (verb, group, resource)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    for need in (await asked(of)).needs:
        resource = f"{need.kind.lower()}s" + (f"/{need.subresource}" if need.subresource else "")
        assert (need.verb, need.api_version.rpartition("/")[0], resource) in granted


async def test_what_is_not_allowed_is_named_with_a_role_that_grants_all_that_the_plan_needs() -> None:
    error = await the_finding(one_step(SCALE), replace(FACTS, rights=(GET, PATCH)))
    assert error.level is Level.ERROR
    said, _, rest = error.sentence.partition(". This grants all that the plan needs: ")
    assert said == "system:serviceaccount:rollout:controller may not patch deployments.apps"
    role, _, binding = rest.partition(" (bind it with ")
    assert json.loads(role) == {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "rollout-small", "namespace": "shop"},
        "rules": [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "patch"]}],
    }
    assert binding == (
        "kubectl create rolebinding rollout-small -n shop --role=rollout-small --serviceaccount=rollout:controller)"
    )


async def test_what_lies_elsewhere_or_in_no_namespace_has_a_role_of_its_own() -> None:
    whole = Right("create", "", "namespaces", "", is_needed=True, is_granted=False)
    other = Right("get", "", "configmaps", "other", is_needed=True, is_granted=False)
    error = await the_finding(one_step(SCALE), replace(FACTS, user="ann", rights=(whole, other)))
    assert error.sentence.startswith(
        "ann may not create namespaces in the whole cluster, get configmaps in other. This grants"
    )
    assert '"kind": "ClusterRole"' in error.sentence
    assert '"namespace": "other"' in error.sentence
    assert "kubectl create clusterrolebinding rollout-small --clusterrole=rollout-small --user=ann" in error.sentence


async def test_what_a_run_can_do_without_is_a_warning() -> None:
    logs = Right("get", "", "pods/log", "shop", is_needed=False, is_granted=False)
    warning = await the_finding(one_step(SCALE), replace(FACTS, rights=(GET, logs)))
    assert warning.level is Level.WARNING
    assert "may not get pods/log, so less is seen and said. This grants" in warning.sentence


# --- workloads --------------------------------------------------------------------------------------------------------


async def test_what_is_there_and_nobody_elses_is_no_finding() -> None:
    assert await found(one_step(SCALE)) == []
    assert await found(one_step(IMAGE)) == []


async def test_a_workload_that_is_not_there_is_an_error_at_its_place_with_what_may_be_meant() -> None:
    misspelt = replace(FACTS, workloads={"deployment/worker": None})
    error = await the_finding(one_step("{scale: deployment/worker, replicas: 2}"), misspelt)
    assert error == Finding(
        Level.ERROR,
        "production: stage go, scale deployment/worker to 2",
        "there is no deployment/worker in namespace shop; did you mean 'deployment/workers'?",
    )


async def test_a_workload_that_the_plan_makes_is_no_error() -> None:
    text = with_step("{apply: k8s/workers.yaml}") + "        - {scale: deployment/gone, replicas: 2}\n"
    made = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: gone}\n"
    program = load(text)
    files = {**program.files, "k8s/workers.yaml": made}
    of = replace(program, files=files).to_program().environment("production")
    note = await the_finding(of)
    assert (note.level, note.sentence) == (Level.NOTE, "deployment/gone is not there yet; k8s/workers.yaml makes it")


async def test_a_workload_that_may_not_be_looked_at_is_left_to_the_rights() -> None:
    assert await found(one_step(SCALE), replace(FACTS, workloads={})) == []


@pytest.mark.parametrize(
    ("step", "sentence"),
    (
        (
            "{image: deployment/api, container: ap, to: 'api:2'}",
            "deployment/api has no container ap (container); there are app and proxy",
        ),
        (
            "{image: deployment/api, to: 'api:2'}",
            (
                "deployment/api has more than one container; name the one that is meant (container); "
                "there are app and proxy"
            ),
        ),
    ),
)
async def test_a_container_must_be_there_and_be_the_only_one_that_may_be_meant(step: str, sentence: str) -> None:
    error = await the_finding(one_step(step))
    assert (error.level, error.sentence) == (Level.ERROR, sentence)


SCALER = Scaler("HorizontalPodAutoscaler api", "deployment/api", 2, 10, "delete it")


@pytest.mark.parametrize("of", (one_step(SCALE), staged(VERSION)), ids=("scale", "version"))
async def test_replicas_that_an_autoscaler_sets_are_not_the_plans_to_set(of: EnvironmentProgram) -> None:
    error = next(one for one in await found(of, replace(FACTS, scalers=(SCALER,))) if one.level is Level.ERROR)
    assert error.sentence == (
        "HorizontalPodAutoscaler api sets the replicas of deployment/api (2 to 10), "
        "and would undo what the plan sets; delete it"
    )


async def test_an_autoscaler_of_another_workload_or_beside_an_image_is_no_finding() -> None:
    other = replace(SCALER, workload="deployment/other")
    assert await found(one_step(SCALE), replace(FACTS, scalers=(other,))) == []
    assert await found(one_step(IMAGE), replace(FACTS, scalers=(SCALER,))) == []


def kept(keeping: Keeping, field: str = "replicas", path: str = "") -> ClusterFacts:
    keeper = Keeper("Argo CD", "Application shop", {field: keeping}, "take it out of Git", path)
    return with_api(replace(API, keepers=(keeper,)))


@pytest.mark.parametrize(
    ("keeping", "level", "sentence"),
    (
        (
            Keeping.PUT_BACK,
            Level.ERROR,
            (
                "Argo CD (Application shop) keeps the replicas of deployment/api as Git has it, and puts it back; "
                "take it out of Git"
            ),
        ),
        (
            Keeping.HIDDEN,
            Level.ERROR,
            (
                "Argo CD (Application shop) may put the replicas of deployment/api back, which can't be seen; "
                "take it out of Git, and let the controller read /apis/x to see it"
            ),
        ),
        (
            Keeping.AT_NEXT_SYNC,
            Level.WARNING,
            (
                "Argo CD (Application shop) puts the replicas of deployment/api back when it syncs next; "
                "take it out of Git"
            ),
        ),
        (
            Keeping.LEFT,
            Level.NOTE,
            "Argo CD (Application shop) manages the replicas of deployment/api, and is told to leave it",
        ),
    ),
)
async def test_what_git_keeps_is_judged_by_what_becomes_of_a_change(
    keeping: Keeping, level: Level, sentence: str
) -> None:
    finding = await the_finding(one_step(SCALE), kept(keeping, path="/apis/x"))
    assert (finding.level, finding.sentence) == (level, sentence)


async def test_a_field_that_git_keeps_and_the_plan_does_not_change_is_no_finding() -> None:
    assert await found(one_step(IMAGE), kept(Keeping.PUT_BACK)) == []
    error = await the_finding(one_step(IMAGE), kept(Keeping.PUT_BACK, "image of app"))
    assert "the image of app of deployment/api" in error.sentence


# --- flags ------------------------------------------------------------------------------------------------------------

FLAGS = SMALL.replace("beta: {profiles: {slow: {rate: 1}}}", "beta: {system: files}") + (
    "  flag_systems: {files: {flagd: {config_map: flags, kubernetes: {namespace: shop}}}}\n"
)
OBJECT = ObjectRef("v1", "ConfigMap", "flags")


async def test_an_object_with_flags_is_asked_for_by_its_name() -> None:
    questions = await asked(environment(FLAGS))
    assert (questions.place, questions.objects) == (Kubernetes(namespace="shop"), (OBJECT,))
    assert questions.needs == tuple(Need(verb, "v1", "ConfigMap", name="flags") for verb in ("get", "patch"))


async def test_a_role_for_flags_is_one_for_their_object_alone() -> None:
    right = Right("patch", "", "configmaps", "shop", is_needed=True, is_granted=False, name="flags")
    error = await the_finding(environment(FLAGS), replace(FACTS, rights=(right,)))
    assert "may not patch configmaps flags. This grants" in error.sentence
    rule = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["flags"], "verbs": ["patch"]}
    assert json.dumps(rule) in error.sentence


async def test_flags_that_git_keeps_are_judged_by_what_becomes_of_a_change() -> None:
    keeper = Keeper("Flux", "Kustomization shop", {"key flags.json": Keeping.PUT_BACK}, "suspend it")
    error = await the_finding(environment(FLAGS), replace(FACTS, keepers={OBJECT: (keeper,)}))
    assert (error.level, error.where) == (Level.ERROR, "production: flag beta")
    assert error.sentence == (
        "Flux (Kustomization shop) keeps the key flags.json of ConfigMap flags as Git has it, and puts it back; "
        "suspend it"
    )
    other = replace(keeper, fields={"key other": Keeping.PUT_BACK})
    assert await found(environment(FLAGS), replace(FACTS, keepers={OBJECT: (other,)})) == []


# --- versions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("replicas", "level", "sentence"),
    (
        (0, Level.ERROR, "deployment/api has no pods, so there is no version to move; scale it first"),
        (
            1,
            Level.WARNING,
            "deployment/api has 1 pod, so half of all requests meet the new version on its way",
        ),
        (4, Level.WARNING, "of 4 pods 5 % is 1, so 25 % of requests meet the new version"),
    ),
)
async def test_a_version_needs_pods_to_move(replicas: int, level: Level, sentence: str) -> None:
    finding = await the_finding(staged(VERSION), with_api(replace(API, replicas=replicas)))
    assert finding == Finding(level, "production: stage v", sentence)


async def test_a_version_with_pods_enough_is_no_finding() -> None:
    assert await found(staged(VERSION)) == []


async def test_both_deployments_of_a_version_are_looked_at_and_told_of_once() -> None:
    without = replace(FACTS, workloads={"deployment/api": API, "deployment/api-canary": None})
    error = await the_finding(staged(VERSION), without)
    assert error.sentence.startswith("there is no deployment/api-canary in namespace shop")


# --- manifests --------------------------------------------------------------------------------------------------------


async def test_an_object_that_the_cluster_would_not_take_is_an_error_at_its_action() -> None:
    trials = (
        Trial("k8s/limits.yaml", "configmap/limits", "data.a belongs to helm"),
        Trial("k8s/limits.yaml", "configmap/fine"),
        Trial("other.yaml", "configmap/other", "not of this action"),
    )
    error = await the_finding(one_step("{apply: k8s/limits.yaml}"), replace(FACTS, trials=trials))
    assert error == Finding(
        Level.ERROR, "production: stage go, apply k8s/limits.yaml", "configmap/limits: data.a belongs to helm"
    )


ALONE = VERSION.replace("canary: deployment/api-canary, ", "")
COPY = WorkloadFacts(2, {"app": "api:2"}, made_of="deployment/api")


def with_copy(copy: WorkloadFacts | None, api: WorkloadFacts = API) -> ClusterFacts:
    return replace(FACTS, workloads={"deployment/api": api, "deployment/api-rollout": copy})


async def test_a_version_without_a_canary_needs_leave_to_make_a_copy_and_to_delete_it() -> None:
    alone, beside = await asked(staged(ALONE)), await asked(staged(VERSION))
    assert alone.workloads == ("deployment/api", "deployment/api-rollout")
    assert set(alone.needs) - set(beside.needs) == needs("create", "delete")


async def test_a_copy_need_not_be_there() -> None:
    assert await found(staged(ALONE), with_copy(None, replace(API, replicas=20))) == []


async def test_a_deployment_of_a_strangers_in_the_place_of_the_copy_is_an_error() -> None:
    (error,) = await found(staged(ALONE), with_copy(replace(COPY, made_of=""), replace(API, replicas=20)))
    assert error == Finding(
        Level.ERROR,
        "production: stage v",
        "there is a deployment/api-rollout that no run has made, so no copy of deployment/api can have that name; "
        "delete or rename it, or name a second Deployment as canary",
    )


async def test_a_copy_that_an_earlier_run_left_counts_and_is_told() -> None:
    (note,) = await found(staged(ALONE), with_copy(COPY, replace(API, replicas=18)))
    assert (note.level, note.sentence) == (
        Level.NOTE,
        "an earlier run has left deployment/api-rollout, a copy of deployment/api; it is taken over",
    )


async def test_pods_that_may_not_run_together_can_not_be_shared_out() -> None:
    api = replace(API, replicas=20, strategy="Recreate")
    (error,) = await found(staged(ALONE), with_copy(None, api))
    assert error.level is Level.ERROR
    assert error.sentence.startswith("deployment/api has the strategy Recreate")
