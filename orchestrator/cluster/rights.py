"""What a plan does in the cluster, as questions to its RBAC: who may write the plan must himself be allowed all of it,
or the controller's rights would be everybody's. Pure.

Asked are the verbs that the way forward and the way back need. Of objects that grant rights themselves (Roles and
their bindings) it is asked too whether the creator may give away what he has not.
"""

from collections.abc import Iterator
from dataclasses import replace

from orchestrator.cluster_port import Access, Identity
from orchestrator.crd.objects import MOST_GROUPS
from stages.actions import Action, ApplyAction, ImageAction, JobAction, RestartAction, ScaleAction
from stages.actions.workload import VersionAction
from stages.cluster import Kubernetes
from stages.flag_systems import placed_in_clusters
from stages.load import LoadedPlan
from stages.manifests import ManifestObject, job_of, objects_of
from stages.reach import reachable_acts
from stages.step import Act
from stages.values import SecretRef
from stages.walk import places

APPS = "apps/v1"
RBAC = "rbac.authorization.k8s.io"
_KINDS = {"deployment": "Deployment", "statefulset": "StatefulSet", "daemonset": "DaemonSet"}
APPLY_VERBS = ("create", "patch", "delete")
_OF_EVERYBODY = ("system:authenticated", "system:unauthenticated", "system:serviceaccounts")


def groups_to_name(me: Identity) -> tuple[str, ...]:
    """Of the groups that somebody is in, those that do not follow from the name. As many as may be named."""
    own = [group for group in me.groups if not group.startswith(_OF_EVERYBODY) and "\n" not in group]
    return tuple(own[:MOST_GROUPS])


def accesses(plan: LoadedPlan) -> tuple[Access, ...]:
    """Everything to ask, each once, in the order of the plan."""
    acts = (act for environment in plan.to_program().environments for act in reachable_acts(environment))
    found = dict.fromkeys(access for act in acts for access in _of_action(act.action, act))
    return tuple(found | dict.fromkeys((*_commands(plan), *_flags(plan), *_secrets(plan))))


def _commands(plan: LoadedPlan) -> Iterator[Access]:
    """To Kubernetes, who may make Jobs in a namespace may run them as any of its service accounts. (Which of them plans
    may name is a setting of the controller.)"""
    for environment in plan.to_program().environments:
        pod = environment.site.command_pod
        if pod is not None:
            yield Access("create", "batch/v1", "Job", pod.place.namespace or "", "")


def _flags(plan: LoadedPlan) -> Iterator[Access]:
    """Those that are kept in objects of the cluster."""
    for environment in plan.to_program().environments:
        for _, system, one in placed_in_clusters(environment.flags):
            yield Access("patch", one.api_version, one.kind, system.cluster.namespace or "", one.name)


def _secrets(plan: LoadedPlan) -> Iterator[Access]:
    """Whoever may write a plan could send a secret anywhere with it."""
    for _, document in plan.documents:
        for place in places(document):
            if isinstance(place.part, SecretRef) and place.part.secret is not None:
                yield Access("get", "v1", "Secret", "", place.part.secret.partition("/")[0])


def _of_action(action: Action, act: Act) -> Iterator[Access]:
    match action:
        case ScaleAction():
            yield _patch(action.scale, action.place(act.site))
        case ImageAction():
            yield _patch(action.image, action.place(act.site))
        case RestartAction():
            yield _patch(action.restart, action.place(act.site))
        case VersionAction():
            second = _patch(action.second, action.place(act.site))
            yield from (_patch(action.workload, action.place(act.site)), second)
            if action.is_made:
                yield from (replace(second, verb=verb) for verb in ("create", "delete"))
        case ApplyAction():
            place = action.place(act.site)
            for one in objects_of(act.site.files.get(action.apply, "")):
                yield from _applied(one, place)
        case JobAction():
            job = job_of(act.site.files.get(action.job, ""))
            place = action.place(act.site)
            yield Access("create", job.api_version, job.kind, job.namespace or place.namespace or "", job.name)
        case _:
            return


def _patch(workload: str, place: Kubernetes) -> Access:
    kind, _, name = workload.partition("/")
    return Access("patch", APPS, _KINDS[kind], place.namespace or "", name)


def _applied(one: ManifestObject, place: Kubernetes) -> Iterator[Access]:
    namespace = one.namespace or place.namespace or ""
    for verb in APPLY_VERBS:
        yield Access(verb, one.api_version, one.kind, namespace, one.name)
    if one.api_version.partition("/")[0] != RBAC:
        return
    if one.kind in ("Role", "ClusterRole"):
        yield Access("escalate", one.api_version, one.kind, namespace, one.name)
    granted = one.content.get("roleRef")
    if isinstance(granted, dict):
        kind, name = str(granted.get("kind", "Role")), str(granted.get("name", ""))
        yield Access("bind", one.api_version, kind, namespace, name)
