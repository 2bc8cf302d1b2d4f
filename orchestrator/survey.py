"""A plan held against the world before it is run: what can be seen without changing anything.

Flags are looked up, queries asked once, SQL files looked at in their database, clusters asked for what is there and
allowed, and the way back is gone through on paper: what would stay, and why. Nothing here starts or writes, and the
only command that is run is a team's own Alembic, which is asked where its database stands.

``rollout validate`` shows it. What a run *does* is shown by :mod:`orchestrator.rehearse`, which walks the plan in a
simulated world and asks nobody.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.core.events import PlanDocument
from orchestrator.errors import RolloutError
from orchestrator.extras import missing_for
from orchestrator.findings import Finding, Level
from orchestrator.ports import Scene, SecretSource, World, scene_of
from orchestrator.survey_cluster import survey_cluster
from orchestrator.survey_gates import many_series, survey_gates
from stages.criteria.base import Measurement, MeasurementState, Memory, Verdict
from stages.criteria.threshold import Threshold, judge
from stages.effects import ObserveAlembic, ObserveFlag, ObserveProbe, ObserveSql, TargetKind
from stages.flag_spec import percentage_of
from stages.plan import StagedRollout
from stages.problems import Mark, Path, Problem, problem
from stages.step import Act, EnvironmentProgram, Program, StageProgram
from stages.values import Json, SecretRef
from stages.walk import places

MOST_AT_ONCE = 8
MOST_SHOWN = 8
_REFERS = SecretRef.model_fields.keys()


async def survey(program: Program, world: World) -> list[Finding]:
    """Everything that was found, errors first. Bounded by the time limits of what is asked."""
    found = [Finding(Level.ERROR, path, words) for path, words in missing_for(program.notify.channels)]
    for environment in program.environments:
        scene = scene_of(program, environment.name, run=program.name)
        found += await _flags(environment, world, scene)
        found += await _criteria(environment, world, scene)
        found += await survey_gates(program, environment, world, scene)
        found += await _schema(environment, world, scene)
        if world.cluster is not None:
            found += await survey_cluster(program.name, environment, world.cluster)
        found += list(what_would_stay(environment))
        found += list(_gates_that_do_not_pause(environment))
    order = list(Level)
    return sorted(found, key=lambda one: order.index(one.level))


async def _flags(environment: EnvironmentProgram, world: World, scene: Scene) -> list[Finding]:
    raised = {flag for stage in environment.stages for flag in stage.exposure_flags}
    found = []
    for key in environment.flags:
        where = f"{environment.name}: flag {key}"
        try:
            observer = world.observers["observe_flag"]
            seen = await observer.observe(ObserveFlag(environment=environment.name, key=key), scene)
        except RolloutError as error:
            found.append(Finding(Level.ERROR, where, f"it can't be looked at: {error}"))
            continue
        if seen.exists:
            found.append(Finding(Level.NOTE, where, f"it stands at {percentage_of(seen.value):g} %"))
        elif key in raised:
            found.append(Finding(Level.NOTE, where, "it does not exist yet; its stage creates it, off at 0 %"))
        else:
            found.append(Finding(Level.ERROR, where, "it does not exist, and no stage of the plan raises it"))
    return found


async def _criteria(environment: EnvironmentProgram, world: World, scene: Scene) -> list[Finding]:
    slots = asyncio.Semaphore(MOST_AT_ONCE)

    async def look(where: str, criterion: Threshold) -> Finding:
        async with slots:
            measured = await world.measurer.measure(criterion, scene, world.clock.now())
        return _finding(where, criterion, measured)

    return await asyncio.gather(*(look(where, criterion) for where, criterion in _thresholds(environment)))


def _thresholds(environment: EnvironmentProgram) -> Iterator[tuple[str, Threshold]]:
    """What can be measured without running a command."""
    for name, gate in environment.gates.items():
        for criterion in gate.criteria:
            if isinstance(criterion, Threshold) and criterion.kind not in ("command", "script"):
                yield f"{environment.name}: gate {name}, {criterion.name}", criterion
    for trigger in environment.triggers:
        if not trigger.by_hand and trigger.kind not in ("command", "script"):
            yield f"{environment.name}: trigger {trigger.name}", trigger


def _finding(where: str, criterion: Threshold, measured: Measurement) -> Finding:
    if measured.state is MeasurementState.ERROR:
        return Finding(Level.ERROR, where, f"it can't be measured: {measured.detail}")
    judged = judge(criterion.model_copy(update={"for_": 0.0}), measured, Memory())
    if measured.state is not MeasurementState.OK:
        return Finding(Level.WARNING, where, f"it would hold: {judged.sentence}")
    if (warning := many_series(measured)) is not None:
        return Finding(Level.WARNING, where, warning)
    if judged.verdict is Verdict.FAIL:
        return Finding(Level.WARNING, where, f"it fails already: {judged.sentence}")
    return Finding(Level.NOTE, where, judged.sentence)


async def _schema(environment: EnvironmentProgram, world: World, scene: Scene) -> list[Finding]:
    found = []
    for act in _acts(environment):
        target, observation = act.target, act.observation
        if target is None or observation is None or target.kind is not TargetKind.SCHEMA:
            continue
        if isinstance(observation, ObserveProbe):
            continue  # a command of the plan's own is run by runs alone
        where = f"{environment.name}: {act.label}"
        try:
            seen = await world.observers[observation.op].observe(observation, scene)
        except RolloutError as error:
            is_alembic = isinstance(observation, ObserveAlembic)
            sentence = str(error) if is_alembic else f"its database can't be looked at: {error}"
            found.append(Finding(Level.ERROR, where, sentence))
            continue
        if act.is_done(seen.value):
            found.append(
                Finding(Level.NOTE, where, "it was applied before; it is skipped, and never undone by this run")
            )
        elif isinstance(observation, ObserveAlembic):
            found.append(Finding(Level.NOTE, where, _would_apply(seen.value)))
        elif isinstance(observation, ObserveSql):
            found += _half_known(where, seen.value)
    return found


def _half_known(where: str, seen: Json) -> Iterator[Finding]:
    """A SQL file that the database knows, and not as it is now."""
    if seen.get("applied"):
        sentence = "it was applied with other contents; put the file back as it was, and the change into a new one"
        yield Finding(Level.ERROR, where, sentence)
    elif seen.get("statements"):
        yield Finding(Level.NOTE, where, f"it ran in part before ({seen['statements']} statements); it goes on there")


def _would_apply(seen: Json) -> str:
    pending = seen["pending"]
    shown = ", ".join(pending[:MOST_SHOWN]) + (f" and {len(pending) - MOST_SHOWN} more" if pending[MOST_SHOWN:] else "")
    return f"the database stands at {seen['current'] or 'its base'}; on the way there lie {shown}"


async def lint_migrators(
    documents: Sequence[tuple[str, StagedRollout]], files: Mapping[str, str], program: Program, world: World
) -> list[Finding]:
    """The SQL that a team's own Alembic would run, held against the same rules as a plan's own files."""
    found: list[Finding] = []
    for environment, document in documents:
        texts, failures = await _migrator_texts(program, environment, world)
        found += failures
        if not texts or world.sql_lint is None:
            continue
        judged = await asyncio.to_thread(world.sql_lint, environment, document, files, texts, program.directory)
        for level, problems in zip((Level.ERROR, Level.WARNING), judged, strict=True):
            found += [
                Finding(level, f"{environment}: stage {one.file}, line {one.line} of its SQL", one.message)
                for one in problems
            ]
    return found


async def _migrator_texts(program: Program, environment: str, world: World) -> tuple[dict[str, str], list[Finding]]:
    """Stage name -> the SQL of the revisions that are still to be applied, where a team's Alembic can say it."""
    texts: dict[str, str] = {}
    found: list[Finding] = []
    scene = scene_of(program, environment, run=program.name)
    for stage in program.environment(environment).stages:
        looks = [act.observation for act in stage.acts() if isinstance(act.observation, ObserveAlembic)]
        if not looks or world.migration_text is None:
            continue
        try:
            text = await world.migration_text.upgrade_sql(looks[-1], scene)
        except RolloutError as error:
            sentence = f"its SQL can't be had for the lint: {error}"
            found.append(Finding(Level.WARNING, f"{environment}: stage {stage.name}", sentence))
            continue
        if text.strip():
            texts[stage.name] = text
    return texts, found


def _acts(environment: EnvironmentProgram) -> Iterator[Act]:
    for stage in environment.stages:
        yield from stage.acts()


def what_would_stay(environment: EnvironmentProgram) -> Iterator[Finding]:
    """What an automatic rollback would leave as it is, and the walls that it would meet."""
    for stage in environment.stages:
        where = f"{environment.name}: stage {stage.name}"
        if stage.point_of_no_return:
            words = "it is a point of no return: once it has begun, nothing that came before is undone"
            no_watch = stage is environment.stages[-1] and environment.watch_seconds > 0
            yield Finding(Level.WARNING, where, words + (", so the watch has no way back" if no_watch else ""))
        for act in stage.acts():
            target = act.target
            if target is None or target.kind in (TargetKind.FLAG, TargetKind.BACKUP):
                continue
            reason = stage.irreversible.get(target.id)
            if reason is None and act.action.undo == "none":
                reason = "the plan declares no way back"
            if reason is None and target.kind is TargetKind.SCHEMA and stage.kind == "migration":
                reason = _below_a_wall(stage, target.id) or _policy(stage.on_rollback, stage.losses.get(target.id))
            if reason is not None:
                yield Finding(Level.NOTE, where, f"{act.label} stays at a rollback: {reason}")


def _gates_that_do_not_pause(environment: EnvironmentProgram) -> Iterator[Finding]:
    """A stage's ``on_fail`` is for its effects and verifies; its gate has one of its own, which is easily missed."""
    for stage in environment.stages:
        for name in stage.gate:
            if stage.on_fail == "pause" and environment.gates[name].on_fail == "rollback":
                words = "it pauses if an effect or a verify fails, but gate "
                words += f"{name} rolls back: the gate has no on_fail: pause"
                yield Finding(Level.NOTE, f"{environment.name}: stage {stage.name}", words)


def _below_a_wall(stage: StageProgram, target: str) -> str | None:
    wall = next((one for one in stage.schema_above(target) if one.id in stage.irreversible), None)
    if wall is None:
        return None
    return f"once {wall.title} is applied above it, which never goes ({stage.irreversible[wall.id]})"


def _policy(on_rollback: str, lost: str | None) -> str | None:
    if on_rollback == "down":
        return None
    told = f" (which drops {lost})" if lost else ""
    return f"somebody is asked{told}" if on_rollback == "ask" else f"the schema stays unless somebody asks for it{told}"


def secrets_of(documents: Sequence[PlanDocument]) -> list[tuple[Path, SecretRef]]:
    """Every reference to a secret in the place of its environment, with where it stands."""
    return [
        (place.path, place.part)
        for document in documents
        if _may_refer(document.plan)
        for place in places(StagedRollout.model_validate(document.plan))
        if isinstance(place.part, SecretRef) and place.is_for(document.environment)
    ]


def _may_refer(data: Json) -> bool:
    """Whether a reference may be in it. Most plans have none, and to find that costs a tenth of reading one."""
    match data:
        case dict():
            return not _REFERS.isdisjoint(data) or any(map(_may_refer, data.values()))
        case list() | tuple():
            return any(map(_may_refer, data))
        case _:
            return False


def missing_secrets(documents: Sequence[PlanDocument], secrets: SecretSource, directory: str | None) -> list[Problem]:
    """References to secrets that lead nowhere where this controller runs, each once."""
    found: dict[str, Problem] = {}
    for path, reference in secrets_of(documents):
        try:
            secrets.resolve(reference, directory)
        except RolloutError as error:
            found.setdefault(f"{path}", problem(Mark("the plan"), path, str(error)))
    return list(found.values())


__all__ = ["Finding", "Level", "lint_migrators", "missing_secrets", "secrets_of", "survey", "what_would_stay"]
