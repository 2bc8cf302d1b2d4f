"""What the objects of our own hold beside a plan: the status of a rollout, and a command with its answer.

Everything has a bound, for a status is a projection: the journal is elsewhere. Whoever writes one cuts what is longer
(``cut``). Times are RFC 3339; what is not known is left out.
"""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, ConfigDict, Field
from pydantic.alias_generators import to_camel

from orchestrator.core.commands import Command
from orchestrator.core.phases import CommandName, Leg, Phase, Reason
from stages.criteria.base import Verdict
from stages.plan import API_VERSION
from stages.values import Part

GROUP, VERSION = API_VERSION.split("/")
ROLLOUTS = "stagedrollouts"
COMMANDS = "stagedrolloutcommands"

BUNDLE_ANNOTATION = f"{GROUP}/bundle"
"""On a rollout: the name of the ConfigMap with the plan's files."""
CREATED_BY_ANNOTATION = f"{GROUP}/created-by"
"""On a rollout: who wrote its spec. A policy holds it to be true."""
CREATED_BY_GROUPS_ANNOTATION = f"{CREATED_BY_ANNOTATION}-groups"
"""On a rollout: groups that its author is in, one a line. A policy holds them to be true."""

MOST_HOLDS = MOST_WAITING = 32
MOST_PERCENTAGES = 200
MOST_GROUPS = 256
LONGEST_TEXT = 1024

Short = Annotated[str, Field(max_length=253)]
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]


class Object(Part):
    """Fields are written in camel case, as everywhere in Kubernetes."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


def cut(text: str) -> str:
    """*text* as a status holds it."""
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


class Condition(Object):
    """As all of Kubernetes writes conditions."""

    type: Annotated[str, Field(max_length=316)]
    status: Literal["True", "False", "Unknown"]
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    last_transition_time: AwareDatetime
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    message: Annotated[str, Field(max_length=32768)]


Conditions = Annotated[tuple[Condition, ...], Field(max_length=8)]


# --- status of a rollout ----------------------------------------------------------------------------------------------


class GateStatus(Object):
    """The gate that is judged now, and the sentence of its worst criterion."""

    name: Text
    verdict: Verdict
    sentence: Text = ""


class HoldStatus(Object):
    """Why nothing moves forward."""

    reason: Reason
    item: Text | None = None
    since: AwareDatetime | None = None
    by: Short | None = None
    detail: Text | None = None


class NextStatus(Object):
    """What happens next, and when, if that is known."""

    what: Text
    at: AwareDatetime | None = None


class WaitingStatus(Object):
    """Something that a person has to answer."""

    item: Text
    kind: Short
    text: Text | None = None
    by: Annotated[tuple[Short, ...], Field(max_length=64)] = ()
    until: AwareDatetime | None = None


class RolloutStatus(Object):
    """Where the newest run of a StagedRollout stands."""

    observed_generation: Annotated[int, Field(ge=0)] | None = None
    run: Short | None = None
    digest: Short | None = None
    phase: Phase | None = None
    leg: Leg | None = None
    outcome: Literal["promoted", "rolled_back", "stopped", "rollback_failed"] | None = None
    environment: Short | None = None
    stage: Short | None = None
    step: Short | None = None
    percentages: Annotated[dict[str, float], Field(max_length=MOST_PERCENTAGES)] = Field(default_factory=dict)
    gate: GateStatus | None = None
    holds: Annotated[tuple[HoldStatus, ...], Field(max_length=MOST_HOLDS)] = ()
    next: NextStatus | None = None
    waiting: Annotated[tuple[WaitingStatus, ...], Field(max_length=MOST_WAITING)] = ()
    started: AwareDatetime | None = None
    ended: AwareDatetime | None = None
    conditions: Conditions = ()


# --- a command --------------------------------------------------------------------------------------------------------


class CommandArguments(Object):
    """What some commands need; the same as the options of the command line."""

    item: Short | None = Field(default=None, min_length=1, description="What is answered, if several wait.")
    stage: Short | None = Field(default=None, min_length=1, description="Roll back this stage and those after it.")
    flag: Short | None = Field(default=None, min_length=1, description="The pinned flag that is meant.")
    pin: Literal["keep", "release"] | None = Field(default=None, description="What becomes of a pinned flag.")
    target: Text | None = Field(default=None, min_length=1, description="What is resolved, if several wait for that.")
    taken_as: Literal["as_is", "done", "not_done"] | None = Field(default=None, description="How it is resolved.")
    trigger: Short | None = Field(default=None, min_length=1, description="The trigger that is fired.")
    with_schema: bool | None = Field(default=None, description="Migrations go back too.")
    not_applicable: bool | None = Field(default=None, description="The answer to an item that is optional.")


class CommandSpec(Object):
    """One command to one rollout of the same namespace. It is given once and never changed."""

    rollout: Short = Field(min_length=1, description="The name of the StagedRollout.")
    command: CommandName
    arguments: CommandArguments | None = None
    reason: Text = Field(pattern=r"\S", description="Why; it goes into the journal.")
    requested_by: Text = Field(min_length=1, description="Who asks: the user that creates this object.")
    groups: Annotated[tuple[Text, ...], Field(max_length=MOST_GROUPS)] = Field(
        default=(), description="Those of the user's groups that count, where a group may approve."
    )


class CommandStatus(Object):
    """The answer. *seq* is where the command stands in the run's journal."""

    accepted: bool | None = None
    refused: bool | None = None
    message: Text | None = None
    at: AwareDatetime | None = None
    run: Short | None = None
    seq: Annotated[int, Field(ge=0)] | None = None
    conditions: Conditions = ()


def to_command(spec: CommandSpec, uid: str) -> Command:
    """What the core is asked. The object's *uid* makes it harmless to ask twice."""
    given: dict[str, Any] = spec.arguments.model_dump(exclude_none=True) if spec.arguments is not None else {}
    return Command(command=spec.command, reason=spec.reason, key=uid, **given)
