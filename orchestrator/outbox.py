"""What a run has still to tell: one message a channel at a time, oldest first, tried again with back-off and a bound.

A channel that hangs holds up nothing but itself. Quiet notices wait for others as long as the plan says, and go as one.
What is kept here is forgotten by the next life of the controller, which begins to try anew: what is to be told stands
in the journal. Pure: it is told the time, and says what to send.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from orchestrator.core.effect import Notice, NoticeSeverity
from orchestrator.core.events import ChannelFailing, Event, NoticeDelivered
from orchestrator.core.state import NoticeState, State
from orchestrator.errors import Permanent, RolloutError, Temporary

MOST_TRIES = 10
TOLD_AFTER_TRIES = 3  # that a channel fails: some seconds
BACKOFF_LONGEST_SECONDS = 300.0
MOST_IN_DIGEST = 50
QUIET = frozenset({NoticeSeverity.NEWS})


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message to one channel: *notices*, or if they are several, a digest of them."""

    channel: str
    notices: tuple[Notice, ...]

    def message(self, run: str) -> Notice:
        """A digest's key is that of what it holds: one that was sent, and is sent with more in it, is another one."""
        first = self.notices[0]
        if len(self.notices) == 1:
            return first
        keys = "\n".join(one.key for one in self.notices)
        return Notice(
            key=f"digest:{hashlib.sha256(keys.encode()).hexdigest()[:16]}@{self.channel}",
            channel=self.channel,
            severity=max((one.severity for one in self.notices), key=list(NoticeSeverity).index),
            title=f"{run}: {len(self.notices)} messages",
            text="\n".join(one.text for one in self.notices),
            subject=first.subject,
        )


@dataclass(slots=True)
class _Delivery:
    tries: int = 0
    due_at: float = 0.0


@dataclass(slots=True)
class Outbox:
    _deliveries: dict[str, _Delivery] = field(default_factory=dict)
    _sending: set[str] = field(default_factory=set)  # channels

    def due_times(self, state: State) -> list[float]:
        """When something is to be sent that no channel is busy with."""
        return [
            delivery.due_at
            for key, delivery in self._deliveries.items()
            if state.notices[key].notice.channel not in self._sending
        ]

    def parcels(self, state: State, now: float) -> Iterator[Parcel]:
        """What is to be sent now; each counts as under way until ``taken`` or ``dropped``."""
        due: dict[str, list[Notice]] = {}
        for key, entry in state.notices.items():
            if entry.settled:
                continue
            if key not in self._deliveries:
                self._deliveries[key] = _Delivery(due_at=_first_due(state, entry))
            if self._deliveries[key].due_at <= now:
                due.setdefault(entry.notice.channel, []).append(entry.notice)
        for channel, notices in due.items():
            if channel not in self._sending:
                self._sending.add(channel)
                yield Parcel(channel, self._together(state, notices))

    def _together(self, state: State, due: list[Notice]) -> tuple[Notice, ...]:
        first = due[0]
        if not state.program.notify.digest or first.severity not in QUIET:
            return (first,)
        waiting = (entry.notice for entry in state.notices.values() if not entry.settled)
        quiet = [one for one in waiting if one.channel == first.channel and one.severity in QUIET]
        return tuple(quiet[:MOST_IN_DIGEST])

    def dropped(self, parcel: Parcel) -> None:
        """It was not sent, for this controller may not act now."""
        self._sending.discard(parcel.channel)

    def taken(self, state: State, parcel: Parcel, failure: RolloutError | None, now: float) -> list[Event]:
        """What became of it."""
        self._sending.discard(parcel.channel)
        if failure is None:
            return self._settled(parcel, "", is_delivered=True)
        deliveries = [self._deliveries[one.key] for one in parcel.notices if one.key in self._deliveries]
        for delivery in deliveries:
            delivery.tries += 1
            delivery.due_at = now + _again_seconds(delivery.tries, failure)
        tries = max((delivery.tries for delivery in deliveries), default=MOST_TRIES)
        if isinstance(failure, Permanent) or tries >= MOST_TRIES:
            return self._settled(parcel, str(failure), is_delivered=False)
        if tries >= TOLD_AFTER_TRIES and parcel.channel not in state.failing_channels:
            return [ChannelFailing(channel=parcel.channel, key=parcel.notices[0].key, detail=str(failure))]
        return []

    def _settled(self, parcel: Parcel, detail: str, *, is_delivered: bool) -> list[Event]:
        for notice in parcel.notices:
            self._deliveries.pop(notice.key, None)
        return [NoticeDelivered(key=one.key, delivered=is_delivered, detail=detail) for one in parcel.notices]


def _first_due(state: State, entry: NoticeState) -> float:
    """News waits for more of it; nothing waits at the end, when no more comes."""
    wait = state.program.notify.digest if entry.notice.severity in QUIET and not state.ended else 0.0
    return entry.requested_at + wait


def _again_seconds(tries: int, failure: RolloutError) -> float:
    asked = failure.retry_after_seconds if isinstance(failure, Temporary) else None
    return min(max(2.0**tries, asked or 0.0), BACKOFF_LONGEST_SECONDS)
