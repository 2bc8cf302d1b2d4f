"""One message through apprise, in a process of its own. It imports nothing of the project, and decides nothing.

Theory of operation. Apprise blocks, has no time limit for the whole, follows proxies of the environment and reads
answers of any size, and its hundred services call whatever they like. So it gets a process that is killed when its time
is over, whose environment is nearly empty and whose memory is bounded. Every name it looks up is asked of the
controller, line by line over standard input and output, which answers with addresses that may be called or with a
refusal; and it connects to nothing else. It starts no programs, writes no files, and for plans that are not the owner's
it reads only what Python itself consists of.
"""

import importlib
import json
import logging
import os
import re
import resource
import signal
import socket
import sys
from types import TracebackType
from typing import Any, NoReturn

MOST_MEMORY_BYTES = 256 * 1024 * 1024
_STATUS = re.compile(r"\berror=(\d{3})\b")
_SMTP = re.compile(r"Socket Exception: \(?(?:\d+, )?\{?.*?\b([45]\d\d)\b")
_DENIED = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn")
_OF_HERE = ("ctypes.dlopen", "syslog.openlog", "syslog.syslog")
_NAMES = ("socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo")
_CONNECTS = ("socket.connect", "socket.sendto", "socket.sendmsg")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC


class Controller:
    """The other end: questions and the answer go out as lines of JSON, and answers come in likewise."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        self._in = os.fdopen(os.dup(0), "r", encoding="utf-8")
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):  # whatever a library prints may hold secrets
            os.dup2(null, standard)

    def read(self) -> Any:
        line = self._in.readline()
        if not line:
            os._exit(3)  # nobody is there any more who would hear of it
        return json.loads(line)

    def say(self, **message: Any) -> None:
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()

    def addresses(self, host: str, port: int) -> list[tuple[str, int]]:
        self.say(ask=host, port=port)
        answer = self.read()
        if "refused" in answer:
            raise socket.gaierror(socket.EAI_FAIL, "refused")
        return [(str(address), int(at)) for address, at in answer["addresses"]]


class Guard:
    """Between the library and everything that is not itself."""

    def __init__(self, controller: Controller, reads_files: bool) -> None:
        self._controller = controller
        self._reads_files = reads_files
        self._known: set[tuple[str, int]] = set()
        self._folders = tuple(os.path.realpath(one) for one in (sys.prefix, sys.base_prefix, *sys.path) if one)
        self.armed = False

    def getaddrinfo(self, host: Any, port: Any, *args: Any, **named: Any) -> list[Any]:
        name = host.decode() if isinstance(host, bytes) else str(host)
        found = []
        for address, at in self._controller.addresses(name, int(port or 0)):
            self._known.add((address, at))
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            place = (address, at, 0, 0) if family == socket.AF_INET6 else (address, at)
            found.append((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place))
        return found

    def hook(self, event: str, values: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        if event in _CONNECTS:
            place = values[1]
            if not isinstance(place, tuple) or tuple(place[:2]) not in self._known:
                raise PermissionError("only what the controller looked up is called")
        elif event in _NAMES:
            raise socket.gaierror(socket.EAI_FAIL, "names are looked up by the controller")
        elif event in _DENIED or event in _OF_HERE:
            raise PermissionError("nothing of this machine is used")
        elif event == "open":
            self._open(*values)

    def _open(self, path: Any, mode: Any, flags: Any) -> None:
        if isinstance(path, int) or path in (os.devnull, "/dev/urandom"):
            return
        if (isinstance(flags, int) and flags & _WRITES) or (isinstance(mode, str) and set(mode) & set("wax+")):
            raise PermissionError("no files are written")
        if self._reads_files:
            return
        name = os.path.realpath(os.fsdecode(path))
        certificates = {os.environ.get(one) for one in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")}
        if name in certificates or any(name.startswith(folder + os.sep) for folder in self._folders):
            return
        if not name.startswith(("/usr/share/", "/usr/lib/", "/etc/ssl/", "/etc/mime.types")):
            raise PermissionError("only Python's own files are read")


class Heard(logging.Handler):
    """Of what the library logs only the status that a server answered with: its texts may hold secrets."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.status: int | None = None
        self.is_untrusted = False
        self.is_unreachable = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            return
        if (found := _STATUS.search(text) or _SMTP.search(text)) is not None:
            self.status = int(found[1])
        self.is_untrusted |= "CERTIFICATE_VERIFY_FAILED" in text
        self.is_unreachable |= "onnection error" in text


def main() -> NoReturn:
    controller = Controller()
    job = controller.read()
    signal.setitimer(signal.ITIMER_REAL, float(job["seconds"]))  # and without anybody who could kill it
    sys.path[:] = job["path"]
    heard = Heard()
    try:
        is_sent = _send(job, controller, heard)
    except Exception as problem:  # noqa: BLE001 - a service of a hundred; its text may hold secrets
        controller.say(sent=False, crashed=type(problem).__name__)
        os._exit(1)
    controller.say(sent=is_sent, status=heard.status, untrusted=heard.is_untrusted, unreachable=heard.is_unreachable)
    os._exit(0)


def _send(job: Any, controller: Controller, heard: Heard) -> bool:
    import apprise

    guard = Guard(controller, bool(job["reads_files"]))
    asset = apprise.AppriseAsset(app_id="Staged Rollout", app_desc="Staged Rollout", app_url="", async_mode=False)
    asset.http_redirects = False
    asset.image_url_mask = ""  # no logo of somebody else's
    log = logging.getLogger("apprise")
    log.handlers, log.propagate = [heard], False
    log.setLevel(logging.DEBUG)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    socket.getaddrinfo = guard.getaddrinfo
    socket.getfqdn = lambda name="": name or "localhost"
    sys.addaudithook(guard.hook)
    guard.armed = True
    service = _service(job, apprise, asset)
    if service is None:
        controller.say(sent=False, unusable=True)
        os._exit(0)
    return bool(service.notify(body=job["text"], title=job["title"], notify_type=apprise.NotifyType(job["type"])))


def _service(job: Any, apprise: Any, asset: Any) -> Any:
    """None if there is no such service, or if it does not take what it was given."""
    try:
        if job["plugin"] is None:
            return apprise.Apprise.instantiate(job["url"], asset=asset)
        module, _, name = job["plugin"].rpartition(".")
        plugin = getattr(importlib.import_module(f"apprise.plugins.{module}"), name)
        arguments = dict(job["arguments"])
        if job["url"] is not None:
            parsed = plugin.parse_native_url(job["url"])
            if parsed is None:
                return None
            arguments = {**{key: value for key, value in parsed.items() if key != "schema"}, **arguments}
        return plugin(asset=asset, **arguments)
    except (TypeError, ValueError, apprise.exception.AppriseException):
        return None


def _quiet(kind: type[BaseException], problem: BaseException, trace: TracebackType | None) -> None:
    """No traceback: it may hold secrets."""


if __name__ == "__main__":
    sys.excepthook = _quiet
    main()
