"""The Python client against the real `rollout serve`: killed, restored from an older copy, and gone for good."""

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flags.client import FlagClient, Timing
from tests.acceptance.worlds.host import Host
from tests.support.process import DEADLINE_SECONDS, ROOT, Child, wait_until

pytestmark = pytest.mark.acceptance
REASON = ("--reason", "because of the test")
SOMEBODY = {"targetingKey": "somebody", "team": "testers"}
TIMING = Timing(retry_seconds=0.1, longest_retry_seconds=0.5)


@pytest.fixture
def address(free_port: int) -> str:
    return f"127.0.0.1:{free_port}"


@pytest.fixture
def server(host: Host, address: str) -> Child:
    child = host.rollout.start("serve", "--listen", address)
    wait_until(host.controller, what="a controller")
    return child


@pytest.fixture
def client(host: Host, server: Child, address: str) -> Iterator[FlagClient]:
    with FlagClient(f"http://{address}", cache=host.folder / "flags.json", timing=TIMING) as made:
        assert made.wait_until_ready(DEADLINE_SECONDS), made.status()
        yield made


def put(host: Host, percentage: float) -> None:
    host.ok("flag", "set", "new", "--percentage", str(percentage), "--state", "enabled", *REASON)


def until_on(client: FlagClient, on: bool) -> None:
    wait_until(
        lambda: client.is_on("new", SOMEBODY) is on,
        what=f"new to be {on}: {client.status()}",
    )


def start_again(host: Host, server: Child) -> None:
    server.start()
    wait_until(host.controller, what="a controller")


def until_connected(client: FlagClient, connected: bool = True) -> None:
    wait_until(
        lambda: client.status().connected is connected,
        what=f"connected to be {connected}",
    )


def test_what_a_person_sets_and_the_kill_switch_reach_the_application(host: Host, client: FlagClient) -> None:
    assert client.is_on("new", SOMEBODY) is False
    put(host, 100)
    until_on(client, True)
    host.ok("flag", "set", "new", "--percentage", "0", "--target", "team=testers", "--parameter", "size=3", *REASON)
    wait_until(lambda: client.parameters("new") == {"size": 3}, what="parameters")
    assert client.is_on("new", SOMEBODY)
    assert not client.is_on("new", {"targetingKey": "somebody"})
    host.ok("flag", "disable-all", *REASON)
    until_on(client, False)
    host.ok("flag", "lift", "--yes", *REASON)
    until_on(client, True)


def test_a_server_that_is_killed_takes_no_flag_along_and_is_found_again(
    host: Host, server: Child, client: FlagClient, address: str
) -> None:
    put(host, 100)
    until_on(client, True)
    before = client.status().version
    server.kill()
    until_connected(client, False)
    assert client.is_on("new", SOMEBODY)
    program = "\n".join(
        (
            "import sys; from flags.client import FlagClient",
            "with FlagClient(sys.argv[1], cache=sys.argv[2]) as client:",
            "    print(client.is_on('new', {'targetingKey': 'x'}), client.status().source, client.status().version)",
        )
    )
    command: list[str | Path] = [sys.executable, "-c", program, f"http://{address}", host.folder / "flags.json"]
    started = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert started.stdout == f"True cache {before}\n"
    start_again(host, server)
    until_connected(client)
    assert client.status().version == before
    put(host, 0)
    until_on(client, False)


def test_a_store_that_is_set_back_is_seen_and_its_flags_are_of_a_new_generation(
    host: Host, server: Child, client: FlagClient
) -> None:
    newest = set_back(host, server, client)
    start_again(host, server)
    until_on(client, False)
    assert generation(client.status().version) == generation(newest) + 1


def test_a_store_of_which_nobody_knows_that_it_was_set_back_sets_no_client_back_and_its_kill_switch_works(
    host: Host, server: Child, client: FlagClient
) -> None:
    newest = set_back(host, server, client)
    (host.state_dir / "flags-seen").unlink()
    start_again(host, server)
    wait_until(
        lambda: "older than" in str(client.status().last_error),
        what="an older version",
    )
    assert client.status().version == newest
    assert client.is_on("new", SOMEBODY)
    host.ok("flag", "disable-all", *REASON)
    until_on(client, False)
    host.ok("flag", "lift", "--yes", *REASON)
    until_on(client, True)


def set_back(host: Host, server: Child, client: FlagClient) -> str | None:
    """Flags at 100 %, then a store in which they stand at 10; the server is down. The newest version before."""
    put(host, 10)
    copy = host.folder / "copy.db"
    with contextlib.closing(sqlite3.connect(host.store)) as store, contextlib.closing(sqlite3.connect(copy)) as made:
        store.backup(made)
    put(host, 50)
    put(host, 100)
    until_on(client, True)
    newest = client.status().version
    server.kill()
    restore(copy, host.store)
    return newest


def generation(version: str | None) -> int:
    return int(str(version).partition(".")[0])


def restore(copy: Path, store: Path) -> None:
    for suffix in ("-wal", "-shm"):
        store.with_name(store.name + suffix).unlink(missing_ok=True)
    shutil.copy(copy, store)


SERVER_OF_FORKS = """
import os, sys, time
from flags.client import FlagClient
client = FlagClient(sys.argv[1])
assert client.wait_until_ready(60)
for _ in range(2):
    if not os.fork():
        break
while not client.is_on("new", {"targetingKey": "x"}):
    time.sleep(0.01)
os.write(1, b"on\\n")
while client.is_on("new", {"targetingKey": "x"}):
    time.sleep(0.01)
os.write(1, b"off\\n")
client.close()
"""


def test_every_process_of_a_forking_server_gets_every_change(host: Host, server: Child, address: str) -> None:
    with Child([sys.executable, "-c", SERVER_OF_FORKS, f"http://{address}"], host.folder) as forking:
        put(host, 100)
        wait_until(lambda: forking.output.count("on\n") == 3, what="all three")
        put(host, 0)
        wait_until(lambda: forking.output.count("off\n") == 3, what="all three")
        assert forking.wait() == 0
        assert forking.errors == ""
