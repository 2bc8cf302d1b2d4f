"""A host that runs what it is told to: a process manager, as small as it can be.

`wanted/backend` names the release (a folder in `releases/`) that has to run, `wanted/cache` that a cache has to. The
backend is started again when another release is wanted, and when it ended; each start begins a log of its own.

    python -m examples.tool_history.host FOLDER --port 8000 --grpc-port 8001 --cache-port 8002
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

LOOK_SECONDS = 0.05


class Host:
    def __init__(self, folder: Path, port: int, grpc_port: int, cache_port: int) -> None:
        self._folder = folder
        self._ports = (port, grpc_port)
        self._cache_port = cache_port
        self._backend: subprocess.Popen[bytes] | None = None
        self._cache: subprocess.Popen[bytes] | None = None
        self._release = ""

    def look(self) -> None:
        wanted = self._wanted("backend")
        if wanted and (wanted != self._release or self._backend is None or self._backend.poll() is not None):
            self._start_backend(wanted)
        if self._wanted("cache") and self._cache is None:
            command = ["-m", "examples.tool_history.cache", str(self._cache_port)]
            self._cache = subprocess.Popen([sys.executable, *command])
        elif not self._wanted("cache") and self._cache is not None:
            end(self._cache)
            self._cache = None

    def _wanted(self, name: str) -> str:
        file = self._folder / "wanted" / name
        return file.read_text().strip() if file.exists() else ""

    def _start_backend(self, release: str) -> None:
        if self._backend is not None:
            end(self._backend)
        port, grpc_port = self._ports
        folder = self._folder / "releases" / release
        command = ["--release", str(folder), "--port", str(port), "--grpc-port", str(grpc_port)]
        with (self._folder / "backend.log").open("w") as log:
            self._backend = subprocess.Popen(
                [sys.executable, "-m", "examples.tool_history.service", *command], stdout=log, stderr=log
            )
        self._release = release

    def end(self) -> None:
        for process in (self._backend, self._cache):
            if process is not None:
                end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--grpc-port", type=int, required=True)
    parser.add_argument("--cache-port", type=int, required=True)
    given = parser.parse_args()
    host = Host(given.folder, given.port, given.grpc_port, given.cache_port)

    def leave(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit

    signal.signal(signal.SIGTERM, leave)
    parent = os.getppid()
    try:
        while os.getppid() == parent:  # whoever started it may have been killed
            host.look()
            time.sleep(LOOK_SECONDS)
    finally:
        host.end()


if __name__ == "__main__":
    main()
