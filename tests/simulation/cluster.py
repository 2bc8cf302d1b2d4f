"""The simulated clusters: one namespace an environment, workloads that take their time, and an adapter for them.

The adapter follows what the real one promises: it looks first, leaves what somebody else changed, writes with a
precondition, waits until it is rolled out, and reads back. It tells its own half-done work from somebody's edit by who
wrote a field last. So it never says that it does not know.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, Any

from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.errors import Temporary
from orchestrator.ports import Scene, Seen
from stages.cluster import (
    ClusterOperation,
    Kubernetes,
    ObserveImage,
    ObserveReplicas,
    ObserveVersion,
    RestartWorkload,
    ScaleWorkload,
    SetImage,
    SetVersion,
)
from stages.effects import AnyObservation
from tests.simulation.faults import Fate, Fault, Faults
from tests.simulation.workloads import CONTAINER, Workloads, target_id

if TYPE_CHECKING:
    from tests.simulation.world import SimulatedWorld

OURS = "stagedrollout.io"
STUCK_SECONDS = 45.0  # so long pods that do not become ready are waited for
LOOKS = 6
LOOK_AGAIN_SECONDS = 1.0
LATE_SHARE = 0.5  # of what was being sent when the controller died
Fields = Mapping[str, Any]
GONE: Fields = {"is_there": False, "replicas": 0, "total": 0}


@dataclass
class Deployed:
    """One workload. *ready* of its pods take work until *ready_at*, then all of them do. *owners*: of each field, who
    wrote it last; *run*: in whose name we wrote it last; *number* rises with every write. *total*: what a version's
    canary notes. One that a run makes *is_there* only while it needs it."""

    replicas: int
    image: str
    ready: int
    ready_at: float = 0.0
    restarted_by: str = ""
    total: int = 0
    is_there: bool = True
    run: str = ""
    number: int = 1
    owners: dict[str, str] = field(default_factory=dict)

    def ready_now(self, now: float) -> int:
        return self.replicas if now >= self.ready_at else min(self.ready, self.replicas)

    def unmet(self, fields: Fields) -> list[str]:
        return [name for name, value in fields.items() if getattr(self, name) != value]

    def strangers(self, wanted: Fields, before: Fields, run: str) -> list[str]:
        """Fields that stand neither as wanted, nor as they were, nor as *run* left them on its way."""
        ours = {name for name, owner in self.owners.items() if owner == OURS and self.run == run}
        moved = set(self.unmet(before)) - ours
        return [name for name in self.unmet(wanted) if name in moved]


@dataclass(frozen=True)
class Written:
    """One write of a workload, and what came of it. *run* is None where somebody did it by hand."""

    at: float
    environment: str
    name: str
    replicas: int
    ready: int
    ready_at: float
    run: str | None

    def ready_then(self, at: float) -> int:
        return self.replicas if at >= self.ready_at else self.ready


class Cluster:
    """All workloads by environment and name. Every change of one is told to the world, as its target observes it."""

    def __init__(self, workloads: Workloads, world: "SimulatedWorld") -> None:
        self.workloads = workloads
        self.world = world
        self.written: list[Written] = []
        self.lurking = 0  # hands that wait for the next moment between a look and a write
        self.looked_at: dict[str, float] = {}  # when an effect last looked before it wrote
        self._random = Random(f"cluster/{world.faults.seed}")
        self._deployed = {
            place: Deployed(start.replicas, start.image, start.replicas) for place, start in workloads.found.items()
        }
        made = [version for version in workloads.versions if version.is_made]
        for environment, name in workloads.found:
            copies = [one.canary for one in made if one.stable == name]
            self._deployed |= {(environment, copy): Deployed(0, "", 0, is_there=False) for copy in copies}
        self._totals: dict[tuple[str, str], int] = {}  # of a version's pods, as somebody else last left them

    @property
    def faults(self) -> Faults:
        return self.world.faults

    def read(self, environment: str, name: str) -> Deployed:
        return self._deployed[(environment, name)]

    def write(self, environment: str, name: str, fields: Fields, author: Effect | None, run: str | None) -> None:
        """*author* is None where somebody does it by hand."""
        one, now = self.read(environment, name), self.world.now
        unmet = one.unmet(fields)
        targets = [entry for entry in self.workloads.targets_of(environment, name) if entry.fields & set(unmet)]
        before = [self.observed(environment, entry.id) for entry in targets]
        grows = fields.get("replicas", 0) > one.replicas or bool({"image", "restarted_by"} & set(unmet))
        grows = grows and (one.is_there or "replicas" in fields)  # a copy is made without pods
        ready, together = one.ready_now(now), self._together(environment, name)
        for key, value in fields.items():
            setattr(one, key, value)
            one.owners[key] = OURS if author is not None else "kubectl"
        one.run = run or one.run
        one.number += 1
        one.ready = min(ready, one.replicas)
        if grows:
            one.ready_at = now + self._rollout_seconds(by_hand=author is None)
        for entry, was in zip(targets, before, strict=True):
            is_now = self.observed(environment, entry.id)
            self.world.changed("workload", entry.id, was, is_now, author.id if author else None, run)
        self.written.append(Written(now, environment, name, one.replicas, one.ready, one.ready_at, run))
        self._note_share(environment, name)
        self._check_capacity(environment, name, together, author)

    def _together(self, environment: str, name: str) -> int:
        """How many pods of the version that a workload belongs to take work now."""
        version = self.workloads.version_of(name)
        arms = version.arms if version is not None else ()
        return sum(self.read(environment, arm).ready_now(self.world.now) for arm in arms)

    def _check_capacity(self, environment: str, name: str, before: int, author: Effect | None) -> None:
        """A version's two Deployments never have fewer pods together than before: neither than there were before the
        run (or are to be), nor than take work right now. What a hand takes away while the write is on its way, nobody
        can know."""
        version = self.workloads.version_of(name)
        if version is None:
            return
        place = (environment, version.stage)
        now = sum(self.read(environment, arm).replicas for arm in version.arms)
        if author is None or not isinstance(author.operation, SetVersion):
            self._totals[place] = now
            return
        found = (self.workloads.found.get((environment, arm)) for arm in version.arms)
        started = sum(start.replicas for start in found if start is not None)
        wanted = (author.operation.stable, author.operation.canary)
        asked = sum(arm.replicas for arm in wanted if arm is not None)
        least = min(self._totals.get(place, started), asked, before)
        ready = self._together(environment, name)
        hands = (at for at, where, one in self.world.log.by_hand if where == environment and one in version.arms)
        if ready < least and not any(at >= self.looked_at[author.id] for at in hands):
            words = f"{author.id} leaves {version.stable} with {ready} pods that take work, of {before} before"
            self.world.log.violations.append(words)

    def _rollout_seconds(self, *, by_hand: bool) -> float:
        usual = self._random.uniform(0.5, 20.0)
        return (
            usual if by_hand or not self.faults.strikes(Fault.UNREADY) else usual + self._random.choice((30.0, 400.0))
        )

    def _note_share(self, environment: str, name: str) -> None:
        """What share of a version's pods has its new image, for those who measure what that does."""
        version = self.workloads.version_of(name)
        if version is None:
            return
        arms = [self.read(environment, arm) for arm in version.arms]
        total = sum(arm.replicas for arm in arms)
        new = sum(arm.replicas for arm in arms if arm.image == version.image)
        self.world.note_level(environment, version.stable, 100.0 * new / max(total, 1))

    def observed(self, environment: str, target: str) -> dict[str, Any]:
        """As the observation of *target* says it."""
        what, name = target.partition(":")[0], target.rpartition("/")[2]
        if what == "version":
            version = self.workloads.version_of(name)
            assert version is not None
            stable, canary = (self.read(environment, arm) for arm in version.arms)
            more = {"canary": _arm(canary)} if canary.is_there else {}
            return {"stable": _arm(stable), **more, **({"total": canary.total} if canary.total else {})}
        one = self.read(environment, name)
        if what == "replicas":
            return {"replicas": one.replicas}
        return {"container": CONTAINER, "image": one.image} if what == "image" else {"effect": one.restarted_by}

    # --- somebody's hand ---

    def meddle(self, environment: str, name: str, random: Random) -> None:
        fields: Fields = {"replicas": random.choice((0, 1, 3, 6, 9))}
        version = self.workloads.version_of(name)
        is_copy = version is not None and version.is_made and name == version.canary
        if is_copy and not self.read(environment, name).is_there:
            return
        if random.random() < 0.25:
            fields = GONE if is_copy else {"image": "hot-fix"}
        self.write(environment, name, fields, None, None)
        whole = version.stable if version is not None else name
        self.world.log.by_hand += [(self.world.now, environment, one) for one in {name, whole}]


def _arm(one: Deployed) -> dict[str, Any]:
    return {"replicas": one.replicas, "image": one.image}


# --- the adapter ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Patch:
    """What one workload shall be, and what it was when the core last saw it. If it *makes* the workload, nothing keeps
    it from arriving late but a workload that is there."""

    name: str
    wanted: Fields
    before: Fields
    makes: bool = False


class _Ended(Exception):
    """A try that ends without having come to its end, with what is said of it."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.detail)
        self.outcome = outcome


class ClusterPerformer:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._world = cluster.world

    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        operation = effect.operation
        assert isinstance(operation, ScaleWorkload | SetImage | RestartWorkload | SetVersion)
        self._check_place(operation.kubernetes, scene)
        dies = self._world.begin(effect, scene)
        attempt = _Attempt(self._cluster, effect, operation, scene.run, dies, resumed or effect.node is not None)
        try:
            outcome = await attempt.carry_out()
        except _Ended as ended:
            outcome = ended.outcome
        self._world.log.tries.append((self._world.now, effect.id, outcome.state.value))
        return outcome

    async def observe(self, observation: AnyObservation, scene: Scene) -> Seen:
        assert isinstance(observation, ObserveReplicas | ObserveImage | ObserveVersion)
        self._check_place(observation.kubernetes, scene)
        await self._world.pass_time()
        if self._world.faults.strikes(Fault.TEMPORARY):
            raise Temporary("the API server is away")
        what = observation.op.removeprefix("observe_")
        target = target_id(what, scene.environment, observation.workload)
        return Seen(value=self._cluster.observed(scene.environment, target))

    def _check_place(self, place: Kubernetes, scene: Scene) -> None:
        if place.namespace != scene.environment:
            self._world.log.violations.append(f"{scene.environment} asks in namespace {place.namespace}")


@dataclass
class _Attempt:
    """One try of an effect. *dies*: where the controller does, if it does. *marks*: it writes also where nothing is to
    be changed, so that what was sent before arrives in vain."""

    cluster: Cluster
    effect: Effect
    operation: ClusterOperation
    run: str
    dies: str | None
    marks: bool
    is_first: bool = True

    @property
    def world(self) -> "SimulatedWorld":
        return self.cluster.world

    async def carry_out(self) -> Outcome:
        if self.dies == "before":
            await self.world.die(f"before {self.effect.id}")
        fate = self.world.faults.fate()
        if fate in (Fate.TEMPORARY, Fate.UNKNOWN_NOT_DONE):
            return Outcome(state=EffectState.TEMPORARY, detail="the API server is away")
        patches = self._patches()
        if fate is Fate.REFUSED:
            return self._left(patches, "the API server does not allow it", is_seen=self.effect.id in self.world.log.ran)
        for patch in patches:
            self._check_origin(patch)
        for patch in patches:
            await self._write(patch)
            await self._after_write(fate)
            await self._wait(patch, patches)
        if self.dies == "after":
            await self.world.die(f"after {self.effect.id}")
        return Outcome(state=EffectState.DONE, observed=self._observed())

    def _patches(self) -> list[_Patch]:
        """For a version the growing one comes first."""
        operation, before = self.operation, self.effect.before if isinstance(self.effect.before, dict) else {}
        match operation:
            case ScaleWorkload():
                return [_Patch(operation.workload, {"replicas": operation.replicas}, before)]
            case SetImage():
                return [_Patch(operation.workload, {"image": operation.image}, {"image": before.get("image")})]
            case RestartWorkload():
                return [_Patch(operation.workload, {"restarted_by": self.effect.id}, {})]
            case SetVersion():
                return self._of_version(operation, *_arms_of(operation, before))
            case _:
                raise AssertionError(operation.op)

    def _of_version(self, operation: SetVersion, stable: _Patch, canary: _Patch) -> list[_Patch]:
        """A copy is made without pods; it has some before the first Deployment gets the new image, and goes last."""
        now, is_there = self._read(stable), self._read(canary).is_there
        made = {"is_there": True, "image": (operation.canary or operation.stable).image}
        making = [] if is_there or not operation.is_made else [replace(canary, wanted=made, makes=True)]
        if operation.canary is not None:
            return [*making, *sorted((stable, canary), key=self._growth, reverse=True)]
        is_rolled_out = not now.unmet(stable.wanted) and self.world.now >= now.ready_at
        pods = max(int(canary.before["replicas"]), min(operation.stable.replicas, 1))
        if self.effect.node is not None or is_rolled_out or pods == 0:
            return [stable, canary]
        return [*making, replace(canary, wanted={**made, "replicas": pods}), stable, canary]

    def _growth(self, patch: _Patch) -> tuple[int, int, int]:
        """By what the effect wants and what was there when it was asked for; a crash on its way changes nothing. Of two
        that shrink, the one that lacks pods that are ready."""
        wanted, now = int(patch.wanted["replicas"]), self._read(patch)
        grows = max(wanted - int(patch.before.get("replicas", wanted)), 0)
        return grows, wanted - now.ready_now(self.world.now), wanted - now.replicas

    def _read(self, patch: _Patch) -> Deployed:
        return self.cluster.read(self.effect.environment, _name(patch.name))

    def _check_origin(self, patch: _Patch) -> None:
        one = self._read(patch)
        strangers = one.strangers(patch.wanted, patch.before, self.run)
        if strangers:
            raise _Ended(self._changed_by(one, strangers[0]))

    async def _write(self, patch: _Patch) -> None:
        """Look, compare, write if nobody has written in between."""
        for _ in range(LOOKS):
            one = self._read(patch)
            number, unmet = one.number, one.unmet(patch.wanted)
            self._check_origin(patch)
            self.cluster.looked_at[self.effect.id] = self.world.now
            try:
                await self.world.pass_time()
            except asyncio.CancelledError:
                self._arrives_late(patch, number)
                raise
            self._let_somebody_in(patch)
            if one.number != number:
                continue
            if unmet or self.marks:
                self.world.note_write(self.effect.id)
                self._send(patch)
            return
        raise _Ended(Outcome(state=EffectState.TEMPORARY, detail="others keep writing it"))

    def _send(self, patch: _Patch) -> None:
        if unmet := self._read(patch).unmet(patch.wanted):
            self.world.log.ran[self.effect.id] = self.world.log.ran.get(self.effect.id, 0) + 1
        fields = patch.wanted if unmet else {}
        self.cluster.write(self.effect.environment, _name(patch.name), fields, self.effect, self.run)

    def _arrives_late(self, patch: _Patch, number: int) -> None:
        """What was being sent when the controller died, or did not want it any more; if nobody has written since."""
        random = Random(f"late/{self.world.faults.seed}/{self.effect.id}/{number}")

        def arrive() -> None:
            one = self._read(patch)
            if one.number == number or (patch.makes and not one.is_there):
                self._send(patch)

        if random.random() < LATE_SHARE:
            asyncio.get_running_loop().call_later(random.uniform(0.1, 5.0), arrive)

    def _let_somebody_in(self, patch: _Patch) -> None:
        if self.cluster.lurking > 0 and not self.world.faults.healed:
            self.cluster.lurking -= 1
            random = Random(f"lurking/{self.world.faults.seed}/{self.effect.id}")
            self.cluster.meddle(self.effect.environment, _name(patch.name), random)

    async def _after_write(self, fate: Fate) -> None:
        """Between the two writes of a version, or between a write and its rollout."""
        if self.is_first and self.dies == "middle":
            await self.world.die(f"in {self.effect.id}")
        if self.is_first and fate is Fate.UNKNOWN_DONE:
            raise _Ended(Outcome(state=EffectState.TEMPORARY, detail="the connection was lost"))
        self.is_first = False

    async def _wait(self, patch: _Patch, patches: list[_Patch]) -> None:
        if isinstance(self.operation, ScaleWorkload) and not self.operation.is_awaited:
            return
        one, until = self._read(patch), self.world.now + min(STUCK_SECONDS, self.operation.timeout_seconds)
        while self.world.now < one.ready_at:
            await asyncio.sleep(min(one.ready_at - self.world.now, LOOK_AGAIN_SECONDS))
            unmet = one.unmet(patch.wanted)
            if unmet:
                raise _Ended(self._changed_by(one, unmet[0]))
            if self.world.now >= until:
                raise _Ended(self._left(patches, "it is not ready", is_seen=True))

    def _left(self, patches: list[_Patch], detail: str, *, is_seen: bool) -> Outcome:
        """As this effect left them, in an earlier try perhaps; who was changed meanwhile is no part of that."""
        if not is_seen:
            return Outcome(state=EffectState.REFUSED, detail=detail)
        for patch in patches:
            self._check_origin(patch)
        return Outcome(state=EffectState.REFUSED, detail=detail, observed=self._observed())

    def _changed_by(self, one: Deployed, field_: str) -> Outcome:
        who = one.owners.get(field_, "somebody")
        detail = f"{field_} was changed by {who}"
        return Outcome(state=EffectState.REFUSED, detail=detail, observed=self._observed(), changed_by=who)

    def _observed(self) -> dict[str, Any]:
        return self.cluster.observed(self.effect.environment, self.effect.target)


def _arms_of(operation: SetVersion, before: Mapping[str, Any]) -> tuple[_Patch, _Patch]:
    stable, canary, known = operation.stable.model_dump(), operation.canary, before.get("canary")
    was = {**known, "is_there": True, "total": before.get("total", 0)} if known is not None else GONE
    wanted = {**canary.model_dump(), "is_there": True, "total": operation.total or 0} if canary is not None else GONE
    return (
        _Patch(operation.workload, stable, before.get("stable", {})),
        _Patch(operation.canary_workload, wanted, was),
    )


def _name(workload: str) -> str:
    return workload.partition("/")[2]
