"""Where things are: the state directory, the store, and the controller that a command speaks to."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UsageError

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8040
DEFAULT_LISTEN = f"{DEFAULT_HOST}:{DEFAULT_PORT}"


@dataclass(frozen=True, slots=True)
class Address:
    """A controller as a client sees it. *pid* is known of one on this machine that left its address for its user."""

    url: str
    token: str | None = None
    pid: int | None = None


def state_dir() -> Path:
    own = os.environ.get("ROLLOUT_STATE_DIR")
    if own:
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state").absolute() / "staged-rollout"


def store_url() -> str:
    return os.environ.get("ROLLOUT_STORE") or f"sqlite:///{state_dir() / 'rollout.db'}"


def find_controller(server: str | None = None) -> Address | None:
    """The one that was named (``--server``, ``ROLLOUT_SERVER``), else the user's own if it is alive, else None."""
    url = server or os.environ.get("ROLLOUT_SERVER")
    if url:
        return Address(_checked(url), os.environ.get("ROLLOUT_TOKEN") or None)
    return read_controller_file(state_dir() / "controller.json")


def read_controller_file(path: Path) -> Address | None:
    """None if it is not there, is not (yet) whole, or what wrote it has ended."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        address = Address(str(found["url"]), found.get("token"), int(found["pid"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return address if address.pid and is_alive(address.pid) else None


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _checked(url: str) -> str:
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
