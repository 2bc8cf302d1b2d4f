"""Freezes as one controller knows them: what it read of the store last, about once a second, and what it wrote itself.

Whatever is written to a journal is written to the same store, so while that is away no run goes forward in any case;
**a freeze that is known stays** until the store says otherwise, or its time is over. Of two things known of a place the
one with the higher revision counts, so that a look which was under way while somebody froze here takes nothing back,
nor does a store that was restored from an older copy.

Every controller of a store may freeze, and whoever comes second to a place finds out and looks again. An operator may
freeze, and let a freeze last longer: that only holds. To end one, or to let it end earlier, lets others go on, and
takes an approver.
"""

import asyncio
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import structlog

from orchestrator.core.freeze import EVERYWHERE, Freeze, Lift
from orchestrator.core.times import iso
from orchestrator.errors import Conflict, Refused, RolloutError, StoreError
from orchestrator.freeze_port import FROZEN, UNFROZEN, FreezeStorage
from orchestrator.ports import Clock
from orchestrator.token_port import Note
from stages.values import parse_duration

log = structlog.get_logger()

LOOK_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 2.0  # for the store, at a look; the next one comes in any case
LONGEST_SECONDS: Final = 10 * 366 * 86_400.0
MOST_PLACES: Final = 1000
_TRIES: Final = 5  # when others write between our look and our write


@dataclass(frozen=True, slots=True)
class FreezeAsked:
    """*until* as somebody wrote it: a time with its zone, or for how long from now (``2h``); None: until it is lifted.
    *environment* None: all of them."""

    environment: str | None = None
    until: str | None = None
    reason: str = ""


class Freezing:
    def __init__(self, storage: FreezeStorage | None, clock: Clock) -> None:
        """Without *storage* nothing is ever frozen."""
        self._storage = storage
        self._clock = clock
        self._known: dict[str, Freeze] = {}  # by place
        self._told = ""
        self._has_news = False  # something was learned, also by the way, that the watch has told nobody of
        self._looked_at: float | None = None  # by the monotonic clock

    # --- what is known --------------------------------------------------------------------------------------------

    def known(self) -> list[Freeze]:
        """The newest of each place, also those that are over."""
        return [freeze for _, freeze in sorted(self._known.items())]

    def standing(self) -> list[Freeze]:
        now = self._clock.now()
        return [freeze for freeze in self.known() if freeze.stands(now)]

    def over(self, environments: Collection[str]) -> tuple[Freeze, ...]:
        """What is known of *environments*, and of all."""
        return tuple(freeze for freeze in self.known() if freeze.environment in (EVERYWHERE, *environments))

    async def look(self) -> None:
        """Raises StoreError."""
        if self._storage is None:
            return
        for freeze in await self._storage.newest():
            self._learn(freeze)
        self._looked_at = self._clock.monotonic()

    async def refresh(self) -> None:
        """Before a run is taken up: this controller may have been frozen itself, and have heard nothing for long."""
        if self._looked_at is None or self._clock.monotonic() - self._looked_at > 2 * LOOK_SECONDS:
            try:
                await self.look()
            except StoreError as error:
                self._tell(str(error))

    async def watch(self, changed: Callable[[], None]) -> None:
        while self._storage is not None:
            await self._clock.sleep(LOOK_SECONDS)
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self.look()
                self._tell("")
                if self._has_news:
                    self._has_news = False
                    changed()
            except TimeoutError:
                self._tell("the store does not answer")
            except StoreError as error:
                self._tell(str(error))
            except Exception:  # a bug here must not make this controller deaf in silence
                log.exception("freezes.crashed")

    def _learn(self, freeze: Freeze) -> None:
        known = self._known.get(freeze.environment)
        if known is None or known.revision < freeze.revision:
            self._known[freeze.environment] = freeze
            self._has_news = True

    def _tell(self, words: str) -> None:
        if words and words != self._told:
            log.warning("freezes.unseen", error=words, why="those that are known stay")
        self._told = words

    # --- what people ask ------------------------------------------------------------------------------------------

    async def freeze(self, asked: FreezeAsked, by: str) -> Freeze:
        """Durable when it returns. Raises Refused for an end that makes no sense, or that is earlier than that of the
        freeze that stands there."""
        now = self._clock.now()
        until = self._until(asked.until, now)
        wanted = Freeze(asked.environment or EVERYWHERE, by, asked.reason, now, until)

        def frozen(known: Freeze | None) -> Freeze:
            if known is not None and known.stands(now) and _ends_before(until, known.until):
                raise Refused(f"{known.words}; to let it end earlier, an approver unfreezes it first")
            return wanted

        return await self._put(wanted.environment, frozen, FROZEN)

    async def lift(self, environment: str | None, by: str, reason: str) -> Freeze:
        """Ends the freeze of one environment, or the one over all of them; the others stay. Durable when it returns.
        Raises Refused if there is none."""
        now = self._clock.now()

        def lifted(known: Freeze | None) -> Freeze:
            if known is None or not known.stands(now):
                raise Refused(self._nothing_there(environment))
            return replace(known, lifted=Lift(now, by, reason))

        return await self._put(environment or EVERYWHERE, lifted, UNFROZEN)

    def _nothing_there(self, environment: str | None) -> str:
        standing = self.standing()
        if not standing:
            return "nothing is frozen"
        what = "; ".join(freeze.words for freeze in standing)
        if environment is None:
            names = ", ".join(freeze.environment for freeze in standing)
            return f"no freeze is over all environments: {what}. Unfreeze what is meant by its name ({names})"
        if any(freeze.environment == EVERYWHERE for freeze in standing):
            return f"{environment} is not frozen by itself: {what}. Unfreeze without naming an environment ends that"
        return f"{environment} is not frozen: {what}"

    async def _put(self, place: str, made_of: Callable[[Freeze | None], Freeze], what: str) -> Freeze:
        if self._storage is None:
            raise RolloutError("this controller's store keeps no freezes")
        for _ in range(_TRIES):
            stored = {freeze.environment: freeze for freeze in await self._storage.newest()}.get(place)
            if stored is not None:
                self._learn(stored)
            known = self._known.get(place)
            if known is None and len(self._known) >= MOST_PLACES:
                raise Refused(f"{MOST_PLACES} environments were frozen once, and no further one is taken up")
            wanted = replace(made_of(known), revision=known.revision + 1 if known is not None else 1)
            before = stored.revision if stored is not None else None
            if await self._storage.put(wanted, before, self._note(wanted, what)):
                self._learn(wanted)
                return wanted
        raise Conflict(f"others keep freezing and unfreezing {place}; nothing of this was done")

    def _note(self, freeze: Freeze, what: str) -> Note:
        by, reason = freeze.by, freeze.reason
        if freeze.lifted is not None:
            by, reason = freeze.lifted.by, freeze.lifted.reason
        detail = {"environment": freeze.environment, "reason": reason, "until": iso(freeze.until)}
        return Note(secrets.token_hex(8), self._clock.now(), what, by, detail)

    def _until(self, text: str | None, now: float) -> float | None:
        if text is None:
            return None
        until = until_of(text, now)
        if until <= now:
            raise Refused(f"the end {text} is over already; nothing was frozen")
        if until > now + LONGEST_SECONDS:
            raise Refused(f"the end {text} is more than ten years away; without one it lasts until it is unfrozen")
        return until


def until_of(text: str, now: float) -> float:
    """A time with its zone, or a duration from *now*. Raises ValueError, with the sentence."""
    try:
        return now + float(parse_duration(text))
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"a duration such as 2h, or a time such as 2027-01-31T08:00:00Z, not {text!r}") from None
    if found.tzinfo is None:
        raise ValueError(f"which zone? write 2027-01-31T08:00:00Z or ...+02:00, not {text!r}")
    return found.timestamp()


def _ends_before(one: float | None, other: float | None) -> bool:
    return one is not None and (other is None or one < other)
