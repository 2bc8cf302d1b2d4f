"""What a team's example says of itself, so that its plan can be walked for real."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from ruamel.yaml import YAML

from tests.support.cluster import Cluster
from tests.support.postgres import PostgresServer
from tests.support.process import ROOT

Json = dict[str, Any]
Pattern = Mapping[str, Any]  # ``{event type: what its data must have}``, see ``tests.teams.evidence``
EXAMPLES = ROOT / "examples"
Outcome = Literal["promoted", "rolled_back", "stopped", "rollback_failed"]


@dataclass(frozen=True)
class Tools:
    """What worlds are made with.

    *controller* is the URL at which the controller will be, for clients of flags. *cluster* starts the control plane
    when it is first asked for.
    """

    controller: str

    prometheus: Path
    postgres: PostgresServer
    cluster: Callable[[], Cluster]


class World(Protocol):
    """A team's systems, running.

    *environment* is what the controller and ``rollout start`` know beside what everybody does: variables of the plan,
    its secrets, PATH. `standing` names all that a rollback has to bring back, but for flags, which are read anyway:
    schema, data, workloads, images, files, by names that a person understands.
    """

    @property
    def environment(self) -> Mapping[str, str]: ...

    def standing(self) -> Json: ...


W = TypeVar("W", bound=World)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a token."""

    name: str
    groups: tuple[str, ...] = ()
    role: str = "approver"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said to something that waits for a person; *by* is somebody of those who may, unless it is given."""

    how: Literal["approve", "reject", "not_applicable"] = "approve"
    note: str = "looked, and it is so"
    by: str = ""


@dataclass(frozen=True, slots=True)
class Incident(Generic[W]):
    """Something that goes wrong on purpose in a run of its own, and what the plan has to do about it.

    The world is broken once the run has entered *at*: ``production/queue`` (a stage's first step), or
    ``production/watch``. Then *shows* must come into the journal, in any order, within *within_seconds*; then the world
    is mended. Where the plan does not end the run by itself (*ends*), it is rolled back by hand, and in any case what
    stands has to be what stood before. *fires* names the triggers that this shows. With *resumes* a person resumes the
    run in the mended world, and these must come into the journal before it is rolled back.
    """

    name: str
    at: str
    breaks: Callable[[W], object]
    mends: Callable[[W], object]
    shows: tuple[Pattern, ...]
    fires: tuple[str, ...] = ()
    resumes: tuple[Pattern, ...] = ()
    ends: Outcome | None = None
    sets: tuple[str, ...] = ()
    answers: Mapping[str, Answer] = field(default_factory=dict)
    by_hand: str | None = None  # the trigger that a person fires, instead of evidence
    within_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Team(Generic[W]):
    """*quick*: what is set (``rollout start --set``) so that days become seconds; numbers that decide stay.

    *answers*: by pattern of what waits (its item, or its text); the first that matches. What none matches is approved
    by somebody who may. *stays*: patterns of what a rollback does not bring back, by the stage
    (``environment/stage``) from which on that is so; each must be named by the run. *looks*: what became of an effect
    that nobody knows the end of, by pattern of its target. *changes*: what may differ after a rollback (patterns of
    names of `standing`), with the reason; a new table that is kept, say. *renew*: before each walk, what the one before
    left by design is put back by hand.
    """

    name: str
    people: tuple[Person, ...]
    world: Callable[[Path, Tools], AbstractContextManager[W]]
    quick: tuple[str, ...] = ()
    answers: Mapping[str, Answer] = field(default_factory=dict)
    incidents: tuple[Incident[W], ...] = ()
    stays: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    changes: Mapping[str, str] = field(default_factory=dict)
    looks: Mapping[str, Callable[[W], bool]] = field(default_factory=dict)
    renew: Callable[[W], object] = lambda world: None
    plan: str = "plan.yaml"
    schedule: str | None = None  # a file of scheduled checks, whose rounds are asked once the plan is promoted

    @property
    def folder(self) -> Path:
        return EXAMPLES / self.name

    @property
    def document(self) -> Json:
        """The plan, as it is written."""
        return read_yaml(self.folder / self.plan)


def read_yaml(file: Path) -> Json:
    found: Json = YAML(typ="safe").load(file)
    return found
