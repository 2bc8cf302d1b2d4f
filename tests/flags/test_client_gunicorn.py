"""gunicorn itself around an application whose flags were made before its workers are forked (--preload), or in each."""

import json
import os
import signal
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flags.model import FlagDocument, Version
from tests.flags.client_world import FeedServer, deaf, feed_of, until
from tests.support.ports import free_port
from tests.support.process import DEADLINE_SECONDS, ROOT, Child, wait_until

WORKERS, THREADS = 3, 4
AT_ONCE = 2 * WORKERS * THREADS  # more requests than two of the workers take
Answer = dict[str, Any]

APPLICATION = """
import json, os, pathlib, time
from flags.client import FlagClient, Timing

timing = Timing(retry_seconds=0.05, longest_retry_seconds=0.2)
flags = FlagClient(os.environ["FLAGS_URL"], cache=os.environ.get("FLAGS_CACHE"), timing=timing)
made_in = os.getpid()

def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        pathlib.Path("begun").touch()
        while not pathlib.Path("go-on").exists():
            time.sleep(0.01)
    time.sleep(0.02)  # so that the other workers get their share
    status = flags.status()
    is_on = flags.is_on("new-api", {"targetingKey": "user-1"})
    said = {"pid": os.getpid(), "made_in": made_in, "on": is_on, "connected": status.connected}
    body = json.dumps(said).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
"""


class Gunicorn:
    """One master and its workers. `answers` are all that were given."""

    def __init__(self, folder: Path, flags_url: str, *arguments: str, cache: Path | None = None) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        self.is_preloaded = "--preload" in arguments
        self.answers: list[Answer] = []
        (folder / "shop.py").write_text(APPLICATION)
        program = Path(sys.executable).with_name("gunicorn")
        usual = ["--bind", self.url.removeprefix("http://"), "--workers", str(WORKERS), "--no-control-socket"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "FLAGS_URL": flags_url}
        if cache is not None:
            environment["FLAGS_CACHE"] = str(cache)
        self.child = Child([program, *usual, *arguments, "shop:application"], folder, environment=environment)

    def __enter__(self) -> "Gunicorn":
        self.child.start()
        wait_until(self._listens, what="gunicorn to listen")
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()

    def _listens(self) -> bool:
        assert self.child.running, self.child.errors
        return "Listening at" in self.child.errors

    @property
    def workers(self) -> list[int]:
        return [int(pid) for pid in Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text().split()]

    def ask(self, path: str = "/") -> Answer:
        with urllib.request.urlopen(self.url + path, timeout=DEADLINE_SECONDS) as reply:
            answer: Answer = json.load(reply)
        self.answers.append(answer)
        return answer

    def until_all(self, **wanted: object) -> dict[int, Answer]:
        """The last answer of every worker that there is, once they are all as wanted."""
        last: dict[int, Answer] = {}

        def so() -> dict[int, Answer]:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                last.update({one["pid"]: one for one in pool.map(self.ask, ["/"] * AT_ONCE)})
            there = self.workers
            met = [pid for pid in there if pid in last and last[pid] == {**last[pid], **wanted}]
            return {pid: last[pid] for pid in there} if len(met) == len(there) == WORKERS else {}

        return wait_until(so, what=f"every worker to say {wanted}")

    def until_replaced(self, gone: Sequence[int]) -> None:
        def so() -> bool:
            there = self.workers
            return len(there) == WORKERS and not set(gone) & set(there)

        wait_until(so, what=f"others in place of {gone}")

    def stop(self) -> None:
        """As an init system does it. A worker that hung would be killed after 30 seconds only, and be told of."""
        workers = self.workers
        assert self.child.stop(signal.SIGTERM) == 0, self.child.errors
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
        last_words = self.child.errors.rpartition("Handling signal: term")[2]
        for word in ("Traceback", "WORKER TIMEOUT", "SIGKILL"):
            assert word not in last_words, last_words


def turn(server: FeedServer, on: bool) -> None:
    """The flag for everybody, or nobody, in a version that is newer than all before."""
    number = server.feed.version.newest.number + 1
    server.show(feed_of(0, FlagDocument("new-api", percentage=100 if on else 0, version=Version(1, number))))


def connections(server: FeedServer) -> int:
    assert server._server is not None
    return len(server._server.connections)


@pytest.fixture
def server() -> Iterator[FeedServer]:
    with FeedServer() as made:
        made.show(feed_of(100))
        yield made


PRELOAD = pytest.mark.parametrize("preload", ((), ("--preload",)), ids=("each its own", "preloaded"))
KINDS = pytest.mark.parametrize("kind", (("sync",), ("gthread", "--threads", str(THREADS))), ids=("sync", "threads"))


@PRELOAD
@KINDS
def test_every_worker_hears_of_every_change_by_a_connection_of_its_own(
    server: FeedServer, tmp_path: Path, preload: tuple[str, ...], kind: tuple[str, ...]
) -> None:
    with Gunicorn(tmp_path, server.url, *preload, "--worker-class", *kind) as gunicorn:
        for pid, answer in gunicorn.until_all(on=True, connected=True).items():
            assert answer["made_in"] == (gunicorn.child.pid if preload else pid)
        assert connections(server) == WORKERS + len(preload)
        turn(server, on=False)
        gunicorn.until_all(on=False, connected=True)
        turn(server, on=True)
        gunicorn.until_all(on=True, connected=True)
        gunicorn.stop()
    until(lambda: connections(server) == 0)


@PRELOAD
def test_a_worker_in_the_place_of_a_killed_one_answers_also_while_the_server_is_away(
    server: FeedServer, tmp_path: Path, preload: tuple[str, ...]
) -> None:
    """By what its parent knew, or by the cache."""
    cache = None if preload else tmp_path / "flags.json"
    with Gunicorn(tmp_path, server.url, *preload, cache=cache) as gunicorn:
        killed = gunicorn.until_all(on=True, connected=True)
        gunicorn.answers.clear()
        server.kill()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        gunicorn.until_replaced(list(killed))
        gunicorn.until_all(on=True, connected=False)
        assert all(answer["on"] for answer in gunicorn.answers)
        server.start()
        turn(server, on=False)
        gunicorn.until_all(on=False, connected=True)
        gunicorn.stop()


@PRELOAD
def test_workers_that_are_replaced_one_after_the_other_lose_no_change(
    server: FeedServer, tmp_path: Path, preload: tuple[str, ...]
) -> None:
    with Gunicorn(tmp_path, server.url, *preload, "--max-requests", "20", "--max-requests-jitter", "5") as gunicorn:
        for number in range(4):
            before = gunicorn.workers
            turn(server, on=bool(number % 2))
            gunicorn.until_all(on=bool(number % 2), connected=True)
            gunicorn.child.send(signal.SIGHUP)
            gunicorn.until_replaced(before)
        assert len({answer["pid"] for answer in gunicorn.answers}) > WORKERS
        gunicorn.until_all(on=True, connected=True)
        gunicorn.stop()


@PRELOAD
@KINDS
def test_a_request_that_is_under_way_is_answered_before_its_worker_ends(
    server: FeedServer, tmp_path: Path, preload: tuple[str, ...], kind: tuple[str, ...]
) -> None:
    with Gunicorn(tmp_path, server.url, *preload, "--worker-class", *kind) as gunicorn, ThreadPoolExecutor(1) as pool:
        gunicorn.until_all(on=True, connected=True)
        asked = pool.submit(gunicorn.ask, "/slow")
        until((tmp_path / "begun").exists)
        turn(server, on=False)
        gunicorn.child.send(signal.SIGTERM)
        until(lambda: len(gunicorn.workers) == 1)
        (tmp_path / "go-on").touch()
        assert asked.result(DEADLINE_SECONDS)["on"] is False
        assert gunicorn.child.wait() == 0
        assert "Traceback" not in gunicorn.child.errors


@PRELOAD
def test_workers_end_as_told_while_their_server_says_nothing(tmp_path: Path, preload: tuple[str, ...]) -> None:
    with deaf() as url, Gunicorn(tmp_path, url, *preload) as gunicorn:
        gunicorn.until_all(on=False, connected=False)
        gunicorn.stop()
