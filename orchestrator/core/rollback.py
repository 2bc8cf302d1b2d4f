"""The way back, as one graph over the targets that the run touched. Planned here, walked in :mod:`backward`.

Nodes, and what each waits for:

    before     rollback.before, started together with exposure (10 s in all; a failure is noted)
    exposure   every flag to what was there, all at once
    settle     a stage's exposure and that of all later stages has read back, and had time to reach everybody
    drain      a stage's queue is empty (bounded)
    parameters a pinned flag's parameters to what they were
    undo       everything else, last touched first; a stage waits for exposure of itself and later stages only, and what
               belongs to no stage (a trigger did it) for all exposure
    no_return  a person takes what lies behind the point of no return as it is
    schema     where opted in, after every undo
    after      rollback.after, a stage's own after that stage's undos
    verify     rollback.verify
    question   asked once exposure has settled; a yes adds nodes
"""

from dataclasses import dataclass, replace
from typing import Literal

from orchestrator.core.events import CONTROLLER, RollbackNode, RollbackStarted
from orchestrator.core.names import rollback_walk
from orchestrator.core.returns import (
    Return,
    begun_no_return,
    behind_the_wall,
    flags_of,
    moved_again,
    schema_policy,
    schema_stays,
    stage_index_of,
    targets_to_return,
    undone_touches,
    what_stays,
)
from orchestrator.core.state import State, TargetState
from stages.effects import SetFlag, TargetKind
from stages.flag_spec import ABSENT
from stages.kinds.base import acts
from stages.questions import Question
from stages.step import Act, EnvironmentProgram, RollbackProgram, StageProgram
from stages.values import Json

Cause = Literal["command", "gate", "trigger", "on_fail", "approval", "hold", "reverse"]
BEFORE_LIMIT_SECONDS = 10.0
USUAL_SETTLE_SECONDS = 30.0  # of what no stage touched, but a trigger


@dataclass(frozen=True, slots=True)
class Why:
    """What set a rollback off, in a word and a sentence, who asked for it, and on which evidence."""

    cause: Cause
    reason: str
    by: str = CONTROLLER
    evidence: Json = None


def plan(
    state: State,
    why: Why,
    *,
    scope: str = "",
    with_schema: bool = False,
    flags_of_triggers: tuple[str, ...] = (),
) -> RollbackStarted:
    """The whole way back as one event. *flags_of_triggers*: triggers firing in this very decision, whose flags are
    pinned and so go to their safer value even if the run never touched them."""
    pinned = flags_of(state, flags_of_triggers)
    returns = targets_to_return(state, scope, pinned)
    builder = _Graph(state, scope, with_schema, pinned)
    returns += builder.moved_again(returns)
    nodes = builder.build(returns)
    return RollbackStarted(
        by=why.by,
        reason=why.reason,
        cause=why.cause,
        scope=scope,
        with_schema=with_schema,
        no_return=begun_no_return(state),
        nodes=nodes,
        left=tuple(what_stays(state, returns, scope, with_schema)),
        evidence=why.evidence,
    )


# --- the graph --------------------------------------------------------------------------------------------------------


class _Graph:
    """Collects the nodes of one rollback; the order of the methods is the order of the graph."""

    def __init__(self, state: State, scope: str, with_schema: bool, pinned: frozenset[str] = frozenset()) -> None:
        self.state = state
        self.scope = scope
        self.with_schema = with_schema
        self.pinned = pinned | {pin.flag for pin in state.pins.values()}
        self.nodes: list[RollbackNode] = []

    def moved_again(self, returns: list[Return]) -> list[Return]:
        """What the rollback of a stage took back, and what ``before`` of this one changes once more."""
        acts = [act for _, _, section in self._sections(returns) for act in section.before]
        changed = {act.target.id for act in acts if act.target is not None}
        return moved_again(self.state, changed - {entry.target.id for entry in returns})

    def build(self, returns: list[Return]) -> tuple[RollbackNode, ...]:
        flags = [entry for entry in returns if entry.target.kind is TargetKind.FLAG]
        schema = [entry for entry in returns if entry.target.kind is TargetKind.SCHEMA]
        others = [entry for entry in returns if entry not in flags and entry not in schema]
        sections = self._sections(returns)
        self._before(sections)
        self._exposure(flags)
        moving = [entry for entry in others if entry.touch.undo is not None]
        opted_in = [entry for entry in schema if self.with_schema or schema_policy(self.state, entry) != "keep"]
        moving += [entry for entry in opted_in if schema_stays(self.state, entry) is None]
        follows = any(_has_more(stage, section) for _, stage, section in sections)
        pinned = any(entry.target.id in self.pinned for entry in flags)
        settled = self._settle(flags, moving) if moving or follows or pinned else {}
        self._parameters(flags, settled)
        self._undo(others, settled)
        self._no_return()
        self.add_schema(schema, settled)
        self._questions(sections, schema, settled)
        self._after(sections, others)
        self._verify(sections)
        return tuple(self.nodes)

    def _add(self, node_id: str, kind: str, environment: str, **fields: Json) -> str:
        self.nodes.append(
            RollbackNode.model_validate({"id": node_id, "kind": kind, "environment": environment, **fields})
        )
        return node_id

    def _ids(self, *kinds: str) -> tuple[str, ...]:
        return tuple(node.id for node in self.nodes if node.kind in kinds)

    def _sections(self, returns: list[Return]) -> list[tuple[EnvironmentProgram, StageProgram | None, RollbackProgram]]:
        """The ``rollback:`` sections that apply: of every stage that is undone, last first, then the plan's own."""
        touched = {(entry.environment, entry.stage) for entry in returns}
        touched |= {
            tuple(key.partition("/")[::2])  # type: ignore[misc]
            for entry in returns
            for key in undone_touches(self.state, entry.target, self.scope)
        }
        found: list[tuple[EnvironmentProgram, StageProgram | None, RollbackProgram]] = []
        for environment in reversed(self.state.program.environments):
            if environment.name in self.state.environments_passed:
                continue
            stages = [stage for stage in reversed(environment.stages) if (environment.name, stage.name) in touched]
            found += [(environment, stage, stage.rollback) for stage in stages]
            if environment.name == self.state.cursor.environment and not self.scope:
                found.append((environment, None, environment.rollback))
        return found

    def _before(self, sections: list[tuple[EnvironmentProgram, StageProgram | None, RollbackProgram]]) -> None:
        for environment, stage, section in sections:
            if section.before:
                name = stage.name if stage else ""
                self._add(rollback_walk("before", environment.name, name), "before", environment.name, stage=name)

    def _exposure(self, flags: list[Return]) -> None:
        for entry in flags:
            self._add(
                f"exposure:{entry.target.id}",
                "exposure",
                entry.environment,
                target=entry.target.id,
                stage=entry.stage,
                wanted=entry.wanted if entry.wanted is not None else ABSENT,
                detail=entry.target.title,
            )

    def _settle(self, flags: list[Return], rest: list[Return]) -> dict[str, tuple[str, ...]]:
        """A settle (and drain) node for each stage that something waits in; stage key -> what its undos wait for."""
        waits: dict[str, tuple[str, ...]] = {}
        before = self._ids("before")
        stages = self._stages_of(rest) or self._stages_of(flags)
        for environment, stage, index in stages:
            # what a trigger did belongs to no stage, and may serve whatever is exposed
            first = index if self.state.program.environment(environment).stage(stage) is not None else 0
            behind = [entry for entry in flags if self._rank(entry) >= (self._environment_rank(environment), first)]
            exposure = tuple(f"exposure:{entry.target.id}" for entry in behind)
            key = f"{environment}/{stage}"
            if not behind:
                waits[key] = before
                continue
            seconds = max(self._settle_seconds(entry) for entry in behind)
            settle = self._add(
                f"settle:{key}", "settle", environment, stage=stage, seconds=seconds, after=exposure + before
            )
            waits[key] = (settle, *self._drain(behind, settle))
        return waits

    def _drain(self, flags: list[Return], settle: str) -> tuple[str, ...]:
        found = []
        for environment, name in ((entry.environment, name) for entry in flags for name in entry.stages):
            stage = self.state.program.environment(environment).stage(name)
            node_id = f"drain:{environment}/{name}"
            if stage is None or stage.drain is None:
                continue
            if node_id not in {node.id for node in self.nodes}:
                self._add(
                    node_id, "drain", environment, stage=name, seconds=stage.drain.timeout_seconds,
                    after=(settle,), detail=f"{stage.drain.query} {stage.drain.until}",
                )  # fmt: skip
            found.append(node_id)
        return tuple(dict.fromkeys(found))

    def _parameters(self, flags: list[Return], settled: dict[str, tuple[str, ...]]) -> None:
        """A pinned flag keeps its parameters until exposure has settled."""
        waits = tuple(dict.fromkeys(node for nodes in settled.values() for node in nodes))
        for entry in flags:
            if entry.target.id in self.pinned:
                exposure = f"exposure:{entry.target.id}"
                self._add(
                    f"parameters:{entry.target.id}", "parameters", entry.environment, target=entry.target.id,
                    stage=entry.stage, wanted=entry.wanted, after=(exposure, *waits), detail=entry.target.title,
                )  # fmt: skip

    def _undo(self, others: list[Return], settled: dict[str, tuple[str, ...]]) -> None:
        newest_first = sorted(others, key=lambda entry: entry.touch.order, reverse=True)
        last_of_stage: dict[str, str] = {}
        for entry in newest_first:
            if entry.touch.undo is None:
                continue  # the plan declares that there is no way back; what_stays lists it
            key = f"{entry.environment}/{entry.stage}"
            waits = settled.get(f"{entry.environment}/{self._earliest(entry)}", ())
            later = (last_of_stage[key],) if key in last_of_stage else ()
            last_of_stage[key] = self._undo_node("undo", entry, waits + later)

    def _undo_node(self, kind: str, entry: Return, after: tuple[str, ...]) -> str:
        assert entry.touch.undo is not None
        return self._add(
            f"{kind}:{entry.target.id}", kind, entry.environment, target=entry.target.id, stage=entry.stage,
            wanted=entry.wanted, undo=entry.touch.undo.model_dump(mode="json", by_alias=True), after=after,
            detail=entry.target.title + self._lost(entry),
        )  # fmt: skip

    def _lost(self, entry: Return) -> str:
        stage = self.state.program.environment(entry.environment).stage(entry.stage)
        lost = stage.losses.get(entry.target.id) if stage is not None else None
        return f" (drops {lost})" if lost else ""

    def add_late(self, returns: list[Return]) -> None:
        """Undo what exposure need not settle for: it was touched when that was on its way back already."""
        schema = [entry for entry in returns if entry.target.kind is TargetKind.SCHEMA]
        self._undo([entry for entry in returns if entry.target.kind is not TargetKind.FLAG and entry not in schema], {})
        self.add_schema(schema, {})

    def _no_return(self) -> None:
        stays = behind_the_wall(self.state)
        if stays and not self.scope:
            names = ", ".join(target.title for target in stays)
            self._add("no_return", "no_return", self.state.cursor.environment, detail=names)

    def add_schema(self, schema: list[Return], settled: dict[str, tuple[str, ...]]) -> None:
        """Schema goes back only where it is opted in, after every undo, last touched first."""
        waits = self._ids("undo") + tuple(node for nodes in settled.values() for node in nodes)
        moved: list[str] = []
        for entry in sorted(schema, key=lambda one: one.touch.order, reverse=True):
            opted_in = self.with_schema or schema_policy(self.state, entry) == "down"
            if opted_in and schema_stays(self.state, entry) is None:
                moved.append(self._undo_node("schema", entry, (*waits, *moved[-1:])))

    def _questions(
        self,
        sections: list[tuple[EnvironmentProgram, StageProgram | None, RollbackProgram]],
        schema: list[Return],
        settled: dict[str, tuple[str, ...]],
    ) -> None:
        waits = tuple(dict.fromkeys(node for nodes in settled.values() for node in nodes))
        for environment, stage, section in sections:
            name = stage.name if stage else "plan"
            for index, question in enumerate(section.ask):
                node_id = f"question:{environment.name}/{name}/{index + 1}"
                self._add(
                    node_id, "question", environment.name, stage=stage.name if stage else "", after=waits,
                    seconds=question.timeout, detail=question.question,
                )  # fmt: skip
        self._restore(sections, waits)
        asked = {(entry.environment, entry.stage) for entry in schema if schema_policy(self.state, entry) == "ask"}
        for environment_name, stage_name in sorted(asked) if not self.with_schema else ():
            program = self.state.program.environment(environment_name).stage(stage_name)
            assert program is not None
            assert program.schema_question is not None
            self._add(
                f"question:{environment_name}/{stage_name}/schema", "question", environment_name, stage=stage_name,
                after=waits, seconds=program.schema_question.timeout, detail=program.schema_question.question,
            )  # fmt: skip

    def _restore(
        self, sections: list[tuple[EnvironmentProgram, StageProgram | None, RollbackProgram]], waits: tuple[str, ...]
    ) -> None:
        """Whether to restore the backup of a stage that changed something; the backup was made before it did."""
        for environment, stage, _ in sections:
            backup = stage.backup if stage is not None else None
            if stage is None or backup is None or backup.restore is None or not self._is_made(backup.target):
                continue
            self._add(
                f"question:{environment.name}/{stage.name}/restore", "question", environment.name, stage=stage.name,
                after=waits, seconds=backup.restore.timeout, detail=backup.restore.question,
            )  # fmt: skip

    def _is_made(self, backup: str) -> bool:
        target = self.state.targets.get(backup)
        return target is not None and target.touched

    def _after(
        self, sections: list[tuple[EnvironmentProgram, StageProgram | None, RollbackProgram]], others: list[Return]
    ) -> None:
        for environment, stage, section in sections:
            if not section.after:
                continue
            name = stage.name if stage else ""
            if stage is None:
                waits = tuple(node.id for node in self.nodes if node.kind not in ("question", "no_return"))
            else:
                own = tuple(f"undo:{entry.target.id}" for entry in others if entry.stage == stage.name)
                waits = tuple(node for node in self._ids("undo") if node in own) or self._ids("exposure", "settle")
            node_id = rollback_walk("after", environment.name, name)
            self._add(node_id, "after", environment.name, stage=name, after=waits)

    def _verify(self, sections: list[tuple[EnvironmentProgram, StageProgram | None, RollbackProgram]]) -> None:
        waits = tuple(node.id for node in self.nodes if node.kind not in ("question", "no_return", "verify"))
        for environment, stage, section in sections:
            if section.verify:
                name = stage.name if stage else ""
                self._add(
                    f"verify:{environment.name}/{name or 'plan'}", "verify", environment.name, stage=name,
                    seconds=section.within_seconds, after=waits,
                )  # fmt: skip

    # small look-ups

    def _stages_of(self, entries: list[Return]) -> list[tuple[str, str, int]]:
        places = {(entry.environment, self._earliest(entry)) for entry in entries}
        found = [(environment, stage, stage_index_of(self.state, environment, stage)) for environment, stage in places]
        return sorted(found, key=lambda one: (self._environment_rank(one[0]), one[2], one[1]), reverse=True)

    def _environment_rank(self, environment: str) -> int:
        return [entry.name for entry in self.state.program.environments].index(environment)

    def _rank(self, entry: Return) -> tuple[int, int]:
        """The last stage that touched the flag: its exposure is what later and earlier stages wait for."""
        last = max(stage_index_of(self.state, entry.environment, stage) for stage in entry.stages)
        return self._environment_rank(entry.environment), last

    def _earliest(self, entry: Return) -> str:
        """The first stage, in the plan's order, that touched a target or found it as it is needed: what it is from
        there on may serve what is exposed."""
        stages = self.state.program.environment(entry.environment).stages
        serving = [stage.name for stage in stages if stage.acts_on(entry.target.id)]
        return min([*entry.stages, *serving], key=lambda name: stage_index_of(self.state, entry.environment, name))

    def _settle_seconds(self, entry: Return) -> float:
        """The longest of all stages that touched it."""
        environment = self.state.program.environment(entry.environment)
        stages = [environment.stage(name) for name in entry.stages]
        return max(stage.settle_seconds if stage is not None else USUAL_SETTLE_SECONDS for stage in stages)


def _has_more(stage: StageProgram | None, section: RollbackProgram) -> bool:
    """Whether something follows exposure and so waits until it has settled."""
    restores = stage is not None and stage.backup is not None and stage.backup.restore is not None
    return bool(section.after or section.verify or section.ask) or restores


def late_nodes(state: State) -> tuple[RollbackNode, ...]:
    """Nodes for what was touched after the graph was written down, by actions of the triggers that fired with it."""
    assert state.rollback is not None
    known = {node.node.target for node in state.rollback.nodes.values()}
    returns = [entry for entry in targets_to_return(state, "") if entry.target.id not in known]
    graph = _Graph(state, "", state.rollback.with_schema)
    graph.add_late(returns)
    return tuple(graph.nodes)


def schema_nodes(state: State, after: tuple[str, ...]) -> tuple[RollbackNode, ...]:
    """Nodes for all schema that can go back, for a person's late yes."""
    builder = _Graph(state, "", with_schema=True)
    known = state.rollback.nodes if state.rollback is not None else {}
    schema = [entry for entry in targets_to_return(state, "") if entry.target.kind is TargetKind.SCHEMA]
    builder.add_schema([entry for entry in schema if f"schema:{entry.target.id}" not in known], {"": after})
    return tuple(builder.nodes)


def acts_of_node(state: State, node: RollbackNode) -> tuple[Act, ...]:
    """The list of acts of a ``before``, ``after`` or ``answer`` node."""
    if node.kind == "answer":
        return acts_of_question(state, node)
    section = section_of(state, node)
    return section.before if node.kind == "before" else section.after


def acts_of_question(state: State, node: RollbackNode) -> tuple[Act, ...]:
    """What a yes leads to."""
    question = question_of(state, node)
    site = replace(state.program.environment(node.environment).site, stage=f"question {node.stage or 'plan'}")
    return acts(question.actions, site) if question is not None else ()


def question_of(state: State, node: RollbackNode) -> Question | None:
    """The plan's question that a ``question`` node puts, or whose answer an ``answer`` node carries out."""
    number = node.id.partition("#")[0].rpartition("/")[2]
    if number == "schema":
        stage = state.program.environment(node.environment).stage(node.stage)
        return stage.schema_question if stage is not None else None
    if number == "restore":
        stage = state.program.environment(node.environment).stage(node.stage)
        return stage.backup.restore if stage is not None and stage.backup is not None else None
    return section_of(state, node).ask[int(number) - 1] if number.isdigit() else None


def section_of(state: State, node: RollbackNode) -> RollbackProgram:
    environment = state.program.environment(node.environment)
    stage = environment.stage(node.stage) if node.stage else None
    return stage.rollback if stage is not None else environment.rollback


def set_flag(entry_environment: str, target: TargetState, value: dict[str, Json]) -> SetFlag:
    key = target.id.partition("/")[2]
    return SetFlag(environment=entry_environment, key=key, value=value)
