"""Where things are: the state directory, the store, and the controller that a command speaks to."""

import json
import os
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UsageError

CACERT = "ROLLOUT_CACERT"
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8040
DEFAULT_LISTEN = f"{DEFAULT_HOST}:{DEFAULT_PORT}"


@dataclass(frozen=True, slots=True)
class Address:
    """A controller as a client sees it. *pid* is known of one on this machine that left its address for its user, and
    *certificate* is the file of the one that it shows, whatever name it is for."""

    url: str
    token: str | None = None
    pid: int | None = None
    certificate: str | None = None


def state_dir() -> Path:
    own = os.environ.get("ROLLOUT_STATE_DIR")
    if own:
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state").absolute() / "staged-rollout"


def store_url() -> str:
    """``ROLLOUT_STORE``, without the end of a line that a file it came from may have had."""
    return os.environ.get("ROLLOUT_STORE", "").strip() or f"sqlite:///{state_dir() / 'rollout.db'}"


def find_controller(server: str | None = None) -> Address | None:
    """The one that was named (``--server``, ``ROLLOUT_SERVER``), else the user's own if it is alive, else None."""
    url = server or os.environ.get("ROLLOUT_SERVER")
    if url:
        return Address(checked_url(url), _token())
    return read_controller_file(state_dir() / "controller.json")


def _token() -> str | None:
    """Raises ``UsageError``, without the token in it, for what could not be sent."""
    token = os.environ.get("ROLLOUT_TOKEN", "").strip()
    if not token.isascii() or not token.isprintable():
        raise UsageError("ROLLOUT_TOKEN is no token: it has a line break or a letter that none has; copy it again")
    return token or None


def means_cluster(arguments: Namespace) -> bool:
    """Whether ``--context`` was given. Raises ``UsageError`` for what does not go together."""
    if arguments.context is None:
        if arguments.namespace is not None:
            raise UsageError("--namespace belongs to --context NAME: name the cluster too")
        return False
    if arguments.server is not None:
        raise UsageError("--server is a controller and --context a cluster: name one of the two")
    return True


def read_controller_file(path: Path) -> Address | None:
    """None if it is not there, is not (yet) whole, or what wrote it has ended."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        address = Address(str(found["url"]), found.get("token"), int(found["pid"]), found.get("certificate"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return address if address.pid and address.pid > 0 and is_alive(address.pid) else None


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def checked_url(url: str) -> str:
    """With its scheme, and without a slash at the end. Raises ``UsageError``."""
    if "://" not in url:
        url = f"http://{url}"
    scheme, _, rest = url.partition("://")
    if scheme not in ("http", "https") or not rest.strip("/"):
        raise UsageError(f"{url!r} is no address of a controller; http://HOST:PORT or https://HOST is expected")
    return url.rstrip("/")


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``, ``[::1]:PORT`` or ``:PORT`` (on loopback). Port 0 is any free one."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--listen {text!r}: HOST:PORT is expected, such as {DEFAULT_LISTEN}")
    return host.strip("[]") or DEFAULT_HOST, int(port)
