"""Argo CD, Flux and autoscalers, told by the traces that they leave."""

from typing import Any

import pytest

from orchestrator.adapters.kubernetes.keepers import keeper_of, owners_of
from orchestrator.adapters.kubernetes.scalers import scalers_of
from orchestrator.cluster_facts import Keeper, Keeping

ALL = {"replicas", "image of app", "image of first"}
IMAGE: dict[str, Any] = {"f:template": {"f:spec": {"f:containers": {'k:{"name":"app"}': {".": {}, "f:image": {}}}}}}


def deployment(
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    **managers: dict[str, Any],
) -> dict[str, Any]:
    """*managers*: of its spec, by name with ``_`` for ``-``."""
    entries = [
        {"manager": name.replace("_", "-"), "operation": "Apply", "fieldsV1": {"f:spec": tree}}
        for name, tree in managers.items()
    ]
    pod = {"containers": [{"name": "app", "image": "api:1"}], "initContainers": [{"name": "first", "image": "x:1"}]}
    metadata = {"name": "api", "namespace": "shop", "labels": labels or {}, "annotations": annotations or {}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**metadata, "managedFields": entries},
        "spec": {"replicas": 3, "template": {"spec": pod}},
    }


TRACKED = {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/api"}
FLUX = {"kustomize.toolkit.fluxcd.io/name": "shop", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}
HELM = {"helm.toolkit.fluxcd.io/name": "shop", "helm.toolkit.fluxcd.io/namespace": "shop"}


def paths(workload: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(one.tool, one.title, one.path) for one in owners_of(workload)]


@pytest.mark.parametrize(
    ("workload", "found"),
    (
        (deployment(), []),
        (deployment(labels={"app.kubernetes.io/instance": "shop"}), []),
        (deployment(helm={"f:replicas": {}}), []),
        (
            deployment(annotations=TRACKED),
            [
                (
                    "Argo CD",
                    "Application shop",
                    "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/shop",
                )
            ],
        ),
        (
            deployment(annotations={"argocd.argoproj.io/tracking-id": "team_shop:apps/Deployment:shop/api"}),
            [("Argo CD", "Application shop", "/apis/argoproj.io/v1alpha1/namespaces/team/applications/shop")],
        ),
        (
            deployment(labels={"app.kubernetes.io/instance": "shop"}, argocd_controller={"f:replicas": {}}),
            [
                (
                    "Argo CD",
                    "Application shop",
                    "/apis/argoproj.io/v1alpha1/namespaces/argocd/applications/shop",
                )
            ],
        ),
        (deployment(argocd_controller={"f:replicas": {}}), [("Argo CD", "Argo CD", "")]),
        (
            deployment(labels=FLUX),
            [
                (
                    "Flux",
                    "Kustomization shop",
                    "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/shop",
                )
            ],
        ),
        (
            deployment(labels=HELM),
            [("Flux", "HelmRelease shop", "/apis/helm.toolkit.fluxcd.io/v2/namespaces/shop/helmreleases/shop")],
        ),
        (deployment(kustomize_controller={"f:replicas": {}}), [("Flux", "Flux", "")]),
    ),
)
def test_who_keeps_a_workload_is_told_by_labels_annotations_and_field_managers(
    workload: dict[str, Any], found: list[tuple[str, str, str]]
) -> None:
    assert paths(workload) == found


def keeper(workload: dict[str, Any], settings: dict[str, Any] | None) -> Keeper:
    (owner,) = owners_of(workload)
    return keeper_of(owner, None if settings is None else {"spec": settings}, workload)


@pytest.mark.parametrize(
    ("managers", "fields"),
    (
        ({}, ALL),
        ({"argocd_controller": {"f:replicas": {}}}, {"replicas"}),
        ({"argocd_controller": IMAGE}, {"image of app"}),
        ({"argocd_controller": {"f:paused": {}}}, set()),
        ({"other": {"f:replicas": {}}}, ALL),
    ),
)
def test_what_it_keeps_is_what_it_manages_and_all_if_that_is_not_noted(
    managers: dict[str, Any], fields: set[str]
) -> None:
    assert set(keeper(deployment(annotations=TRACKED, **managers), None).fields) == fields


HEALS = {"syncPolicy": {"automated": {"selfHeal": True}}}


def ignoring(**entry: Any) -> dict[str, Any]:
    return {**HEALS, "ignoreDifferences": [entry]}


@pytest.mark.parametrize(
    ("settings", "keeping"),
    (
        (None, Keeping.HIDDEN),
        (HEALS, Keeping.PUT_BACK),
        ({}, Keeping.AT_NEXT_SYNC),
        ({"syncPolicy": {"automated": {}}}, Keeping.AT_NEXT_SYNC),
        ({"syncPolicy": {"automated": {"selfHeal": True, "enabled": False}}}, Keeping.AT_NEXT_SYNC),
        (ignoring(group="apps", kind="Deployment", jsonPointers=["/spec/replicas"]), Keeping.LEFT),
        (ignoring(group="apps", kind="Deployment", jqPathExpressions=[".spec.replicas"]), Keeping.LEFT),
        (ignoring(group="*", kind="*", managedFieldsManagers=["stagedrollout.io"]), Keeping.LEFT),
        (ignoring(group="apps", kind="Deployment", managedFieldsManagers=["other"]), Keeping.PUT_BACK),
        (ignoring(group="apps", kind="Deployment", jsonPointers=["/spec/template"]), Keeping.PUT_BACK),
        (ignoring(group="apps", kind="StatefulSet", jsonPointers=["/spec/replicas"]), Keeping.PUT_BACK),
        (ignoring(kind="Deployment", name="other", jsonPointers=["/spec/replicas"]), Keeping.PUT_BACK),
        (ignoring(kind="Deployment", namespace="other", jsonPointers=["/spec/replicas"]), Keeping.PUT_BACK),
    ),
)
def test_argo_puts_back_what_it_heals_by_itself_and_is_not_told_to_ignore(
    settings: dict[str, Any] | None, keeping: Keeping
) -> None:
    found = keeper(deployment(annotations=TRACKED), settings)
    assert found.fields["replicas"] is keeping
    assert "managedFieldsManagers: [stagedrollout.io]" in found.remedy


def test_an_image_is_ignored_by_an_expression_that_names_it() -> None:
    ignored = ignoring(
        kind="Deployment", jqPathExpressions=['.spec.template.spec.containers[] | select(.name == "a").image']
    )
    found = keeper(deployment(annotations=TRACKED), ignored)
    assert (found.fields["image of app"], found.fields["replicas"]) == (Keeping.LEFT, Keeping.PUT_BACK)


@pytest.mark.parametrize(
    ("labels", "settings", "keeping"),
    (
        (FLUX, None, Keeping.HIDDEN),
        (FLUX, {}, Keeping.PUT_BACK),
        (FLUX, {"suspend": True}, Keeping.LEFT),
        (HELM, {}, Keeping.AT_NEXT_SYNC),
        (HELM, {"driftDetection": {"mode": "enabled"}}, Keeping.PUT_BACK),
        (HELM, {"driftDetection": {"mode": "warn"}}, Keeping.AT_NEXT_SYNC),
        (HELM, {"suspend": True, "driftDetection": {"mode": "enabled"}}, Keeping.LEFT),
    ),
)
def test_flux_puts_back_what_it_applies_unless_it_is_suspended(
    labels: dict[str, str], settings: dict[str, Any] | None, keeping: Keeping
) -> None:
    found = keeper(deployment(labels=labels), settings)
    assert found.fields["replicas"] is keeping
    kind, namespace = ("kustomization", "flux-system") if labels is FLUX else ("helmrelease", "shop")
    assert f"flux suspend {kind} shop -n {namespace}" in found.remedy


@pytest.mark.parametrize(
    "annotation",
    ({"kustomize.toolkit.fluxcd.io/reconcile": "disabled"}, {"kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent"}),
)
def test_flux_leaves_an_object_that_says_so(annotation: dict[str, str]) -> None:
    assert keeper(deployment(labels=FLUX, annotations=annotation), {}).fields["replicas"] is Keeping.LEFT


# --- objects with flags -----------------------------------------------------------------------------------------------


def flags_of(kind: str, field: dict[str, Any], **content: Any) -> dict[str, Any]:
    """Applied by Argo CD, which manages one *field* of it."""
    entry = {"manager": "argocd-controller", "operation": "Apply", "fieldsV1": field}
    metadata = {"name": "flags", "namespace": "shop", "annotations": TRACKED, "managedFields": [entry]}
    version = "v1" if kind == "ConfigMap" else "core.openfeature.dev/v1beta1"
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **content}


CONFIG_MAP = flags_of("ConfigMap", {"f:data": {"f:flags.json": {}}}, data={"flags.json": "{}", "other": ""})
FEATURE_FLAG = flags_of(
    "FeatureFlag",
    {"f:spec": {"f:flagSpec": {"f:flags": {"f:new": {"f:state": {}}}}}},
    spec={"flagSpec": {"flags": {"new": {"state": "ENABLED"}, "other": {"state": "ENABLED"}}}},
)


@pytest.mark.parametrize(
    ("content", "name", "pointer"),
    (
        (CONFIG_MAP, "key flags.json", "/data/flags.json"),
        (FEATURE_FLAG, "flag new", "/spec/flagSpec/flags"),
    ),
)
def test_of_an_object_with_flags_each_that_git_has_is_kept(content: dict[str, Any], name: str, pointer: str) -> None:
    heals: dict[str, Any] = {"syncPolicy": {"automated": {"selfHeal": True}}}
    assert keeper(content, heals).fields == {name: Keeping.PUT_BACK}
    ignored = {"kind": content["kind"], "jsonPointers": [pointer]}
    assert keeper(content, {**heals, "ignoreDifferences": [ignored]}).fields == {name: Keeping.LEFT}
    other = {"kind": content["kind"], "jsonPointers": ["/metadata/labels"]}
    assert keeper(content, {**heals, "ignoreDifferences": [other]}).fields == {name: Keeping.PUT_BACK}


# --- autoscalers ------------------------------------------------------------------------------------------------------


def autoscaler(owner: str | None = None) -> dict[str, Any]:
    owners = [{"kind": owner, "name": "x"}] if owner else []
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
    return {
        "metadata": {"name": "hpa", "ownerReferences": owners},
        "spec": {"scaleTargetRef": target, "maxReplicas": 10},
    }


def scaled_object(annotations: dict[str, str] | None = None, **target: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "so", "annotations": annotations or {}},
        "spec": {"scaleTargetRef": {"name": "api", **target}, "minReplicaCount": 1},
    }


def test_an_autoscaler_sets_the_replicas_of_what_it_targets() -> None:
    (found,) = scalers_of([autoscaler()], [])
    assert (found.name, found.workload, found.least, found.most) == (
        "HorizontalPodAutoscaler hpa",
        "deployment/api",
        1,
        10,
    )
    assert "minReplicas and maxReplicas" in found.remedy


def test_a_scaled_object_stands_for_the_autoscaler_that_it_makes() -> None:
    (found,) = scalers_of([autoscaler(owner="ScaledObject")], [scaled_object()])
    assert (found.name, found.workload, found.least, found.most) == ("ScaledObject so", "deployment/api", 1, 100)
    assert "minReplicaCount" in found.remedy
    (other,) = scalers_of([], [scaled_object(kind="StatefulSet")])
    assert other.workload == "statefulset/api"


@pytest.mark.parametrize(
    ("annotations", "is_paused"),
    (
        ({"autoscaling.keda.sh/paused": "true"}, True),
        ({"autoscaling.keda.sh/paused": "false"}, False),
        ({"autoscaling.keda.sh/paused-replicas": "0"}, True),
    ),
)
def test_a_scaled_object_that_is_paused_sets_nothing(annotations: dict[str, str], is_paused: bool) -> None:
    assert bool(list(scalers_of([], [scaled_object(annotations)]))) is not is_paused
