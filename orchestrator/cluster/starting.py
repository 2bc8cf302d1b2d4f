"""From an object to a run: its files, its plan, what its creator may do, and the start itself; or why not."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.cluster import limits
from orchestrator.cluster.bundle import Bundle, bundle_of
from orchestrator.cluster.guard import Guard
from orchestrator.cluster.objects import Rollout
from orchestrator.cluster.reconcile import Refusal
from orchestrator.cluster.rights import accesses
from orchestrator.cluster_port import Access, Identity, Kind, Objects, Review
from orchestrator.core.commands import Actor
from orchestrator.core.events import Origin, PlanDocument
from orchestrator.crd.objects import BUNDLE_ANNOTATION, CREATED_BY_ANNOTATION, CREATED_BY_GROUPS_ANNOTATION
from orchestrator.errors import Conflict, Permanent, TargetBusy
from orchestrator.service import Service
from orchestrator.submission import Submission
from stages.load import LoadedPlan, load_data
from stages.problems import InvalidPlan, Problem

NOBODY = "somebody (no created-by)"
_NOBODY_SAYS = (
    "the plan changes workloads, runs commands or reads secrets, and nobody says who asks for it; annotate the object "
    f"with {CREATED_BY_ANNOTATION}=USER (`kubectl auth whoami` tells who you are; `rollout start --context` does it)"
)
MOST_PROBLEMS = 3
BUNDLE_AGAIN_SECONDS = 5.0
BUSY_AGAIN_SECONDS = 15.0
WORLD_AGAIN_SECONDS = 60.0
"""For what somebody may mend elsewhere: a Role, a secret."""


class Linted(Protocol):
    @property
    def errors(self) -> Sequence[Problem]: ...


class Lint(Protocol):
    def __call__(self, plan: LoadedPlan, plan_file: str, directory: str | None) -> Linted: ...


@dataclass(frozen=True, slots=True)
class Same:
    """The object asks for the plan that its run had: nothing to start."""


class _Refused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Starter:
    service: Service
    objects: Objects
    lint: Lint
    commands: limits.CommandPolicy
    guard: Guard

    async def start(self, rollout: Rollout, previous: str | None) -> str | Same | Refusal:
        """The run's name. Asked again, also by a later life of the controller, it is the same one. Raises ``Temporary``
        if it can't be told now."""
        try:
            bundle = await self._bundle(rollout)
            plan = await asyncio.to_thread(self._load, rollout, bundle)
            row = await self.service.journal.row(previous) if previous is not None else None
            if row is not None and row.digest == plan.digest:
                return Same()
            await self._require_guards()
            await self._ask_for_rights(rollout, plan)
            return await self._begin(rollout, plan, previous)
        except _Refused as refused:
            return refused.refusal
        except (Permanent, Conflict) as error:
            return self._refused("CannotStart", str(error), WORLD_AGAIN_SECONDS).refusal

    async def _bundle(self, rollout: Rollout) -> Bundle:
        if rollout.bundle is None:
            return Bundle()
        found = await self.objects.read(Kind.CONFIG_MAP, rollout.bundle)
        if found is None:
            words = f"there is no ConfigMap {rollout.bundle}, which {BUNDLE_ANNOTATION} names; apply it too"
            raise self._refused("BundleMissing", words, BUNDLE_AGAIN_SECONDS)
        try:
            return bundle_of(found)
        except ValueError as error:
            raise self._refused("InvalidPlan", f"ConfigMap {rollout.bundle}: {error}") from None

    def _load(self, rollout: Rollout, bundle: Bundle) -> LoadedPlan:
        name = f"{rollout.namespace}/{rollout.name}"
        try:
            plan = load_data(rollout.document, name, bundle.variables, read_file=bundle.read)
        except InvalidPlan as error:
            raise self._invalid(error.problems) from None
        refused = limits.refusals(plan)
        if refused:
            raise self._refused("InvalidPlan", _listed(f"{path}: {sentence}" for path, sentence in refused))
        refused = self.commands.refusals(plan)
        if refused:
            words = _listed(f"{path}: {sentence}" for path, sentence in refused)
            raise self._refused("NotAllowed", words, WORLD_AGAIN_SECONDS)
        errors = self.lint(plan, name, None).errors
        if errors:
            raise self._invalid(errors)
        return plan

    async def _require_guards(self) -> None:
        words = await self.guard.missing()
        if words is not None:
            raise self._refused("PoliciesMissing", words, WORLD_AGAIN_SECONDS)

    async def _ask_for_rights(self, rollout: Rollout, plan: LoadedPlan) -> None:
        wanted = accesses(plan)
        if not wanted:
            return
        if rollout.created_by is None:
            raise self._refused("CreatorUnknown", _NOBODY_SAYS, WORLD_AGAIN_SECONDS)
        author = Identity(rollout.created_by, rollout.created_by_groups)
        reviews = [await self._review(author, access) for access in wanted]
        denied = [one for one in reviews if not one.is_allowed]
        if denied:
            raise self._refused("NotAllowed", _not_allowed(author, denied), WORLD_AGAIN_SECONDS)

    async def _review(self, author: Identity, access: Access) -> Review:
        try:
            return await self.objects.review(author, access)
        except Permanent as error:
            words = f"whether {author.name} may {access.words} can't be told: {error}"
            raise self._refused("NotAllowed", words, WORLD_AGAIN_SECONDS) from None

    async def _begin(self, rollout: Rollout, plan: LoadedPlan, previous: str | None) -> str:
        submission = submission_of(rollout, plan, previous)
        actor = Actor(rollout.created_by or NOBODY, "operator")
        try:
            await self.service.lint(submission)
            run, _ = await self.service.start(submission, actor)
        except InvalidPlan as error:
            raise self._invalid(error.problems, WORLD_AGAIN_SECONDS) from None
        except TargetBusy as error:
            again_at = self.service.clock.now() + BUSY_AGAIN_SECONDS
            raise _Refused(Refusal("TargetBusy", str(error), needs_a_person=False, again_at=again_at)) from None
        return run

    def _invalid(self, problems: Iterable[Problem], again_seconds: float | None = None) -> _Refused:
        words = (f"{one.path}: {one.message}" if one.path else f"{one.file}: {one.message}" for one in problems)
        return self._refused("InvalidPlan", _listed(words), again_seconds)

    def _refused(self, reason: str, message: str, again_seconds: float | None = None) -> _Refused:
        again_at = None if again_seconds is None else self.service.clock.now() + again_seconds
        return _Refused(Refusal(reason, message, again_at=again_at))


def submission_of(rollout: Rollout, plan: LoadedPlan, previous: str | None) -> Submission:
    """Its key, and so the run's name, says which wish of which object this is, and what was there before it."""
    return Submission(
        plan=plan.name,
        digest=plan.digest,
        documents=tuple(PlanDocument(environment=name, plan=document) for name, document in plan.raw),
        files=plan.files,
        reason=f"StagedRollout {rollout.namespace}/{rollout.name}, generation {rollout.generation}",
        origin=Origin(
            namespace=rollout.namespace,
            name=rollout.name,
            uid=rollout.uid,
            generation=rollout.generation,
            bundle=rollout.bundle,
        ),
        key=f"{rollout.uid}/{rollout.generation}/{rollout.bundle or ''}/{previous or ''}",
    )


def _listed(sentences: Iterable[str]) -> str:
    every = list(sentences)
    rest = len(every) - MOST_PROBLEMS
    return "; ".join(every[:MOST_PROBLEMS]) + (f"; and {rest} more" if rest > 0 else "")


def _not_allowed(author: Identity, denied: Sequence[Review]) -> str:
    what = _listed(one.access.words for one in denied)
    if author.groups:
        asked = f"neither by name nor as one of {', '.join(author.groups)}"
    else:
        asked = (
            "RBAC was asked by name alone: for rights of a group, name the group in the annotation "
            f"{CREATED_BY_GROUPS_ANNOTATION}"
        )
    return f"{author.name}, who asks for it, may not {what}; bind {author.name} to a Role that allows it ({asked})"
