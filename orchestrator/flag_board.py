"""The flags of a store as they stand now: written through, held in memory, compiled for those who evaluate.

Everybody in this process writes flags here, so that what is served is current the moment a write is durable. What other
controllers of a shared store write is caught up with.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import structlog

from flags.feed import Feed, FeedVersion, Texts, newest
from flags.model import FlagDocument, Version
from flags.snapshot import Snapshot
from orchestrator.errors import Conflict
from orchestrator.ports import FlagRecord, FlagStore, FlagWrite, KillSwitch

log = structlog.get_logger()

TRIES = 5  # to change a flag, when others write between our look and our write
Wanted = Callable[[FlagRecord | None], FlagDocument | None]
"""What is to stand where a flag stands, or none does; None if nothing is to be changed."""


class VersionSeen(Protocol):
    """Where the newest version is kept that this store ever gave out; None if that is not known."""

    def read(self) -> Version | None: ...

    def note(self, version: Version) -> None: ...


@dataclass
class Made:
    """What was made of one environment's flags before, and still holds of those that were not written since."""

    texts: Texts = field(default_factory=Texts)
    snapshot: Snapshot | None = None


@dataclass(frozen=True)
class Standing:
    """One environment at one moment. Text and snapshot are made when they are first asked for, and then kept."""

    feed: Feed
    made: Made = field(default_factory=Made)

    @cached_property
    def snapshot(self) -> Snapshot:
        self.made.snapshot = self.feed.snapshot(self.made.snapshot)
        return self.made.snapshot

    @cached_property
    def text(self) -> bytes:
        return self.feed.encode(self.made.texts)


class FlagBoard:
    """A ``FlagStore`` in front of another; *listeners* hear of every write: environment and key."""

    def __init__(
        self, store: FlagStore, kill_switch: KillSwitch, seen: VersionSeen | None = None, *, alone: bool = False
    ) -> None:
        """*seen* remembers, outside of the store, the newest version that was given out. *alone*: nobody but this board
        writes the store's flags, so once they are loaded what is known here is what stands there."""
        self._store = store
        self._kill_switch = kill_switch
        self._seen = seen
        self._alone = alone
        self._is_loaded = False
        self._doubted: set[tuple[str, str]] = set()  # flags of which a write failed, and may be there all the same
        self._generation = Version(0, 0)
        self._newest = Version(0, 0)  # up to which everything that was written is known here
        self._records: dict[str, dict[str, FlagRecord]] = {}
        self._standings: dict[str, Standing] = {}
        self._made: dict[str, Made] = {}
        self._moved = asyncio.Event()
        self._revision = 0  # of the kill switch, when it was last looked at
        self.listeners: list[Callable[[str, str], None]] = []

    async def load(self) -> None:
        given = await self._store.version()
        for record in await self._store.all():
            self._note(record)
        self._note_generation(given.generation)
        self._newest = given
        self._is_loaded = True

    async def catch_up(self) -> None:
        """Takes over what others wrote since, as if it had been written here. Raises ``StoreError``."""
        given = await self._store.version()
        if given == self._newest:
            return
        if given < self._newest:
            await self.begin_anew_if_restored()
            given = await self._store.version()
        news = [record for record in await self._store.all() if self._note(record)]
        self._note_generation(given.generation)
        self._newest = given
        if self._seen is not None:
            self._seen.note(given)
        for record in news:
            self._tell(record)

    def _note_generation(self, generation: int) -> None:
        if generation > self._generation.generation:
            self._generation = Version(generation, 0)
            self._standings.clear()
            self._wake()

    async def begin_anew_if_restored(self) -> None:
        """A store that gave out newer versions before than it knows of was set back, from a backup or a copy. Its flags
        are of a new generation then, or clients would go on with those that they saw, and pass its kill switch by."""
        seen = self._seen.read() if self._seen is not None else None
        given = await self._store.version()
        if seen is None or seen <= given:
            return
        generation = given.generation
        while generation <= seen.generation:
            generation = await self.new_generation()
        log.warning("flags.restored", known=str(given), seen=str(seen), generation=generation)

    async def get(self, environment: str, key: str) -> FlagRecord | None:
        """From memory where that is sure: a way back does not wait until the store has read something long."""
        place = (environment, key)
        if self._alone and self._is_loaded and place not in self._doubted:
            return self._records.get(environment, {}).get(key)
        record = await self._store.get(environment, key)
        if self._alone and record is not None and self._note(record):
            self._tell(record)
        return record

    async def all(self, environment: str | None = None) -> list[FlagRecord]:
        return await self._store.all(environment)

    async def history(self, environment: str, key: str, limit: int = 50) -> list[FlagRecord]:
        return await self._store.history(environment, key, limit)

    async def version(self) -> Version:
        return await self._store.version()

    async def new_generation(self) -> int:
        generation = await self._store.new_generation()
        self._note_generation(generation)
        return generation

    async def write(self, write: FlagWrite, at: float) -> FlagRecord:
        try:
            record = await self._store.write(write, at)
        except BaseException:  # also one that nobody waits for any more, and that is made later
            self._doubted.add((write.document.environment, write.document.key))
            raise
        self._note(record)
        version = record.document.version
        if version == Version(self._newest.generation, self._newest.number + 1):
            self._newest = version  # nobody else wrote between
        if self._seen is not None:
            self._seen.note(version)
        self._tell(record)
        return record

    async def change(
        self, place: tuple[str, str], wanted: Wanted, *, by: str, reason: str, at: float
    ) -> FlagRecord | None:
        """What is *wanted* of what stands there now is written. Raises ``Conflict`` if others keep writing the flag."""
        for _ in range(TRIES):
            record = await self.get(*place)
            document = wanted(record)
            if document is None:
                return None
            expected = record.document.version if record is not None else None
            try:
                return await self.write(FlagWrite(document, expected, by, reason), at)
            except Conflict:
                continue
        raise Conflict(f"others keep writing flag {place[1]}; nothing of it was changed")

    def _tell(self, record: FlagRecord) -> None:
        for listener in self.listeners:
            listener(record.document.environment, record.document.key)

    def _note(self, record: FlagRecord) -> bool:
        """Whether it is news."""
        document = record.document
        known = self._records.setdefault(document.environment, {})
        if document.key in known and known[document.key].document.version >= document.version:
            return False
        known[document.key] = record
        self._standings.pop(document.environment, None)
        self._wake()
        return True

    def standing(self, environment: str) -> Standing:
        """What is answered now. Made anew only after a write, or when the kill switch was moved."""
        known = self._standings.get(environment)
        revision = self._kill_switch.revision()
        if known is not None and known.feed.version.revision == revision:
            return known
        feed = self._feed(environment, revision)
        if environment not in self._records:  # anybody may ask for any name
            return Standing(feed)
        standing = self._standings[environment] = Standing(feed, self._made.setdefault(environment, Made()))
        return standing

    def _feed(self, environment: str, revision: int) -> Feed:
        documents = tuple(record.document for record in self._records.get(environment, {}).values())
        killed = self._kill_switch.is_killed(environment)
        is_held = {
            one.key: self._kill_switch.is_killed(environment, one.key, permanent=one.permanent) for one in documents
        }
        return Feed(
            environment,
            FeedVersion(max(newest(documents), self._generation), revision),
            documents,
            killed,
            lifted=tuple(one.key for one in documents if killed and not one.permanent and not is_held[one.key]),
            held=tuple(one.key for one in documents if is_held[one.key] and (one.permanent or not killed)),
        )

    def snapshot(self, environment: str) -> Snapshot:
        return self.standing(environment).snapshot

    def look_at_kill_switch(self) -> None:
        """Another process may have moved it: those who follow are woken if it was."""
        revision = self._kill_switch.revision()
        if revision != self._revision:
            self._revision = revision
            self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def changed(self, environment: str, since: FeedVersion | None) -> Standing:
        """The newest standing, as soon as it is another than *since*; at once without one."""
        while True:
            moved = self._moved
            standing = self.standing(environment)
            if standing.feed.version != since:
                return standing
            await moved.wait()
