"""In place of a desktop: keeps the app open. SIGHUP quits it and opens it again, from what is built then.

    python -m examples.taskerino.launcher --home FOLDER --dist FOLDER --port 8000

`launcher.pid` in the home is where to send the signal, and `running` has the app's process and commit.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


class Launcher:
    def __init__(self, home: Path, dist: Path, port: int) -> None:
        words = ["--home", str(home), "--dist", str(dist), "--port", str(port)]
        self._command = [sys.executable, "-m", "examples.taskerino.service", *words]
        self._home = home
        self._signals: list[int] = []
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda got, _: self._signals.append(got))
        (home / "launcher.pid").write_text(f"{os.getpid()}\n")

    def run(self) -> None:
        """Until SIGTERM."""
        app = self._opened()
        while True:
            while self._signals:
                number = self._signals.pop(0)
                self._quit(app)
                if number != signal.SIGHUP:
                    return
                app = self._opened()
            time.sleep(0.02)

    def _opened(self) -> "subprocess.Popen[bytes]":
        with (self._home / "output.log").open("ab") as output:
            return subprocess.Popen(self._command, stdout=output, stderr=output)

    def _quit(self, app: "subprocess.Popen[bytes]") -> None:
        app.terminate()
        try:
            app.wait(5.0)
        except subprocess.TimeoutExpired:
            app.kill()
            app.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.taskerino.launcher", description="Keeps the app open.")
    parser.add_argument("--home", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--dist", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    Launcher(given.home, given.dist, given.port).run()


if __name__ == "__main__":
    main()
