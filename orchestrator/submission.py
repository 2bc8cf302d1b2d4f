"""A plan as somebody hands it in, and whether this controller may walk it: before a run of it begins."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.allowance import Trust
from orchestrator.core.commands import Actor
from orchestrator.core.events import Origin, PlanDocument, RunStarted
from orchestrator.extras import missing_for
from orchestrator.plan_limits import refusals
from orchestrator.ports import World
from orchestrator.survey import missing_secrets, secrets_of
from stages.compile import compile_plan
from stages.plan import StagedRollout
from stages.problems import InvalidPlan, Problem
from stages.step import Program

Documents = Sequence[tuple[str, StagedRollout]]
"""Of each environment, in order."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A plan as handed in: read, expanded and checked on the submitter's side.

    With an *origin* it has a run of its own, whose name follows from *key*: started once, however often it is asked.
    """

    plan: str
    digest: str
    documents: tuple[PlanDocument, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    directory: str | None = None
    supersede: str | None = None
    reason: str = ""
    origin: Origin | None = None
    key: str | None = None
    is_owners: bool = False  # handed in by whoever runs the controller

    @property
    def trust(self) -> Trust:
        return trust_in(self.origin, is_owners=self.is_owners)

    def new_run(self) -> str:
        """A name: the same one each time if there is a *key*."""
        return new_name(self.plan, self.key)

    def read(self) -> Documents:
        return [(one.environment, StagedRollout.model_validate(one.plan)) for one in self.documents]

    def compiled(self, documents: Documents) -> Program:
        return compile_plan(documents, self.digest, self.files, self.directory)

    def started(self, actor: Actor, supersedes: str | None = None) -> RunStarted:
        """How a run of it begins."""
        return RunStarted(
            by=actor.name,
            reason=self.reason,
            run=self.new_run(),
            plan=self.plan,
            digest=self.digest,
            documents=self.documents,
            files=dict(self.files),
            directory=self.directory,
            supersedes=supersedes,
            origin=self.origin,
            trusted=self.trust is Trust.OWNER,
        )


def trust_in(origin: Origin | None, *, is_owners: bool) -> Trust:
    return Trust.CLUSTER if origin is not None else Trust.OWNER if is_owners else Trust.HANDED


def new_name(plan: str, key: str | None = None) -> str:
    """``<plan>-<short id>``. With an idempotency *key* the same one each time."""
    return f"{plan}-{hashlib.sha256(key.encode()).hexdigest()[:6] if key is not None else secrets.token_hex(3)}"


def require_allowed(submission: Submission, documents: Documents, world: World) -> None:
    """Nothing is started that names what its author may not have the controller reach, read or run, or that needs
    what is not installed here. Raises ``InvalidPlan``."""
    missing = dict(one for _, document in documents for one in missing_for(document.spec.notify.channels))
    if missing:
        raise InvalidPlan([Problem("the plan", 0, 0, path, words) for path, words in missing.items()])
    if world.allowance is None:
        return
    refused = refusals(documents, submission.files, world.allowance)
    if refused:
        raise InvalidPlan([Problem("the plan", 0, 0, path, words) for path, words in refused])


async def require_startable(submission: Submission, documents: Documents, world: World) -> None:
    """What ``require_allowed`` says, and nothing that would find out half-way that it can't log in, or may not."""
    require_allowed(submission, documents, world)
    if world.secrets is None:
        return
    await world.secrets.prepare(one for _, one in secrets_of(submission.documents))
    problems = missing_secrets(submission.documents, world.secrets, submission.directory)
    if problems:
        raise InvalidPlan(problems)
