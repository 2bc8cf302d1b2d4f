"""From plan documents to a ``Program``: one document for each environment (``${NAME}`` may differ between them)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from weakref import WeakValueDictionary

from stages.actions.flag import FlagAction
from stages.budget import ALPHA, Budget, Pool, look_key
from stages.checks import Approval
from stages.cluster import Kubernetes
from stages.command_pod import CommandPod, Resources
from stages.flag_spec import FlagChange
from stages.flag_systems import Surroundings, placed_flags
from stages.gates import Gate
from stages.kinds.base import Context, acts, for_environment, names, rollback_program, to_bake
from stages.plan import AnyWatch, EnvironmentSection, PlanSpec, StagedRollout
from stages.step import Act, EnvironmentProgram, Guard, Program, StageProgram, WatchPhase
from stages.triggers import DisableAction, SetAction, Trigger
from stages.values import Json, SecretRef
from stages.walk import Place, places
from stages.windows import Window

DEFAULT_ENVIRONMENT = "production"

_gates: WeakValueDictionary[str, Gate] = WeakValueDictionary()  # by what is written of them; of programs that are here


def environment_names(spec: PlanSpec) -> tuple[str, ...]:
    return tuple(section.name for section in spec.environments) or (DEFAULT_ENVIRONMENT,)


def compile_plan(
    documents: Sequence[tuple[str, StagedRollout]],
    digest: str,
    files: Mapping[str, str],
    directory: str | None = None,
) -> Program:
    """The program of a plan. *documents* are pairs of an environment's name and the plan as expanded for it."""
    spec = documents[0][1].spec
    environments = tuple(_environment(name, document, dict(files)) for name, document in documents)
    return Program(
        name=documents[0][1].metadata.name,
        digest=digest,
        guard=Guard("plan", for_environment(spec.checks, documents[0][0]), spec.approval),
        windows=_windows(spec.window),
        environments=environments,
        success=documents[-1][1].spec.success,  # what is expanded for the environment in which it is judged
        follow_up=spec.follow_up,
        notify=spec.notify,
        about=_about(spec),
        budget=_budget(environments),
        directory=directory,
    )


def _about(spec: PlanSpec) -> dict[str, Json]:
    """What a plan says of itself to people."""
    given = spec.model_dump(mode="json", include={"owner", "description", "links", "contacts"}, exclude_none=True)
    return {key: value for key, value in given.items() if value}


def _windows(window: Window | None) -> tuple[Window, ...]:
    return (window,) if window is not None else ()


def _environment(name: str, document: StagedRollout, files: dict[str, str]) -> EnvironmentProgram:
    spec, own = document.spec, Kubernetes(namespace=document.metadata.namespace)
    section = next((entry for entry in spec.environments if entry.name == name), None) or EnvironmentSection(name=name)
    kubernetes = (section.kubernetes or Kubernetes()).or_else(spec.kubernetes).or_else(own)
    flags = placed_flags(spec.flags, spec.flag_systems, Surroundings(name, section.flag_systems, kubernetes))
    context = Context(
        environment=name,
        files=files,
        flags=flags,
        database=section.database or spec.database,
        command_dir=spec.commands.dir,
        command_vars=spec.commands.vars,
        command_timeout_seconds=spec.commands.timeout,
        bake=to_bake(section.bake),
        percentages=section.percentages,
        kubernetes=kubernetes,
        command_pod=_command_pod(document, kubernetes, files),
    )
    triggers = for_environment(spec.triggers, name)
    return EnvironmentProgram(
        name=name,
        guard=Guard(f"environment:{name}", for_environment(section.checks, name), section.approval),
        stages=tuple(stage.compile(context) for stage in for_environment(spec.stages, name)),
        windows=_windows(section.window),
        watch=_watch(section.watch if section.watch is not None else spec.watch, name),
        sign_off=_sign_off(section, spec),
        flags=flags,
        gates={key: _gate(gate, name) for key, gate in spec.gates.items()},
        triggers=triggers,
        trigger_acts={trigger.name: _trigger_acts(trigger, context) for trigger in triggers},
        rollback=rollback_program(spec.rollback, context.site("rollback")),
        prometheus=_sources(section, spec),
        site=context.site(""),
        databases={key: source.database for key, source in spec.sources.items() if source.database is not None},
    )


def _command_pod(document: StagedRollout, place: Kubernetes, files: Mapping[str, str]) -> CommandPod | None:
    commands = document.spec.commands
    if commands.image is None:
        return None
    parts, resources = list(places(document)), commands.resources or Resources()
    return CommandPod(
        image=commands.image,
        place=place,
        service_account=commands.service_account,
        user=commands.user,
        requests=resources.requests or None,
        limits=resources.limits or None,
        has_files=bool(files) or any(getattr(one.part, "script", None) is not None for one in parts),
        has_secrets=any(_is_for_a_command(one) for one in parts),
    )


def _is_for_a_command(place: Place) -> bool:
    return isinstance(place.part, SecretRef) and place.path[-2:-1] == ("vars",)


def _budget(environments: Sequence[EnvironmentProgram]) -> Budget:
    pools: dict[str, Pool] = {}
    for environment in environments:
        for name, flag in _judged(environment):
            gate = environment.gates[name]
            pool = name if gate.alpha is not None else ""
            known = pools.get(pool) or Pool(ALPHA if gate.alpha is None else gate.alpha, ())
            keys = dict.fromkeys((*known.keys, *_keys(environment.name, name, gate, flag)))
            pools[pool] = Pool(known.alpha, tuple(keys))
    return Budget(pools)


def _keys(environment: str, name: str, gate: Gate, flag: str | None) -> Iterator[str]:
    return (look_key(environment, name, one, flag) for one in gate.criteria if one.is_tested)


def _judged(environment: EnvironmentProgram) -> Iterable[tuple[str, str | None]]:
    """Each gate that is judged here with the flag whose exposure it then judges."""
    found: dict[tuple[str, str | None], None] = {}
    for stage in environment.stages:
        found |= dict.fromkeys(_judged_in(stage))
    last = environment.stages[-1].steps[-1:] if environment.stages else ()
    flag = last[0].exposure_flag if last else None
    found |= dict.fromkeys((name, flag) for phase in environment.watch for name in phase.gate)
    return found


def _judged_in(stage: StageProgram) -> Iterator[tuple[str, str | None]]:
    for step in stage.steps:
        for name in step.gate:
            yield name, step.exposure_flag


def _gate(gate: Gate, environment: str) -> Gate:
    criteria = for_environment(gate.criteria, environment)
    if gate.environments and environment not in gate.environments:
        criteria = ()
    return _kept_once(gate.model_copy(update={"criteria": criteria}))


def _kept_once(gate: Gate) -> Gate:
    """Or its equal: thousands of runs may look at the same, and a criterion takes two kilobytes."""
    known = _gates.setdefault(gate.model_dump_json(), gate)
    return known if known == gate else gate


def _watch(watch: AnyWatch, environment: str) -> tuple[WatchPhase, ...]:
    if isinstance(watch, float | int):
        return (WatchPhase("watch", 0.0, float(watch)),) if watch else ()
    return tuple(
        WatchPhase(
            name=phase.name,
            from_seconds=phase.from_,
            to_seconds=phase.to,
            gate=names(phase.gate),
            checks=for_environment(phase.checks, environment),
            every_seconds=phase.every,
            on_fail=phase.on_fail,
        )
        for phase in watch
    )


def _sign_off(section: EnvironmentSection, spec: PlanSpec) -> Approval | None:
    if section.sign_off == "none":
        return None
    return section.sign_off or spec.sign_off


def _sources(section: EnvironmentSection, spec: PlanSpec) -> dict[str, Json]:
    """Source name -> Prometheus settings; the empty name is the environment's own server."""
    own = section.prometheus or spec.prometheus
    found = {"": own.model_dump(mode="json")} if own is not None else {}
    for key, source in spec.sources.items():
        if source.prometheus is not None:
            found[key] = source.prometheus.model_dump(mode="json")
    return found


def _trigger_acts(trigger: Trigger, context: Context) -> tuple[Act, ...]:
    site = context.site(f"trigger {trigger.name}")
    found: list[Act] = []
    for action in trigger.actions:
        match action:
            case DisableAction():
                found.append(Act(FlagAction.model_validate({"flag": action.disable, "state": "disabled"}), site))
            case SetAction():
                found += [Act(_set_flag(key, change), site) for key, change in action.set.items()]
            case _:
                found += acts((action,), site)
    return tuple(found)


def _set_flag(key: str, change: FlagChange) -> FlagAction:
    return FlagAction.model_validate({"flag": key, **change.model_dump(exclude_none=True)})
