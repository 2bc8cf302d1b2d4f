"""Plans held against a real API server before they are run: each thing that stands in the way is told, and how to mend
it. Nothing is changed by looking.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.kubernetes.client import Clusters
from orchestrator.adapters.kubernetes.review import ClusterReview
from orchestrator.survey_cluster import survey_cluster
from stages.load import load_plan
from tests.support.cluster import Cluster
from tests.support.ports import free_port
from tests.support.process import rollout_in
from tests.support.workloads import workload

PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: shop}
spec:
  kubernetes: %s
  stages:
    - name: go
      kind: steps
      steps:
"""
SCALE = "{scale: deployment/api, replicas: 3}"
IMAGE = "{image: deployment/api, container: app, to: 'shop:2'}"
APPLY = "{apply: k8s/objects.yaml}"
JOB = "{job: k8s/job.yaml, undo: none}"


@dataclass
class Review:
    """Plans of one namespace, looked at by one user."""

    cluster: Cluster
    namespace: str
    kubeconfig: Path
    files: dict[str, str] = field(default_factory=dict)

    async def of(self, *steps: str, **place: str) -> list[str]:
        """``error: sentence`` of each finding."""
        where = json.dumps({"namespace": self.namespace, **place})
        text = PLAN % where + "".join(f"        - {step}\n" for step in steps)
        files = {path: content.encode() for path, content in self.files.items()}
        plan = load_plan(text, "plan.yaml", {}, read_file=files.__getitem__)
        clusters = Clusters(str(self.kubeconfig))
        try:
            environment = plan.to_program().environment("production")
            found = await survey_cluster(plan.name, environment, ClusterReview(clusters))
        finally:
            await clusters.close()
        return [f"{one.level}: {one.sentence}" for one in found]

    async def of_one(self, *steps: str, **place: str) -> str:
        found = await self.of(*steps, **place)
        assert len(found) == 1, found
        return found[0]

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        return self.cluster.kubectl(*arguments, "--namespace", self.namespace, given=given)

    def apply(self, *objects: Mapping[str, Any]) -> None:
        self.cluster.apply(*({**one, "metadata": {**one["metadata"], "namespace": self.namespace}} for one in objects))

    def manifest(self, *objects: Mapping[str, Any]) -> None:
        """What the plan applies."""
        self.files["k8s/objects.yaml"] = "\n---\n".join(json.dumps(one) for one in objects)

    def job(self, image: str = "fill:1", **spec: object) -> None:
        """What the plan runs."""
        pod = {"restartPolicy": "Never", "containers": [{"name": "task", "image": image}]}
        content = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "fill"}}
        self.files["k8s/job.yaml"] = json.dumps({**content, "spec": {"template": {"spec": pod}, **spec}})


def config(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "limits"}, "data": data}


@pytest.fixture
def review(control_plane: Cluster, cluster_namespace: str) -> Review:
    made = Review(control_plane, cluster_namespace, control_plane.kubeconfig)
    made.apply(workload("api", "shop:1", replicas=2))
    return made


async def test_a_plan_that_fits_the_cluster_has_no_findings_and_changes_nothing(review: Review) -> None:
    review.manifest(config(most="5"), workload("workers", "shop:1"))
    review.job()
    before = review.kubectl("get", "deployments,replicasets,jobs,services,configmaps", "--output", "name")

    assert await review.of(SCALE, IMAGE, "{restart: deployment/api, undo: none}", APPLY, JOB) == []

    assert review.kubectl("get", "deployments,replicasets,jobs,services,configmaps", "--output", "name") == before


# --- where it is ------------------------------------------------------------------------------------------------------


async def test_a_cluster_that_is_away_is_named_with_the_reason(review: Review, tmp_path: Path) -> None:
    known = json.loads(review.kubeconfig.read_text())
    known["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{free_port()}"
    review.kubeconfig = tmp_path / "kubeconfig"
    review.kubeconfig.write_text(json.dumps(known))
    assert (await review.of_one(SCALE)).startswith("error: it can't be asked: Kubernetes (test)")


async def test_a_context_that_the_kubeconfig_lacks_is_told_with_those_that_there_are(review: Review) -> None:
    assert (await review.of_one(SCALE, context="tset")).endswith("has no context tset; it has test")


async def test_a_namespace_that_is_not_there_is_told_with_what_may_be_meant(review: Review) -> None:
    error = await review.of_one(SCALE, namespace=f"{review.namespace}x")
    assert error == f"error: there is no such namespace; did you mean {review.namespace!r}?"


async def test_a_namespace_that_the_plan_makes_is_not_missed(review: Review) -> None:
    name = f"{review.namespace}-new"
    inside = config(most="5")
    inside["metadata"]["namespace"] = name
    review.manifest({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, inside)
    assert await review.of(APPLY, namespace=name) == []


@pytest.fixture
def ending(control_plane: Cluster) -> Iterator[str]:
    """A namespace that is being deleted, and not gone yet."""
    with control_plane.namespace() as name:
        held = config()
        held["metadata"] |= {"namespace": name, "finalizers": ["test.example/held"]}
        control_plane.apply(held)
        control_plane.kubectl("delete", "namespace", name, "--wait=false")
        yield name
        patch = '{"metadata": {"finalizers": null}}'
        control_plane.kubectl("patch", "configmap", "limits", "--namespace", name, "--type=merge", "--patch", patch)


async def test_a_namespace_that_is_being_deleted_is_no_place_for_a_run(review: Review, ending: str) -> None:
    found = await review.of(SCALE, namespace=ending)
    assert found[0] == "error: it is being deleted; name another one, or wait until it is made again"


# --- what is there ----------------------------------------------------------------------------------------------------


async def test_a_workload_that_is_not_there_is_told_with_what_may_be_meant(review: Review) -> None:
    error = await review.of_one("{scale: deployment/apy, replicas: 3}")
    assert error == (
        f"error: there is no deployment/apy in namespace {review.namespace}; did you mean 'deployment/api'?"
    )


async def test_a_workload_that_an_earlier_step_makes_is_not_missed(review: Review) -> None:
    review.manifest(workload("workers", "shop:1"))
    note = await review.of_one(APPLY, "{scale: deployment/workers, replicas: 3}")
    assert note == "note: deployment/workers is not there yet; k8s/objects.yaml makes it"


async def test_a_container_that_is_not_there_is_told_with_those_that_there_are(review: Review) -> None:
    error = await review.of_one("{image: deployment/api, container: ap, to: 'shop:2'}")
    assert error == "error: deployment/api has no container ap (container); there are app"


# --- what is allowed --------------------------------------------------------------------------------------------------


async def test_what_is_not_allowed_is_granted_by_the_role_that_is_told(review: Review) -> None:
    review.manifest(config(most="5"))
    review.job(ttlSecondsAfterFinished=60)
    review.kubeconfig = review.cluster.kubeconfig_of("controller")

    error, warning = await review.of(SCALE, APPLY, JOB)

    said = (
        "error: controller may not get deployments.apps, patch deployments.apps, list pods, list replicasets.apps, "
        "get configmaps, create configmaps, patch configmaps, delete configmaps, get jobs.batch, create jobs.batch, "
        "delete jobs.batch, patch jobs.batch. This grants all that the plan needs: "
    )
    assert error.startswith(said)
    assert warning.startswith("warning: controller may not watch deployments.apps, list events, ")
    role, _, binding = error.removeprefix(said).partition(" (bind it with kubectl ")
    review.cluster.kubectl("apply", "--filename", "-", given=role)
    review.cluster.kubectl(*binding.removesuffix(")").split())
    assert await review.of(SCALE, APPLY, JOB) == []


async def test_what_stands_in_another_namespace_is_asked_for_there(review: Review) -> None:
    with review.cluster.namespace() as other:
        elsewhere = config(most="5")
        elsewhere["metadata"]["namespace"] = other
        review.manifest(elsewhere)
        review.kubeconfig = review.cluster.kubeconfig_of("controller")
        error = await review.of_one(APPLY)
    assert f"error: controller may not get configmaps in {other}, create configmaps in {other}" in error
    assert f'"metadata": {{"name": "rollout-shop", "namespace": "{other}"}}' in error


# --- who else sets it -------------------------------------------------------------------------------------------------


async def test_replicas_that_an_autoscaler_sets_are_not_scaled(review: Review) -> None:
    review.kubectl("autoscale", "deployment/api", "--min", "2", "--max", "9", "--cpu-percent", "50")

    error = await review.of_one(SCALE)

    assert error.startswith(
        "error: HorizontalPodAutoscaler api sets the replicas of deployment/api (2 to 9), "
        "and would undo what the plan sets; let the plan apply its minReplicas and maxReplicas instead"
    )
    assert await review.of(IMAGE) == []


async def test_replicas_that_keda_sets_are_not_scaled_unless_it_is_paused(review: Review) -> None:
    review.cluster.apply_crds("scaledobjects.keda.sh")
    scaled = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "api"},
        "spec": {
            "scaleTargetRef": {"name": "api"},
            "minReplicaCount": 2,
            "maxReplicaCount": 9,
            "triggers": [{"type": "cron", "metadata": {}}],
        },
    }
    review.apply(scaled)

    error = await review.of_one(SCALE)
    review.kubectl("annotate", "scaledobject", "api", "autoscaling.keda.sh/paused=true")
    paused = await review.of(SCALE)

    assert error.startswith("error: ScaledObject api sets the replicas of deployment/api (2 to 9)")
    assert paused == []


def by_argo(review: Review) -> None:
    """The Deployment as Argo CD leaves it: applied by its field manager, with its tracking."""
    kept = workload("api", "shop:1", replicas=2)
    tracking = {"argocd.argoproj.io/tracking-id": f"{review.namespace}:apps/Deployment:{review.namespace}/api"}
    kept["metadata"]["annotations"] = tracking
    arguments = ("--server-side", "--force-conflicts", "--field-manager=argocd-controller", "--filename", "-")
    review.kubectl("apply", *arguments, given=json.dumps(kept))


async def test_what_argo_keeps_is_not_changed_where_it_cannot_be_seen_that_it_leaves_it(review: Review) -> None:
    by_argo(review)

    (error,) = await review.of(SCALE)

    assert error.startswith(
        f"error: Argo CD (Application {review.namespace}) may put the replicas of deployment/api back, "
        "which can't be seen; take it out of Git, or let the Application ignore what the controller writes"
    )


APPLICATIONS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "applications.argoproj.io"},
    "spec": {
        "group": "argoproj.io",
        "scope": "Namespaced",
        "names": {"kind": "Application", "plural": "applications", "singular": "application"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                },
            }
        ],
    },
}


def application(review: Review, **spec: object) -> None:
    """How Argo CD is told to keep it, in its own namespace."""
    review.cluster.apply(APPLICATIONS, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "argocd"}})
    review.cluster.wait_established("applications.argoproj.io")
    content = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": review.namespace, "namespace": "argocd"},
        "spec": spec,
    }
    review.cluster.apply(content)


async def test_what_argo_puts_back_is_an_error_and_what_it_is_told_to_ignore_is_none(review: Review) -> None:
    by_argo(review)
    heals = {"automated": {"selfHeal": True}}
    application(review, syncPolicy=heals)
    kept = await review.of_one(IMAGE)
    entry = {"group": "apps", "kind": "Deployment", "managedFieldsManagers": ["stagedrollout.io"]}
    application(review, syncPolicy=heals, ignoreDifferences=[entry])
    ignored = await review.of_one(IMAGE)

    assert kept.startswith(
        f"error: Argo CD (Application {review.namespace}) keeps the image of app of deployment/api as Git has it, "
        "and puts it back"
    )
    assert ignored == (
        f"note: Argo CD (Application {review.namespace}) manages the image of app of deployment/api, "
        "and is told to leave it"
    )


# --- manifests --------------------------------------------------------------------------------------------------------


async def test_a_field_that_the_schema_lacks_is_told_with_its_object(review: Review) -> None:
    review.manifest(config(most="5"), workload("workers", "shop:1", progressDeadlineSecond=5))
    error = await review.of_one(APPLY)
    assert error.startswith("error: deployment/workers: ")
    assert ".spec.progressDeadlineSecond: field not declared in schema" in error


async def test_a_value_that_the_cluster_refuses_is_told(review: Review) -> None:
    review.manifest(workload("workers", "shop:1", replicas=-1))
    assert "spec.replicas: Invalid value: -1: must be greater than or equal to 0" in await review.of_one(APPLY)


async def test_a_kind_that_the_cluster_lacks_is_told(review: Review) -> None:
    review.manifest({"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": "w"}})
    assert "has no kind Widget of example.org/v1" in await review.of_one(APPLY)


async def test_a_field_that_somebody_else_manages_is_told_with_his_name(review: Review) -> None:
    review.apply(config(most="5"))
    review.manifest(config(most="6"))
    assert await review.of_one(APPLY) == (
        "error: configmap/limits: data.most belongs to kubectl-client-side-apply, with another value; "
        "take that out of k8s/objects.yaml, or out of what kubectl-client-side-apply applies"
    )


async def test_a_quota_that_is_used_up_is_told(review: Review) -> None:
    review.kubectl("create", "quota", "small", "--hard=count/configmaps=1")
    review.manifest(config(most="6"))
    assert "exceeded quota: small" in await review.of_one(APPLY)


async def test_a_job_is_tried_too(review: Review) -> None:
    review.job(backofLimit=1)
    assert 'unknown field "spec.backofLimit"' in await review.of_one(JOB)
    assert review.kubectl("get", "jobs", "--output", "name") == ""


# --- the command ------------------------------------------------------------------------------------------------------


def test_rollout_validate_asks_the_cluster_unless_it_is_told_not_to(review: Review, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN % f"{{namespace: {review.namespace}}}" + "        - {scale: deployment/apy, replicas: 3}\n")
    with rollout_in(tmp_path, KUBECONFIG=str(review.kubeconfig)) as rollout:
        asked = rollout.run("validate", plan)
        offline = rollout.run("validate", plan, "--offline")
    assert asked.code == 1
    assert (
        "error: production: stage go, scale deployment/apy to 3: "
        f"there is no deployment/apy in namespace {review.namespace}; did you mean 'deployment/api'?"
    ) in asked.output
    assert offline.code == 0
