"""What a client holds: the newest feed it has seen, in memory and on its disk.

Theory of operation. Versions never go back: a text is taken only if it is newer than what is held, and a newer one
that another process left on the disk is taken as well. Of an older text the kill switch is taken, if it was moved
since. On the disk there is always one whole feed: it is written beside the old one, synced, and then takes its name.
Writers of one path take turns by a lock, or the slower one could put an older feed over a newer. What can't be read is
ignored and what can't be written is tried again; both are said once and never raised, for flags in memory work without
a disk.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from flags.errors import FlagError
from flags.feed import Feed, FeedVersion, InvalidFeed
from flags.snapshot import Snapshot

try:
    import fcntl
except ImportError:  # a system without file locks
    fcntl = None  # type: ignore[assignment]

_HAS_LOCKS = fcntl is not None
log = logging.getLogger("flags.client")

MOST_BYTES: Final = 64 * 1024 * 1024
"""Of a feed, wherever it comes from."""

_TURNS: Final = 40
_TURN_SECONDS: Final = 0.025


class Origin(StrEnum):
    """Where the flags that are held came from."""

    DEFAULTS = "defaults"
    CACHE = "cache"
    FILE = "file"
    SERVER = "server"


def read_bounded(path: Path) -> bytes:
    """A regular file's bytes. OSError if it can't be read, InvalidFeed for what is no file or far too large."""
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise InvalidFeed(f"{path} is no regular file")
        text = file.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise InvalidFeed(f"{path} is larger than {MOST_BYTES:,} bytes")
    return text


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a named pipe would wait for its other end


def reason_of(problem: Exception) -> str:
    return (problem.strerror if isinstance(problem, OSError) else None) or str(problem) or type(problem).__name__


# --- on the disk ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cache:
    """The last known good feed at `path`."""

    path: Path

    def load(self, environment: str) -> tuple[Feed, float] | None:
        """The feed and when it was written (seconds since 1970); None for none, or one of no use."""
        try:
            feed = Feed.decode(read_bounded(self.path))
            written_at = self.path.stat().st_mtime
        except FileNotFoundError:
            return None
        except (OSError, FlagError) as problem:
            log.warning("flags on disk are ignored: %s: %s", self.path, reason_of(problem))
            return None
        if feed.environment != environment:
            log.warning("flags on disk are ignored: %s has those of %r", self.path, feed.environment)
            return None
        return feed, written_at

    def store(self, text: bytes, feed: Feed) -> Feed | None:
        """The feed on the disk if that is newer, else None once `text` (that of `feed`) is there. Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._turn():
            version = self._version(feed.environment)
            if version is None or version < feed.version:
                self._replace(text)
            elif version > feed.version:
                newer = self.load(feed.environment)
                return newer[0] if newer is not None else None
        return None

    def _version(self, environment: str) -> FeedVersion | None:
        """Of the feed on the disk; None if there is none of this environment. Its flags are not looked at."""
        try:
            data = json.loads(read_bounded(self.path))
            return FeedVersion.parse(data["version"]) if data["environment"] == environment else None
        except (OSError, FlagError, ValueError, TypeError, KeyError, RecursionError):
            return None

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        if not _HAS_LOCKS:
            yield
            return
        lock = os.open(self.path.with_name(self.path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            for turn in range(_TURNS):  # not for ever: whoever has the lock may have been stopped
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if turn == _TURNS - 1:
                        raise
                    time.sleep(_TURN_SECONDS)
            try:
                yield
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)  # closing alone would leave it with a child that was forked meanwhile
        finally:
            os.close(lock)

    def _replace(self, text: bytes) -> None:
        made = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        made.unlink(missing_ok=True)
        try:
            with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            made.replace(self.path)
        except BaseException:
            made.unlink(missing_ok=True)
            raise
        _sync_folder(self.path.parent)


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems can't; the file itself is whole
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# --- in memory --------------------------------------------------------------------------------------------------------

Publish = Callable[[Feed | None, Feed, Snapshot], None]
"""Of the feed before, the one that is taken, and its flags."""


class Holder:
    """Judges what a source hands in. One thread at a time does; the attributes may be read by any."""

    def __init__(self, environment: str, cache: Cache | None, publish: Publish) -> None:
        self.environment = environment
        self.held: tuple[Feed, Snapshot] | None = None  # one reference: a fork finds both or neither
        self.origin = Origin.DEFAULTS
        self.connected = False
        self.answered = threading.Event()
        """The source has said, at least once, what its flags are."""
        self._cache = cache
        self._publish = publish
        self._unsaved: bytes | None = None
        self._current_at: float | None = None  # monotonic
        self._is_behind = False  # the source's own flags are older than those held
        self._source_error: str | None = None
        self._disk_error: str | None = None

    @property
    def feed(self) -> Feed | None:
        return self.held[0] if self.held is not None else None

    @property
    def version(self) -> FeedVersion | None:
        return self.held[0].version if self.held is not None else None

    @property
    def age_seconds(self) -> float | None:
        return max(time.monotonic() - self._current_at, 0.0) if self._current_at is not None else None

    @property
    def last_error(self) -> str | None:
        return self._source_error or self._disk_error

    def start(self) -> None:
        """From the disk, before any source has said a word."""
        found = self._cache.load(self.environment) if self._cache is not None else None
        if found is not None:
            feed, written_at = found
            self._adopt(feed, Origin.CACHE)
            self._current_at = time.monotonic() - max(time.time() - written_at, 0.0)

    def after_fork(self) -> None:
        """In the child, where no other thread is left that could hold a lock or let go of it."""
        answered, self.answered = self.answered.is_set(), threading.Event()
        self.connected = False
        if answered:
            self.answered.set()

    def opened(self) -> None:
        """A conversation with the source begins."""
        self._is_behind = False

    def confirm(self, origin: Origin) -> None:
        """The source is there, and has nothing newer than what it handed in last."""
        self.connected = True
        if not self._is_behind and self.held is not None:
            if self._source_error is not None:
                log.info("flags of %r are fed again", self.environment)
            self._source_error = None
            self._current_at = time.monotonic()
            self.origin = origin
            self.answered.set()
        self._save()

    def take(self, text: bytes, origin: Origin, *, edited: bool = False) -> None:
        """Raises FlagError for what is no feed of this environment; an older one is only noted. `edited`: another text
        of the same version is news too, as it is in a file that people write."""
        feed = Feed.decode(text, self.feed if not edited else None)
        if feed.environment != self.environment:
            raise InvalidFeed(f"flags of {self.environment!r} are expected, got those of {feed.environment!r}")
        held = self.feed
        self._is_behind = held is not None and feed.version < held.version
        if held is not None and self._is_behind and feed.version.revision > held.version.revision:
            # whatever became of the flags there: a kill switch that was moved since has to work
            switched = held.switched_as(feed)
            self._adopt(switched, origin)
            self._unsaved = switched.encode()
            held = switched
        if held is not None and self._is_behind:
            self._say(f"the {origin} has version {feed.version}, older than {held.version}, which is kept")
            self.answered.set()
        elif held is None or feed.version > held.version or (edited and feed.encode() != held.encode()):
            self._adopt(feed, origin)
            self._unsaved = text
        self.confirm(origin)

    def failed(self, sentence: str) -> None:
        """The source can't be had, or hands in nonsense: what is held stays."""
        self.connected = False
        self._say(sentence)

    def _say(self, sentence: str) -> None:
        """Once, not at every attempt."""
        if sentence != self._source_error:
            log.warning("flags of %r stay as they are: %s", self.environment, sentence)
        self._source_error = sentence

    def _adopt(self, feed: Feed, origin: Origin) -> None:
        before, known = self.held if self.held is not None else (None, None)
        snapshot = feed.snapshot(known)
        self.held, self.origin = (feed, snapshot), origin
        self._publish(before, feed, snapshot)

    def _save(self) -> None:
        text, feed = self._unsaved, self.feed
        if self._cache is None or text is None or feed is None:
            return
        try:
            newer = self._cache.store(text, feed)
        except OSError as problem:
            sentence = f"the flags can't be written to {self._cache.path}: {reason_of(problem)}"
            if sentence != self._disk_error:
                log.warning("%s", sentence)
            self._disk_error = sentence
            return
        self._unsaved = self._disk_error = None
        if newer is not None:
            self._is_behind = True
            self._adopt(newer, Origin.CACHE)
