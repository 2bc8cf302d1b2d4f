"""One control plane for all workers of a test run: the first who asks for it starts it, and it ends when nobody holds
it any more.

It belongs to a process of its own, since the worker that started it may end before the others do. Who uses it holds a
shared lock on the file `users`, which the system takes from a process however that ends. The owner tries to get this
lock for itself, and ends once it does: neither a worker that crashes nor a test run that is killed leaves anything
behind.
"""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tests.support.cluster import Cluster, ControlPlane
from tests.support.process import ROOT

POLL_SECONDS = 0.5


@contextmanager
def shared_cluster(folder: Path, programs: Path) -> Iterator[Cluster]:
    """The control plane of everybody who names this folder. AssertionError with its log if it can't be started."""
    folder.mkdir(exist_ok=True)
    with (folder / "users").open("a") as users:
        with (folder / "starting").open("a") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_SH)  # waits while an owner ends
            if not _has_owner(folder):
                _start(folder, programs)
        known = json.loads((folder / "cluster.json").read_text())
        yield Cluster(Path(known["folder"]), programs, known["port"])


def _has_owner(folder: Path) -> bool:
    with (folder / "owner").open("a") as owner:
        return not _try_to_lock(owner)


def _try_to_lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _start(folder: Path, programs: Path) -> None:
    command = [sys.executable, "-m", "tests.support.shared_cluster", str(folder), str(programs)]
    with (folder / "log").open("w") as log:
        done = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, check=False
        )
    assert done.returncode == 0, f"the control plane does not start:\n{(folder / 'log').read_text()}"


def own(folder: Path, programs: Path, ready: int) -> None:
    """Runs it until it has no users; says on the file descriptor *ready* that it can be used."""
    with (folder / "users").open("a") as users, (folder / "owner").open("a") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        with ControlPlane(programs) as plane:
            (folder / "cluster.json").write_text(json.dumps({"folder": str(plane.folder), "port": plane.port}))
            os.write(ready, b"ready")
            while not _try_to_lock(users):
                time.sleep(POLL_SECONDS)


def main() -> None:
    """Leaves an owner behind, once it is ready; exit code 1 if it ended before."""
    folder, programs = map(Path, sys.argv[1:])
    ready, told = os.pipe()
    if os.fork() == 0:
        own(folder, programs, told)
        return
    os.close(told)
    sys.exit(0 if os.read(ready, 8) else 1)


if __name__ == "__main__":
    main()
