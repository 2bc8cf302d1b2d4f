"""In place of docker-compose: keeps the backend of one environment running, and restarts it on SIGHUP without a pause.

    python -m examples.enrichment.compose --site FOLDER --name staging --port 8000

The listening socket is its own. At a restart the new process takes connections before the old one is told to end, so
that nobody is turned away. `compose.pid` in the folder is where to send the signal, `running` has the process and the
commit that alone serve now, and `failed` is there when a restart came to nothing.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

READY_SECONDS = 30.0


class Compose:
    def __init__(self, site: Path, name: str, port: int) -> None:
        self._site, self._name = site, name
        self._socket = socket.create_server(("127.0.0.1", port), backlog=128)
        self._serving: subprocess.Popen[bytes] | None = None
        self._signals: list[int] = []
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda got, _: self._signals.append(got))
        (site / "compose.pid").write_text(f"{os.getpid()}\n")

    def run(self) -> None:
        """Until SIGTERM."""
        self._replace()
        while True:
            while self._signals:
                if self._signals.pop(0) != signal.SIGHUP:
                    self._end(self._serving)
                    return
                self._replace()
            time.sleep(0.02)

    def _replace(self) -> None:
        """One that does not come up leaves the old one where it is."""
        following = self._start()
        until = time.monotonic() + READY_SECONDS
        while not self._is_ready(following):
            if following.poll() is not None or time.monotonic() > until:
                self._end(following)
                (self._site / "failed").write_text("output.log has what it said\n")
                return
            time.sleep(0.02)
        self._end(self._serving)
        self._serving = following
        (self._site / "ready").replace(self._site / "running")

    def _start(self) -> "subprocess.Popen[bytes]":
        number = self._socket.fileno()
        words = [sys.executable, "-m", "examples.enrichment.service"]
        words += ["--site", str(self._site), "--name", self._name, "--socket", str(number)]
        with (self._site / "output.log").open("ab") as output:
            return subprocess.Popen(words, pass_fds=(number,), stdout=output, stderr=output)

    def _is_ready(self, process: "subprocess.Popen[bytes]") -> bool:
        file = self._site / "ready"
        return file.exists() and file.read_text().startswith(f"{process.pid} ")

    def _end(self, process: "subprocess.Popen[bytes] | None") -> None:
        if process is None:
            return
        process.terminate()
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.enrichment.compose", description="Keeps a backend up.")
    parser.add_argument("--site", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    Compose(given.site, given.name, given.port).run()


if __name__ == "__main__":
    main()
