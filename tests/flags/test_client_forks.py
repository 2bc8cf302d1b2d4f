"""Clients in programs that fork, as servers of several processes do: each child is fed by a thread of its own."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flags.model import FlagDocument, Version
from tests.flags.client_world import FeedServer, feed_of, until
from tests.support.process import ROOT

FORKING = """
import json, os, sys, threading, time
from flags.client import FlagClient, Timing

def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, client.status()
        time.sleep(0.01)

timing = Timing(connect_seconds=2, silent_seconds=1, retry_seconds=0.02, longest_retry_seconds=0.1)
client = FlagClient(sys.argv[1], mode=sys.argv[2], poll_seconds=0.05, timing=timing)
assert client.wait_until_ready(20)
assert client.is_on("new-api", {"targetingKey": "user-1"})
children = []
for _ in range(3):
    pid = os.fork()
    if not pid:
        children = None
        break
    children.append(pid)
if children is None:
    assert client.is_on("new-api", {"targetingKey": "user-1"})  # at once, without a word from the server
    until(lambda: client.status().connected)
    assert threading.active_count() == 2
os.write(1, b"ready\\n")
until(lambda: not client.is_on("new-api", {"targetingKey": "user-1"}))
client.close()
assert not client._thread_is_alive
if children is None:
    os._exit(0)
assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0, 0]
print("done", flush=True)
"""

EXECUTING = """
import subprocess, sys
from flags.client import FlagClient
with FlagClient(sys.argv[1]) as client:
    assert client.wait_until_ready(20)
    for _ in range(20):
        subprocess.run(["true"], check=True, preexec_fn=lambda: None)
    assert client.status().connected
print("done", flush=True)
"""

CLOSED = """
import os, sys, threading
from flags.client import FlagClient
client = FlagClient(sys.argv[1])
assert client.wait_until_ready(20)
client.close()
pid = os.fork()
if not pid:
    assert threading.active_count() == 1
    os._exit(0 if client.is_on("new-api") else 1)
assert os.waitpid(pid, 0)[1] == 0
print("done", flush=True)
"""

WITHOUT_END = """
import sys
from flags.client import FlagClient
client = FlagClient(sys.argv[1])
assert client.wait_until_ready(20)
print("done", flush=True)
"""


IMPORTING = """
import sys
from flags.client import FlagClient
known = set(sys.modules)
with FlagClient(sys.argv[1], mode=sys.argv[2], cache=sys.argv[3]) as client:
    assert client.wait_until_ready(20)
assert sys.modules.keys() <= known, sys.modules.keys() - known
print("done", flush=True)
"""


@pytest.fixture
def server() -> Iterator[FeedServer]:
    with FeedServer() as made:
        made.show(feed_of(100))
        yield made


def program(text: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-c", text, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("mode", ("stream", "poll"))
def test_children_of_a_fork_are_fed_each_by_a_connection_of_its_own(server: FeedServer, mode: str) -> None:
    with program(FORKING, server.url, mode) as running:
        assert running.stdout is not None
        assert [running.stdout.readline() for _ in range(4)] == ["ready\n"] * 4
        until(lambda: server._server is not None and len(server._server.connections) >= 4)
        server.show(feed_of(0, FlagDocument("new-api", version=Version(1, 101))))
        out, errors = running.communicate(timeout=60)
        assert (running.returncode, out) == (0, "done\n"), errors
        assert errors == ""


@pytest.mark.parametrize("text", (EXECUTING, CLOSED, WITHOUT_END))
def test_a_program_ends_as_it_should(server: FeedServer, text: str) -> None:
    with program(text, server.url) as running:
        out, errors = running.communicate(timeout=60)
        assert (running.returncode, out, errors) == (0, "done\n", "")


@pytest.mark.parametrize("mode", ("stream", "poll"))
def test_the_thread_imports_nothing_that_a_fork_could_leave_half_imported(
    server: FeedServer, tmp_path: Path, mode: str
) -> None:
    """As the codec was that every look-up of a name needs: a child then found no server for the rest of its life."""
    with program(
        IMPORTING, server.url.replace("127.0.0.1", "localhost"), mode, str(tmp_path / "flags.json")
    ) as running:
        out, errors = running.communicate(timeout=60)
        assert (running.returncode, out, errors) == (0, "done\n", "")
