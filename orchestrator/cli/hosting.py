"""A controller inside this process: its store, its HTTP server, and the note that lets other commands find it.

Order matters. The socket is bound first, so that a port that is in use is a plain refusal; then the store is opened,
which a lock allows to one controller only; the note (``controller.json``, for its owner alone) is written when requests
are answered, and removed before they no longer are.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from orchestrator.cli.access import Access
from orchestrator.cli.settings import DEFAULT_HOST, DEFAULT_PORT, Address, parse_listen, state_dir, store_url
from orchestrator.errors import StoreError, UsageError
from orchestrator.failpoints import Point, reach
from orchestrator.token_port import OwnerToken

if TYPE_CHECKING:
    from structlog.typing import Processor

    from orchestrator.api.credentials import Credentials
    from orchestrator.api.tokens import Token
    from orchestrator.app import Controller, Settings
    from orchestrator.retention import Keep

LOG_FORMAT = "ROLLOUT_LOG_FORMAT"
"""How a controller writes its log: ``logfmt``, or ``json`` for whatever collects that."""
GRACE_SECONDS = 8.0  # of the ten that a controller has to end in
MOST_LOG_BYTES = 16 * 1024 * 1024
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Hosted:
    controller: "Controller"
    address: Address
    credentials: "Credentials"
    settings: "Settings"


def bind(listen: str | None) -> socket.socket:
    """The address that was asked for, or refused; without one the usual port, or any free one if that is in use."""
    from orchestrator.api.server import AddressInUse
    from orchestrator.api.server import bind as bind_to

    if listen is not None:
        return bind_to(*parse_listen(listen))
    try:
        return bind_to(DEFAULT_HOST, DEFAULT_PORT)
    except AddressInUse:
        return bind_to(DEFAULT_HOST, 0)


@contextlib.asynccontextmanager
async def hosted(
    bound: socket.socket,
    access: Access | None = None,
    *,
    in_cluster: bool = False,
    namespace: str | None = None,
    advertise: str | None = None,
    keep: "Keep | None" = None,
) -> AsyncIterator[Hosted]:
    """Runs a controller while the body runs; it has taken up every unfinished run. Raises ``StoreError``.

    At the end what is under way gets a moment to finish, and runs stay where they are. *in_cluster*: its plans come
    from a *namespace* of a cluster. *advertise*: the URL at which other controllers of a shared store reach it. *keep*:
    for how long finished runs are kept whole (None: for ever).
    """
    from orchestrator.api.app import create_app
    from orchestrator.api.server import advertised, is_loopback, serving, url_of
    from orchestrator.api.tokens import Token, new_secret
    from orchestrator.app import Settings, build
    from orchestrator.cli.snapshots import Keeper
    from orchestrator.service import local_actor

    with contextlib.closing(bound):
        access = access or Access()
        access.check()
        secret, person = new_secret(), local_actor()
        owner = Token.of(secret, person.name, person.role)
        settings = Settings(
            store_url(),
            state_dir(),
            in_cluster,
            namespace,
            advertise or advertised(bound, access.scheme),
            access.allowance,
            keep,
        )
        controller = await build(settings)
        keeper = Keeper(controller.service)
        credentials = access.credentials(controller.tokens, owner)
        try:
            await _refuse_without_tokens(credentials, is_loopback(bound))
            await _lend(controller, owner)
            credentials.begin()
            address = Address(url_of(bound, access.scheme), secret, os.getpid(), _pinned(access))
            app = create_app(controller.service, credentials, is_loopback(bound))
            tls = access.tls.context() if access.tls is not None else None
            async with serving(app, bound, tls, access.proxies), keeper.keeping():
                with _noted(address):
                    yield Hosted(controller, address, credentials, settings)
        finally:
            await credentials.close()
            await controller.service.close(GRACE_SECONDS)
            await keeper.look()  # what was noted while it closed
            await controller.close()
            reach(Point.SHUTDOWN_CLOSED)


def _pinned(access: Access) -> str | None:
    return str(access.tls.certificate.absolute()) if access.tls is not None else None


async def _refuse_without_tokens(credentials: "Credentials", listen_is_loopback: bool) -> None:
    if listen_is_loopback or await credentials.has_any():
        return
    raise UsageError(
        "listening beyond loopback needs tokens, or nobody could speak to this controller: give --token-file FILE "
        "or --oidc-issuer URL, or serve on loopback first and make one with `rollout token create NAME --role admin`"
    )


async def _lend(controller: "Controller", owner: "Token") -> None:
    """So that what this controller passes on for its owner is known to the one that answers it."""
    sharing = controller.service.sharing
    if sharing is not None:
        await controller.tokens.lend(OwnerToken(sharing.me.name, owner.name, owner.role, owner.sha256))


@contextlib.contextmanager
def _noted(address: Address) -> Iterator[None]:
    """``controller.json``: written whole, readable by its owner alone, removed if it is still ours."""
    reach(Point.HOST_LISTENING)
    path = state_dir() / "controller.json"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = path.with_name(f"controller.json.{os.getpid()}")
    text = {"pid": address.pid, "url": address.url, "token": address.token, "started": time.time()}
    if address.certificate is not None:
        text["certificate"] = address.certificate
    made.unlink(missing_ok=True)
    with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(text, file)
    made.replace(path)
    reach(Point.HOST_NOTED)
    try:
        yield
    finally:
        if _pid_in(path) == address.pid:
            path.unlink(missing_ok=True)


def _pid_in(path: Path) -> int | None:
    try:
        return int(json.loads(path.read_text())["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def waking_loop() -> asyncio.AbstractEventLoop:
    """For a controller that may share its store: see ``app``."""
    from orchestrator.app import waking_loop as made

    return made()


# --- what a controller's process needs --------------------------------------------------------------------------------


@contextlib.contextmanager
def ending_signals(happened: asyncio.Event) -> Iterator[None]:
    """Sets *happened* when this process is told to end."""
    loop = asyncio.get_running_loop()
    for number in ENDING:
        loop.add_signal_handler(number, happened.set)
    try:
        yield
    finally:
        for number in ENDING:
            loop.remove_signal_handler(number)


def log_to(stream: TextIO) -> None:
    """What a controller says about itself: lines for machines and operators, never mixed into results."""
    import logging

    import structlog

    from orchestrator.redaction import RedactedStream

    stream = cast(TextIO, RedactedStream(stream))
    logging.basicConfig(stream=stream, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _renderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def log_to_file() -> Path:
    """For a controller behind a live view: ``controller.log`` of the state directory."""
    path = log_file()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        stream = open(path, "a", encoding="utf-8", buffering=1, opener=_private)  # noqa: SIM115 - until the end
    except OSError as error:
        raise unusable_state(error) from None
    log_to(cast(TextIO, LogFile(path, stream)))
    return path


class LogFile:
    """A log on a disk that may be full. What can't be written is dropped: no run stops for want of a line here.

    When it has become large it is set aside under ``.1``, in the place of what was there, and begun anew.
    """

    def __init__(self, path: Path, stream: TextIO) -> None:
        self._path = path
        self._stream = stream
        self._left_bytes = self._left()

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
            self._left_bytes -= len(text)
            if self._left_bytes < 0:
                self._set_aside()
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def _left(self) -> int:
        return MOST_LOG_BYTES - os.fstat(self._stream.fileno()).st_size

    def _set_aside(self) -> None:
        self._stream.flush()
        self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        new = _private(str(self._path), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.dup2(new, self._stream.fileno())
        finally:
            os.close(new)
            self._left_bytes = self._left()


def unusable_state(error: OSError) -> StoreError:
    reason = (error.strerror or str(error)).lower()
    return StoreError(
        f"the state directory {state_dir()} can't be used: {reason}; mend that, or name another with ROLLOUT_STATE_DIR"
    )


def _renderer() -> "Processor":
    import structlog

    form = os.environ.get(LOG_FORMAT, "logfmt")
    if form == "json":
        return structlog.processors.JSONRenderer()
    if form != "logfmt":
        raise UsageError(f"{LOG_FORMAT} is {form!r}; logfmt and json are known")
    return structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])


def log_file() -> Path:
    return state_dir() / "controller.log"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def log_to_errors() -> None:
    """Which is ``controller.log`` for a controller in the background."""
    path, stream = log_file(), sys.stderr
    with contextlib.suppress(OSError, ValueError):  # it is elsewhere, or no file
        if os.path.samestat(os.fstat(stream.fileno()), path.stat()):
            stream = cast(TextIO, LogFile(path, stream))
    log_to(stream)
