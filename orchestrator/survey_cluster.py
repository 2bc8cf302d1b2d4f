"""What a plan does on Kubernetes, put to the clusters before the run: is it there, allowed, and nobody else's business?

The acts of an environment say what is to be asked of each place (``_questions``); what is answered are plain facts
(``cluster_facts.py``), and what these mean for each act is judged here, without asking anybody. Nothing is changed.
"""

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from orchestrator.cluster_facts import (
    ClusterFacts,
    ClusterReader,
    Keeper,
    Keeping,
    Manifest,
    NamespaceState,
    Need,
    Questions,
    Right,
    WorkloadFacts,
)
from orchestrator.findings import Finding, Level
from orchestrator.survey_versions import of_version
from stages.actions import ApplyAction, ImageAction, JobAction, RestartAction, ScaleAction
from stages.actions.workload import ClusterAction, VersionAction
from stages.cluster import Kubernetes, ObjectRef
from stages.command_pod import CommandPod
from stages.flag_systems import placed_in_clusters
from stages.manifests import HOLDS_MORE, ManifestObject, job_of, objects_of
from stages.problems import listed, suggestion
from stages.reach import reachable_acts
from stages.step import Act, EnvironmentProgram

APPS = "apps/v1"
KINDS = {"deployment": "Deployment", "statefulset": "StatefulSet", "daemonset": "DaemonSet"}
AUTOSCALERS = (("autoscaling/v2", "HorizontalPodAutoscaler"), ("keda.sh/v1alpha1", "ScaledObject"))
MOST_SHOWN = 8


async def survey_cluster(plan: str, environment: EnvironmentProgram, reader: ClusterReader) -> list[Finding]:
    """Each finding once, in the order of the plan. Bounded by the time limits of what is asked."""
    uses, flags, pod = list(_uses(environment)), list(_flags(environment)), environment.site.command_pod
    places = list(dict.fromkeys([*(use.place for use in uses), *(flag.place for flag in flags)]))
    places += [pod.place] if pod is not None and pod.place not in places else []
    facts = await asyncio.gather(*(reader.look(_questions(place, uses, flags, pod)) for place in places))
    found: dict[Finding, None] = {}
    for place, known in zip(places, facts, strict=True):
        here = [use for use in uses if use.place == place]
        found |= dict.fromkeys(_of_place(plan, environment.name, known, here))
        for use in here:
            found |= dict.fromkeys(_of_use(use, known, here))
        for flag in flags:
            if flag.place == place:
                found |= dict.fromkeys(_of_flag(flag, known))
        found |= dict.fromkeys(_of_commands(environment.name, known))
    return list(found)


@dataclass(frozen=True, slots=True)
class _Use:
    """One thing that a plan does in a cluster, and where it says so."""

    where: str
    action: ClusterAction
    place: Kubernetes
    text: str = ""  # of its manifest

    @property
    def workloads(self) -> tuple[str, ...]:
        match self.action:
            case ScaleAction(scale=workload) | ImageAction(image=workload) | RestartAction(restart=workload):
                return (workload,)
            case VersionAction():
                return (self.action.workload, *((self.action.canary,) if self.action.canary is not None else ()))
            case _:
                return ()

    @property
    def copies(self) -> tuple[str, ...]:
        """Workloads that the run makes, and that need not be there."""
        action = self.action
        return (action.second,) if isinstance(action, VersionAction) and action.is_made else ()

    @property
    def manifest(self) -> Manifest | None:
        match self.action:
            case ApplyAction():
                return Manifest(self.action.apply, self.text)
            case JobAction():
                return Manifest(self.action.job, self.text, is_job=True)
            case _:
                return None

    @property
    def applied(self) -> tuple[ManifestObject, ...]:
        return objects_of(self.text) if isinstance(self.action, ApplyAction) else ()

    def makes(self, workload: str, place: Kubernetes) -> bool:
        """Whether it applies a workload of the *place* (unless the manifest names another namespace)."""
        return any(
            one.title == workload and one.api_version == APPS and one.namespace in (None, place.namespace)
            for one in self.applied
        )


@dataclass(frozen=True, slots=True)
class _Flag:
    """A flag in an object of a cluster: *field* is what a run changes of it."""

    where: str
    place: Kubernetes
    object: ObjectRef
    field: str


def _flags(environment: EnvironmentProgram) -> Iterator[_Flag]:
    for key, system, one in placed_in_clusters(environment.flags):
        yield _Flag(f"{environment.name}: flag {key}", system.cluster, one, system.field_of(key))


def _uses(environment: EnvironmentProgram) -> Iterator[_Use]:
    for act in reachable_acts(environment):
        action = act.action
        if not isinstance(action, ClusterAction):
            continue
        file = action.apply if isinstance(action, ApplyAction) else action.job if isinstance(action, JobAction) else ""
        yield _Use(_where(environment, act), action, action.place(act.site), act.site.files.get(file, ""))


def _where(environment: EnvironmentProgram, act: Act) -> str:
    """A version stage is told of once, and not at each of its steps."""
    stage = environment.stage(act.site.stage)
    inside = f"stage {act.site.stage}" if stage is not None else act.site.stage
    if isinstance(act.action, VersionAction):
        return f"{environment.name}: {inside}"
    return f"{environment.name}: {inside}, {act.label}" if inside else f"{environment.name}: {act.label}"


# --- what is asked ----------------------------------------------------------------------------------------------------


def _questions(place: Kubernetes, uses: Sequence[_Use], flags: Sequence[_Flag], pod: CommandPod | None) -> Questions:
    commands = pod if pod is not None and pod.place == place else None
    here = [use for use in uses if use.place == place]
    objects = tuple(dict.fromkeys(flag.object for flag in flags if flag.place == place))
    of_flags = (Need(verb, one.api_version, one.kind, name=one.name) for one in objects for verb in ("get", "patch"))
    return Questions(
        place,
        workloads=tuple(dict.fromkeys(workload for use in here for workload in (*use.workloads, *use.copies))),
        objects=objects,
        needs=tuple(
            dict.fromkeys((*(need for use in here for need in _needs(use)), *of_flags, *_to_command(commands)))
        ),
        manifests=tuple(dict.fromkeys(use.manifest for use in here if use.manifest is not None)),
        commands=commands,
    )


def _needs(use: _Use) -> Iterator[Need]:
    for workload in use.workloads:
        kind = KINDS[workload.partition("/")[0]]
        yield from (Need(verb, APPS, kind) for verb in ("get", "patch"))
        yield from _to_wait(APPS, kind, None)
    if use.copies:
        yield from (Need(verb, APPS, "Deployment") for verb in ("create", "delete"))
    if isinstance(use.action, ScaleAction | VersionAction):
        yield from (Need("list", version, kind, is_needed=False) for version, kind in AUTOSCALERS)
    for one in use.applied:
        yield from _to_apply(one)
    if isinstance(use.action, JobAction):
        yield from _to_run(job_of(use.text))


def _to_apply(one: ManifestObject) -> Iterator[Need]:
    verbs = ("get", "create", "patch", *(() if one.kind in HOLDS_MORE else ("delete",)))
    yield from (Need(verb, one.api_version, one.kind, namespace=one.namespace) for verb in verbs)
    if one.api_version == APPS and one.kind in KINDS.values():
        yield from _to_wait(APPS, one.kind, one.namespace)


def _to_run(job: ManifestObject) -> Iterator[Need]:
    has_ttl = "ttlSecondsAfterFinished" in (job.content.get("spec") or {})
    for verb in ("get", "create", "delete", *(("patch",) if has_ttl else ())):
        yield Need(verb, job.api_version, job.kind, namespace=job.namespace)
    yield from _to_wait(job.api_version, job.kind, job.namespace)
    yield Need("get", "v1", "Pod", "log", job.namespace, is_needed=False)


def _to_command(pod: CommandPod | None) -> Iterator[Need]:
    """Of commands that run as Jobs."""
    if pod is None:
        return
    yield from (Need(verb, "batch/v1", "Job") for verb in ("get", "create", "patch", "delete"))
    yield from _to_wait("batch/v1", "Job", None)
    yield Need("get", "v1", "Pod", "log")
    if pod.has_files:
        yield Need("create", "v1", "ConfigMap")
    if pod.has_secrets:
        yield Need("create", "v1", "Secret")


def _to_wait(api_version: str, kind: str, namespace: str | None) -> Iterator[Need]:
    """Pods, and what makes them, are looked at: are they ready, and why not? The rest makes it faster, or says more."""
    yield Need("list", "v1", "Pod", namespace=namespace)
    if kind == "Deployment":
        yield Need("list", APPS, "ReplicaSet", namespace=namespace)
    yield Need("watch", api_version, kind, namespace=namespace, is_needed=False)
    yield Need("list", "v1", "Event", namespace=namespace, is_needed=False)


# --- what it means for the place --------------------------------------------------------------------------------------


def _of_place(plan: str, environment: str, facts: ClusterFacts, uses: Sequence[_Use]) -> Iterator[Finding]:
    where = f"{environment}: namespace {facts.namespace} of {facts.title}" if facts.namespace else environment
    if facts.failure:
        yield Finding(Level.ERROR, where, f"it can't be asked: {facts.failure}")
        return
    if facts.namespace_state is NamespaceState.TERMINATING:
        yield Finding(Level.ERROR, where, "it is being deleted; name another one, or wait until it is made again")
    if facts.namespace_state is NamespaceState.ABSENT and not _is_made(facts.namespace, uses):
        near = suggestion(facts.namespace, facts.names) or _there_are(facts.names)
        yield Finding(Level.ERROR, where, f"there is no such namespace{near}")
    yield from _rights(plan, where, facts)


def _is_made(namespace: str, uses: Sequence[_Use]) -> bool:
    objects = (one for use in uses for one in use.applied)
    return any((one.kind, one.name) == ("Namespace", namespace) for one in objects)


def _there_are(names: Sequence[str]) -> str:
    if not names:
        return ""
    shown = sorted(names)[:MOST_SHOWN]
    return f"; there are {listed(shown, 'and')}" if len(shown) == len(names) else f"; there are {', '.join(shown)}, ..."


def _rights(plan: str, where: str, facts: ClusterFacts) -> Iterator[Finding]:
    who = facts.user or "the controller"
    for is_needed, level, outcome in (
        (True, Level.ERROR, ""),
        (False, Level.WARNING, ", so less is seen and said"),
    ):
        missing = [one for one in facts.rights if not one.is_granted and one.is_needed is is_needed]
        if missing:
            words = ", ".join(dict.fromkeys(_right_words(one, facts.namespace) for one in missing))
            granting = "; ".join(_roles(plan, facts))
            yield Finding(
                level, where, f"{who} may not {words}{outcome}. This grants all that the plan needs: {granting}"
            )


def _right_words(right: Right, namespace: str) -> str:
    elsewhere = right.namespace != namespace
    return right.words + (f" in {right.namespace or 'the whole cluster'}" if elsewhere else "")


def _roles(plan: str, facts: ClusterFacts) -> Iterator[str]:
    """Roles with all that the plan needs, as YAML in one line each, and whom to bind them to."""
    for namespace in dict.fromkeys(one.namespace for one in facts.rights):
        rights = [one for one in facts.rights if one.namespace == namespace]
        rules: dict[tuple[str, str, str], dict[str, None]] = {}
        for one in rights:
            rules.setdefault((one.group, one.resource, one.name), {})[one.verb] = None
        role = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role" if namespace else "ClusterRole",
            "metadata": {"name": f"rollout-{plan}", **({"namespace": namespace} if namespace else {})},
            "rules": [_rule(*what, list(verbs)) for what, verbs in rules.items()],
        }
        yield f"{json.dumps(role)} (bind it with {_binding(plan, namespace, facts.user)})"


def _rule(group: str, resource: str, name: str, verbs: list[str]) -> dict[str, list[str]]:
    named = {"resourceNames": [name]} if name else {}
    return {"apiGroups": [group], "resources": [resource], **named, "verbs": verbs}


def _binding(plan: str, namespace: str, user: str) -> str:
    kind, inside = ("rolebinding", f" -n {namespace} --role") if namespace else ("clusterrolebinding", " --clusterrole")
    account = user.removeprefix("system:serviceaccount:")
    subject = f"--serviceaccount={account}" if account != user else f"--user={user or 'USER'}"
    return f"kubectl create {kind} rollout-{plan}{inside}=rollout-{plan} {subject}"


# --- what it means for one act ----------------------------------------------------------------------------------------


def _of_use(use: _Use, facts: ClusterFacts, uses: Sequence[_Use]) -> Iterator[Finding]:
    if facts.failure:
        return
    for workload in use.workloads:
        if workload not in facts.workloads:
            continue
        known = facts.workloads[workload]
        if known is None:
            yield _absent(use, workload, facts, uses)
            continue
        yield from (Finding(level, use.where, words) for level, words in _of_workload(use, workload, known, facts))
    if isinstance(use.action, VersionAction):
        yield from of_version(use.action, use.where, facts)
    for trial in facts.trials:
        if use.manifest is not None and trial.file == use.manifest.file and trial.failure:
            yield Finding(Level.ERROR, use.where, f"{trial.title}: {trial.failure}")


def _of_commands(environment: str, facts: ClusterFacts) -> Iterator[Finding]:
    for trial in facts.trials:
        if not trial.file and trial.failure:
            yield Finding(Level.ERROR, f"{environment}: commands", f"{trial.title}: {trial.failure}")


def _of_flag(flag: _Flag, facts: ClusterFacts) -> Iterator[Finding]:
    for keeper in facts.keepers.get(flag.object, ()):
        kept = _kept(flag.object.title, keeper, [flag.field] if flag.field in keeper.fields else [])
        yield from (Finding(level, flag.where, words) for level, words in kept)


def _absent(use: _Use, workload: str, facts: ClusterFacts, uses: Sequence[_Use]) -> Finding:
    maker = next((one for one in uses if one.makes(workload, use.place)), None)
    if maker is not None and maker.manifest is not None:
        return Finding(Level.NOTE, use.where, f"{workload} is not there yet; {maker.manifest.file} makes it")
    near = suggestion(workload, facts.names) or _there_are(facts.names)
    return Finding(Level.ERROR, use.where, f"there is no {workload} in namespace {facts.namespace}{near}")


def _of_workload(use: _Use, workload: str, known: WorkloadFacts, facts: ClusterFacts) -> Iterator[tuple[Level, str]]:
    action, changed = use.action, []
    if isinstance(action, ImageAction | VersionAction):
        container = action.container or (next(iter(known.containers)) if len(known.containers) == 1 else None)
        if container not in known.containers:
            there = listed(sorted(known.containers), "and")
            what = f"no container {container}" if container else "more than one container; name the one that is meant"
            yield Level.ERROR, f"{workload} has {what} (container); there are {there}"
        else:
            changed.append(f"image of {container}")
    if isinstance(action, ScaleAction | VersionAction):
        changed.append("replicas")
        yield from ((Level.ERROR, words) for words in _autoscaled(workload, facts))
    for keeper in known.keepers:
        yield from _kept(workload, keeper, [name for name in changed if name in keeper.fields])


def _autoscaled(workload: str, facts: ClusterFacts) -> Iterator[str]:
    for one in facts.scalers:
        if one.workload == workload:
            yield (
                f"{one.name} sets the replicas of {workload} ({one.least} to {one.most}), "
                f"and would undo what the plan sets; {one.remedy}"
            )


def _kept(workload: str, keeper: Keeper, changed: Iterable[str]) -> Iterator[tuple[Level, str]]:
    for name in changed:
        about = f"{keeper.tool} ({keeper.name})" if keeper.name != keeper.tool else keeper.tool
        field = f"the {name} of {workload}"
        match keeper.fields[name]:
            case Keeping.PUT_BACK:
                yield Level.ERROR, f"{about} keeps {field} as Git has it, and puts it back; {keeper.remedy}"
            case Keeping.HIDDEN:
                see = f", and let the controller read {keeper.path} to see it" if keeper.path else ""
                yield Level.ERROR, f"{about} may put {field} back, which can't be seen; {keeper.remedy}{see}"
            case Keeping.AT_NEXT_SYNC:
                yield Level.WARNING, f"{about} puts {field} back when it syncs next; {keeper.remedy}"
            case Keeping.LEFT:
                yield Level.NOTE, f"{about} manages {field}, and is told to leave it"
