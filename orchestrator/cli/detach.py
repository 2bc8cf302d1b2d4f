"""A controller in the background: a session of its own, its words in ``controller.log``, gone when no run is left."""

import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

from orchestrator.cli.client import Client
from orchestrator.cli.hosting import log_file, unusable_state
from orchestrator.cli.settings import Address, find_controller, read_controller_file, state_dir
from orchestrator.errors import RolloutError

START_SECONDS = 30.0
EVERY_SECONDS = 0.05


def spawn_controller(listen: str | None) -> Address:
    """Starts one and waits until it answers. Raises RolloutError with its last words if it ends instead."""
    log = log_file()
    command = [sys.executable, "-P", "-m", "orchestrator", "serve", "--until-idle"]
    command += ["--listen", listen] if listen else []
    with _opened(log) as output:
        before = output.tell()
        process = subprocess.Popen(  # noqa: S603 - ourselves
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        address = read_controller_file(state_dir() / "controller.json")
        if address is not None and address.pid == process.pid and Client(address).is_ready():
            return address
        if process.poll() is not None:
            raise RolloutError(f"the controller in the background ended at once: {_last_words(before)}")
        time.sleep(EVERY_SECONDS)
    process.terminate()
    raise RolloutError(f"the controller in the background did not answer within {START_SECONDS:g} s; see {log}")


def _opened(log: Path) -> BinaryIO:
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        output = log.open("ab")
    except OSError as error:
        raise unusable_state(error) from None
    log.chmod(0o600)
    return output


def _last_words(before: int) -> str:
    with log_file().open("rb") as file:
        file.seek(before)
        said = file.read().decode(errors="replace").strip().splitlines()
    return said[-1].removeprefix("rollout: ") if said else f"it said nothing (see {log_file()})"


def wait_for_controller(seconds: float) -> Address | None:
    """One that is just starting, or taking over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        address = find_controller()
        if address is not None and Client(address).is_ready():
            return address
        time.sleep(EVERY_SECONDS)
    return None
