"""Argo CD and Flux, by the traces that they leave on a workload: what they keep as Git has it, and whether they put it
back. Pure.

That a workload is theirs is told by labels, annotations and field managers; which of its fields, by ``managedFields``
(if there are none of theirs, all). Whether they put a field back is told by the object that they are configured by.

Reference: Argo CD's documentation on resource tracking and diffing, Flux's on Kustomization and HelmRelease.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.adapters.kubernetes.fields import has_field, trees_of
from orchestrator.adapters.kubernetes.marks import Path, item
from orchestrator.cluster_facts import Keeper, Keeping
from stages.cluster import FIELD_MANAGER

ARGO_MANAGERS = ("argocd-controller", "argocd-application-controller")
ARGO_NAMESPACE = "argocd"
_ARGO_TRACKING = "argocd.argoproj.io/tracking-id"
_ARGO_INSTANCE = ("argocd.argoproj.io/instance", "app.kubernetes.io/instance")
_FLUX_SWITCHES = {
    "kustomize.toolkit.fluxcd.io/reconcile": ("disabled",),
    "kustomize.toolkit.fluxcd.io/ssa": ("ignore", "ifnotpresent"),
}
_POINTERS = {"image": ("image",), "key": ("/data", ".data"), "flag": ("flagSpec",)}
"""What in a path of Argo CD's says that it is a field's, by the field's first word."""
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Owner:
    """The object by which a tool is told to keep a workload: where it is looked up. *name* is empty if that is not
    known."""

    tool: str
    kind: str
    path: str
    name: str
    namespace: str
    managers: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"{self.kind} {self.name}" if self.name else self.tool


def owners_of(workload: Json) -> Iterator[Owner]:
    """Who keeps a workload."""
    metadata = workload.get("metadata") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    managers = {entry.get("manager") for entry in metadata.get("managedFields") or ()}
    yield from _argo(labels, annotations, managers)
    for group, kind, manager in (("kustomize", "Kustomization", "kustomize"), ("helm", "HelmRelease", "helm")):
        prefix = f"{group}.toolkit.fluxcd.io"
        name, namespace = labels.get(f"{prefix}/name", ""), labels.get(f"{prefix}/namespace", "")
        controller = f"{manager}-controller"
        if name or controller in managers:
            version = "v1" if group == "kustomize" else "v2"
            path = f"/apis/{prefix}/{version}/namespaces/{namespace}/{kind.lower()}s/{name}" if name else ""
            yield Owner("Flux", kind, path, name, namespace, (controller,))


def _argo(labels: Json, annotations: Json, managers: set[Any]) -> Iterator[Owner]:
    tracked = str(annotations.get(_ARGO_TRACKING, "")).partition(":")[0]
    is_written = not managers.isdisjoint(ARGO_MANAGERS)
    label = labels.get(_ARGO_INSTANCE[0]) or (labels.get(_ARGO_INSTANCE[1], "") if is_written else "")
    named = tracked or label
    if not named and not is_written:
        return
    namespace, _, name = named.rpartition("_")
    namespace = namespace or ARGO_NAMESPACE
    path = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/applications/{name}" if name else ""
    yield Owner("Argo CD", "Application", path, name, namespace, ARGO_MANAGERS)


def keeper_of(owner: Owner, settings: Json | None, workload: Json) -> Keeper:
    """*settings*: the owner's object, None if it could not be read."""
    fields = {name: _keeping(owner, settings, workload, name) for name in _managed(owner, workload)}
    return Keeper(owner.tool, owner.title, fields, _remedy(owner), owner.path)


def _managed(owner: Owner, workload: Json) -> Iterator[str]:
    """The fields that it manages, of those that plans change."""
    trees = trees_of(workload, owner.managers)
    for name, path in _paths(workload):
        if not trees or any(has_field(tree, path) for tree in trees):
            yield name


def _paths(content: Json) -> Iterator[tuple[str, Path]]:
    match content.get("kind"):
        case "ConfigMap":
            yield from ((f"key {key}", ("f:data", f"f:{key}")) for key in content.get("data") or {})
        case "FeatureFlag":
            flags = ((content.get("spec") or {}).get("flagSpec") or {}).get("flags") or {}
            yield from ((f"flag {key}", ("f:spec", "f:flagSpec", "f:flags", f"f:{key}")) for key in flags)
        case _:
            yield from _paths_of_workload(content)


def _paths_of_workload(workload: Json) -> Iterator[tuple[str, Path]]:
    yield "replicas", ("f:spec", "f:replicas")
    pod = ((workload.get("spec") or {}).get("template") or {}).get("spec") or {}
    for field in ("containers", "initContainers"):
        for one in pod.get(field) or ():
            path = ("f:spec", "f:template", "f:spec", f"f:{field}", item(name=one["name"]), "f:image")
            yield f"image of {one['name']}", path


def _keeping(owner: Owner, settings: Json | None, workload: Json, name: str) -> Keeping:
    annotations = (workload.get("metadata") or {}).get("annotations") or {}
    if any(str(annotations.get(key, "")).lower() in off for key, off in _FLUX_SWITCHES.items()):
        return Keeping.LEFT
    if settings is None:
        return Keeping.HIDDEN
    spec = settings.get("spec") or {}
    if owner.kind == "Application":
        return _of_application(spec, workload, name)
    if spec.get("suspend"):
        return Keeping.LEFT
    if owner.kind == "HelmRelease":
        is_corrected = (spec.get("driftDetection") or {}).get("mode") == "enabled"
        return Keeping.PUT_BACK if is_corrected else Keeping.AT_NEXT_SYNC
    return Keeping.PUT_BACK


def _of_application(spec: Json, workload: Json, name: str) -> Keeping:
    if any(_ignores(one, workload, name) for one in spec.get("ignoreDifferences") or ()):
        return Keeping.LEFT
    automated = (spec.get("syncPolicy") or {}).get("automated")
    if automated is None or automated.get("enabled") is False or not automated.get("selfHeal"):
        return Keeping.AT_NEXT_SYNC
    return Keeping.PUT_BACK


def _ignores(entry: Json, workload: Json, name: str) -> bool:
    metadata = workload.get("metadata") or {}
    group = str(workload.get("apiVersion", "")).partition("/")[0]
    asked = {"group": group, "kind": workload.get("kind"), **{key: metadata.get(key) for key in ("name", "namespace")}}
    if any(entry.get(key) not in (None, "", "*", value) for key, value in asked.items()):
        return False
    if FIELD_MANAGER in (entry.get("managedFieldsManagers") or ()):
        return True
    words = _POINTERS.get(name.partition(" ")[0], (name,))
    paths = [text for key in ("jsonPointers", "jqPathExpressions") for text in entry.get(key) or ()]
    return any(word in text for word in words for text in paths)


def _remedy(owner: Owner) -> str:
    if owner.tool == "Argo CD":
        ignore = f"ignoreDifferences with managedFieldsManagers: [{FIELD_MANAGER}]"
        return f"take it out of Git, or let the Application ignore what the controller writes ({ignore})"
    suspend = f"flux suspend {owner.kind.lower()} {owner.name} -n {owner.namespace}" if owner.name else "flux suspend"
    return f"take it out of Git, or suspend it for the time of the run ({suspend})"
