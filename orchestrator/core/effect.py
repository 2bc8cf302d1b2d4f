"""One effect: a change of one target, asked for under an id, and what came of it."""

from enum import StrEnum

from stages.effects import Operation, TargetKind
from stages.values import Json, Part


class EffectState(StrEnum):
    """What came of performing an effect. DONE and REFUSED are outcomes; the others are answered by looking again."""

    DONE = "done"
    REFUSED = "refused"  # cleanly and for good: nothing was changed
    TEMPORARY = "temporary"  # nothing was changed, and trying again may work
    UNKNOWN = "unknown"  # it may have happened, and looking cannot tell


class Effect(Part):
    """A durable intent. It carries all that performing it needs; *before* is what the target was last seen at.

    *undo* is the way back, as absolute as the way forward, fixed before anything is changed; None where the plan
    declares that there is none.
    """

    id: str
    target: str
    target_kind: TargetKind
    label: str
    operation: Operation
    undo: Operation | None = None
    before: Json = None
    environment: str
    stage: str = ""
    walk: str | None = None  # the list of acts that this one belongs to; None for an undo
    node: str | None = None  # of the rollback graph; None on the way forward
    attempt: int = 1


class Outcome(Part):
    """What an adapter says of one try. *observed* is the target's value as read back (None: it cannot be read)."""

    state: EffectState
    detail: str = ""
    observed: Json = None
    changed_by: str | None = None  # who, if somebody else changed the target meanwhile
    retry_after_seconds: float | None = None


class NoticeSeverity(StrEnum):
    NEWS = "news"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Notice(Part):
    """One message to one channel. *key* makes it unique in its run: it is asked for once and may be sent again.
    *subject*: what it is about, the same in every message about one hold. *ends*: that is over, as is its incident."""

    key: str
    channel: str
    severity: NoticeSeverity = NoticeSeverity.NEWS
    title: str
    text: str
    subject: str = ""
    ends: bool = False
