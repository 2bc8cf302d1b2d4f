"""The flags inside an application: answered in process, fed in the background.

    from flags.client import FlagClient

    flags = FlagClient("http://127.0.0.1:8040", cache="/var/cache/shop/flags.json")
    if flags.is_on("new-api", {"targetingKey": "user-1", "team": "search"}):
        ...

Theory of operation. A thread reads the feed of one environment from a server (listening, or asking again and again) or
from a file, compiles each new one, and swaps one reference; asking a flag reads that reference and evaluates, without a
lock, a file or the network. Whatever goes wrong outside leaves the flags as they are: the last ones seen, else those on
the disk from before, else the defaults. Nothing is raised into the application but for arguments that can't be meant.

After a fork the child has no thread: a new one is started there, with a connection of its own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, Literal, Self, cast, overload
from urllib.parse import urlsplit
from weakref import WeakSet

from flags._cache import Cache, Holder, Origin
from flags._sources import FileSource, PollSource, Server, Source, StreamSource, Timing
from flags.errors import ErrorCode, FlagError, InvalidFlag, shown
from flags.evaluate import Context, Details, Reason
from flags.feed import Feed
from flags.model import PARAMETERS_SUFFIX, FlagDocument
from flags.snapshot import Snapshot
from flags.values import FlagValue, Frozen, freeze, name

__all__ = ["FlagClient", "InvalidSetting", "Origin", "Status", "Timing"]

log = logging.getLogger(__name__)

Listener = Callable[[frozenset[str]], object]

_NOBODY: Final[Context] = MappingProxyType({})
_NO_PARAMETERS: Final[Mapping[str, Frozen]] = MappingProxyType({})
_MOST_COMPLAINTS: Final = 1000
_CLIENTS: WeakSet[FlagClient] = WeakSet()


class InvalidSetting(FlagError, ValueError):
    """A client was given an argument that can't be meant."""


@dataclass(frozen=True, slots=True)
class Status:
    """How a client is fed.

    `age_seconds`: since the flags were last known to be the current ones; None as long as there are only defaults.
    `connected`: the last conversation with the source went well. `last_error` is None again when it is mended.
    """

    source: Origin
    version: str | None
    age_seconds: float | None
    connected: bool
    last_error: str | None


class FlagClient:
    """Flags of one `environment`, from the server at `url` or from `file`, a feed that is watched.

    `mode`: "stream" listens, "poll" asks every `poll_seconds` (which is also how often a file is looked at). `cache`:
    where the last flags are kept, for a start without the server; one path for each environment, and processes may
    share it. `defaults`: values for flags that are not known, by key. `tls`: for https, if not the system's
    authorities. Raises `InvalidSetting`; that a server or a file can't be had is no error but a `status`.

    Use it as a context manager, or call `close`.
    """

    def __init__(  # noqa: PLR0913 - each is a setting of its own, and all but the first go by name
        self,
        url: str | None = None,
        *,
        environment: str = "production",
        token: str | None = None,
        mode: Literal["stream", "poll"] = "stream",
        poll_seconds: float = 5.0,
        cache: str | os.PathLike[str] | None = None,
        file: str | os.PathLike[str] | None = None,
        defaults: Mapping[str, object] | None = None,
        timing: Timing | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        _check_environment(environment)
        _check_source(url, file, token, cache)
        if mode not in ("stream", "poll"):
            raise InvalidSetting(f"mode: 'stream' or 'poll' is expected, got {shown(mode)}")
        _check_seconds(poll_seconds)
        self._defaults = _frozen_defaults(defaults or {})
        self._timing = timing or Timing()
        self._make_source: Callable[[], Source]
        if file is not None:
            path = Path(file)
            self._make_source = lambda: FileSource(path, poll_seconds)
        else:
            server = Server(cast(str, url), environment, token, tls)
            self._make_source = lambda: _server_source(server, self._timing, mode, poll_seconds)
        self.snapshot = Snapshot(environment=environment)
        """What is answered from: never changed, only replaced."""
        self._listeners: tuple[Listener, ...] = ()
        self._complaints: set[str] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._holder = Holder(environment, Cache(Path(cache)) if cache is not None else None, self._publish)
        self._holder.start()
        self._source = self._make_source()
        if isinstance(self._source, FileSource):
            self._source.look(self._holder)
        self._thread = self._started()
        _CLIENTS.add(self)

    # --- asking -------------------------------------------------------------------------------------------------------

    def is_on(self, key: str, context: Context | None = None) -> bool:
        """Does this context get the on variant? For a flag that is not known: is its default True?"""
        try:
            flag = self.snapshot.get(key)
            if flag is None:
                return self._defaults.get(key) is True
            return flag.is_on(_NOBODY if context is None else context)
        except Exception as problem:  # noqa: BLE001 - a flag never breaks its application
            self._complain(key, problem)
            return _is_true_in(self._defaults, key)

    @overload
    def value(self, key: str, default: bool, context: Context | None = None) -> bool: ...
    @overload
    def value(self, key: str, default: int, context: Context | None = None) -> int: ...
    @overload
    def value(self, key: str, default: float, context: Context | None = None) -> float: ...
    @overload
    def value(self, key: str, default: str, context: Context | None = None) -> str: ...
    @overload
    def value(self, key: str, default: Mapping[str, Any], context: Context | None = None) -> Mapping[str, Any]: ...

    def value(self, key: str, default: FlagValue, context: Context | None = None) -> FlagValue:
        """The value of the variant that this context gets. `default` for a flag that is not known (unless the client
        has a default for it) or is of another type; an integer will do where `default` is a float."""
        try:
            flag = self.snapshot.get(key)
            found = self._defaults.get(key) if flag is None else flag.value(_NOBODY if context is None else context)
            return _as(found, default)
        except Exception as problem:  # noqa: BLE001 - a flag never breaks its application
            self._complain(key, problem)
            return default

    def details(self, key: str, default: FlagValue = False, context: Context | None = None) -> Details:
        """The value with its variant, reason and metadata. A flag that is not known answers like `value`, with an
        empty variant and `FLAG_NOT_FOUND`. The type of `default` is not asked for."""
        try:
            flag = self.snapshot.get(key)
            if flag is not None:
                return flag.details(_NOBODY if context is None else context)
            value = _as(self._defaults.get(key), default)
            sentence = f"there is no flag {shown(key)} in environment {self.snapshot.environment!r}"
            return Details(value, "", Reason.ERROR, ErrorCode.FLAG_NOT_FOUND, error_details=sentence)
        except Exception as problem:  # noqa: BLE001 - a flag never breaks its application
            self._complain(key, problem)
            return Details(default, "", Reason.ERROR, ErrorCode.GENERAL, error_details=str(problem))

    def parameters(self, key: str) -> Mapping[str, Frozen]:
        """The parameters in force, profile included; of a flag that has none, or is not known, an empty mapping."""
        try:
            found = self.snapshot.get(key + PARAMETERS_SUFFIX)
            value = found.value(_NOBODY) if found is not None else self._defaults.get(key + PARAMETERS_SUFFIX)
            return value if isinstance(value, Mapping) else _NO_PARAMETERS
        except Exception as problem:  # noqa: BLE001 - a flag never breaks its application
            self._complain(key, problem)
            return _NO_PARAMETERS

    # --- being fed ----------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        holder = self._holder
        version = holder.version
        return Status(
            holder.origin,
            str(version) if version is not None else None,
            holder.age_seconds,
            holder.connected and not self._closed,
            holder.last_error,
        )

    def wait_until_ready(self, timeout_seconds: float = 5.0) -> bool:
        """Until the source itself has said what its flags are, which those of the cache may no longer be. False if it
        has not by then: the client answers nonetheless. It blocks; in asyncio, call it with `asyncio.to_thread`."""
        return self._holder.answered.wait(max(timeout_seconds, 0.0))

    def on_change(self, listener: Listener) -> Callable[[], None]:
        """`listener` gets the keys of the flags that came, went or were written, or that the kill switch took hold of
        or let go, in the client's thread. What it raises is logged. Returns a function that ends this."""
        with self._lock:
            self._listeners = (*self._listeners, listener)

        def end() -> None:
            with self._lock:
                self._listeners = tuple(one for one in self._listeners if one is not listener)

        return end

    def close(self) -> None:
        """Ends the thread, also in the midst of a read. The flags stay as they are, and can still be asked."""
        self._closed = True
        self._source.stop()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(self._timing.close_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _thread_is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    # --- in the background --------------------------------------------------------------------------------------------

    def _started(self) -> threading.Thread | None:
        thread = threading.Thread(target=self._work, args=(self._source,), name="flags", daemon=True)
        try:
            thread.start()
        except RuntimeError as problem:  # no more threads, or the interpreter ends
            self._holder.failed(f"no thread can be started for them: {problem}")
            return None
        return thread

    def _work(self, source: Source) -> None:
        pause = threading.Event()
        while not self._closed and source is self._source:
            try:
                source.run(self._holder)
            except Exception:
                log.exception("the thread that feeds flags goes on after a fault")
                pause.wait(self._timing.pause_seconds(1))
            else:
                return

    def _publish(self, before: Feed | None, feed: Feed, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        listeners = self._listeners
        if not listeners:
            return
        changed = _changed(before, feed)
        if changed:
            for listener in listeners:
                try:
                    listener(changed)
                except Exception:
                    log.exception("a listener for changed flags failed")

    def _complain(self, key: object, problem: Exception) -> None:
        """Once for each key: it may be asked a thousand times a second."""
        known = shown(key)
        if known not in self._complaints and len(self._complaints) < _MOST_COMPLAINTS:
            self._complaints.add(known)
            log.warning("flag %s is answered by its default: %s: %s", known, type(problem).__name__, problem)

    def _restart_in_child(self) -> None:
        self._lock = threading.Lock()
        self._source.abandon()
        self._holder.after_fork()
        if self._holder.held is not None:
            self.snapshot = self._holder.held[1]
        if not self._closed:
            self._source = self._make_source()
            self._thread = self._started()


def _restart_in_child() -> None:
    for client in list(_CLIENTS):
        client._restart_in_child()  # noqa: SLF001 - this module's own class


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_in_child)


def _server_source(server: Server, timing: Timing, mode: str, poll_seconds: float) -> Source:
    return StreamSource(server, timing) if mode == "stream" else PollSource(server, timing, poll_seconds)


def _is_true_in(defaults: Mapping[str, Frozen], key: object) -> bool:
    return isinstance(key, str) and defaults.get(key) is True


def _as(found: object, default: FlagValue) -> FlagValue:
    """What was found if it is of the type of `default`, else `default`."""
    if isinstance(default, bool) or isinstance(found, bool):
        fits = isinstance(found, bool) and isinstance(default, bool)
    elif isinstance(default, float):
        return float(found) if isinstance(found, int | float) else default
    elif isinstance(default, Mapping):
        fits = isinstance(found, Mapping)
    else:
        fits = isinstance(found, int | str) and type(found) is type(default)
    return cast(FlagValue, found) if fits else default


def _changed(before: Feed | None, feed: Feed) -> frozenset[str]:
    old, new = _standings(before), _standings(feed)
    return frozenset(key for key in chain(old, new) if old.get(key) != new.get(key))


def _standings(feed: Feed | None) -> dict[str, tuple[FlagDocument, bool]]:
    """Each document, and whether the kill switch holds it."""
    if feed is None:
        return {}
    held, lifted = frozenset(feed.held), frozenset(feed.lifted)
    return {
        one.key: (one, one.key in held or (feed.killed and not one.permanent and one.key not in lifted))
        for one in feed.documents
    }


# --- arguments --------------------------------------------------------------------------------------------------------


def _check_environment(environment: str) -> None:
    try:
        name(environment, "environment")
    except InvalidFlag as problem:
        raise InvalidSetting(str(problem)) from None


def _check_source(url: object, file: object, token: object, cache: object) -> None:
    if (url is None) == (file is None):
        raise InvalidSetting("url or file: one of the two is expected, where the flags come from")
    if file is not None and cache is not None:
        raise InvalidSetting("cache: a client that reads a file has its flags on the disk already; leave it out")
    if file is not None and token is not None:
        raise InvalidSetting("token: a file needs none; leave it out")
    if token is not None and not (isinstance(token, str) and token.isascii() and token.isprintable() and token.strip()):
        raise InvalidSetting("token: printable ASCII characters are expected")
    if url is not None:
        _check_url(url)


def _check_url(url: object) -> None:
    wanted = "the server's address such as 'https://flags.example.com:8040' is expected"
    with contextlib.suppress(ValueError):
        if not isinstance(url, str):
            raise ValueError
        parts = urlsplit(url)
        plain = url.isascii() and url.isprintable() and " " not in url
        has_more = parts.query or parts.fragment or parts.username or parts.password
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and plain and not has_more:
            return
    raise InvalidSetting(f"url: {wanted}, got {shown(url)}")


def _check_seconds(seconds: object) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0.01 <= seconds <= 86400:
        raise InvalidSetting(f"poll_seconds: a number from 0.01 to 86400 is expected, got {shown(seconds)}")


def _frozen_defaults(defaults: object) -> Mapping[str, Frozen]:
    if not isinstance(defaults, Mapping):
        raise InvalidSetting(f"defaults: values by flag key are expected, got {shown(defaults)}")
    try:
        return {name(key, "defaults"): freeze(value, f"defaults.{key}") for key, value in defaults.items()}
    except InvalidFlag as problem:
        raise InvalidSetting(str(problem)) from None
