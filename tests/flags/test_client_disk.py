"""The last flags on a client's disk, and flags that come from a file."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flags._cache import Cache, read_bounded
from flags.client import FlagClient
from flags.feed import Feed, InvalidFeed
from flags.model import FlagDocument, Version
from tests.flags.client_world import QUICK, USER, FeedServer, feed_of, until
from tests.support.process import ROOT

NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def server() -> Iterator[FeedServer]:
    with FeedServer() as made:
        made.show(feed_of(100))
        yield made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "flags.json"


def version_in(path: Path) -> str:
    return str(Feed.decode(path.read_bytes()).version)


# --- the cache --------------------------------------------------------------------------------------------------------


def test_what_was_seen_is_there_after_a_restart_without_the_server(server: FeedServer, path: Path) -> None:
    with FlagClient(server.url, cache=path, timing=QUICK) as client:
        until(path.exists)
        assert client.is_on("new-api", USER)
    assert path.read_bytes() == server.feed.encode()
    server.kill()
    with FlagClient(server.url, cache=path, defaults={"new-api": False}, timing=QUICK) as client:
        assert client.is_on("new-api", USER)
        status = client.status()
        assert (status.source, status.version, status.connected) == ("cache", "1.100.0", False)
        assert status.age_seconds is not None
        assert client.wait_until_ready(0.05) is False


def test_the_age_of_flags_from_the_disk_is_that_of_the_file(path: Path) -> None:
    Cache(path).store(feed_of(100).encode(), feed_of(100))
    an_hour_ago = time.time() - 3600
    os.utime(path, (an_hour_ago, an_hour_ago))
    with FlagClient(NOBODY, cache=path, timing=QUICK) as client:
        assert 3590 < (client.status().age_seconds or 0) < 4000


@pytest.mark.parametrize(
    "damage",
    (b"", b"{", b"null", b"[" * 100_000, b"\xff" * 100, feed_of(100).encode()[:-20], b'{"format":2}', bytes(1000)),
)
def test_a_damaged_file_is_ignored_with_a_warning_and_mended(
    server: FeedServer, path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(damage)
    with FlagClient(server.url, cache=path, timing=QUICK) as client:
        assert client.wait_until_ready(20)
        until(lambda: path.read_bytes() == server.feed.encode())
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.message.startswith(f"flags on disk are ignored: {path}: ")


def test_flags_of_another_environment_on_the_disk_are_ignored(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    staging = Feed("staging", documents=(FlagDocument("new-api", environment="staging", percentage=100),))
    Cache(path).store(staging.encode(), staging)
    with FlagClient(NOBODY, cache=path, timing=QUICK) as client:
        assert client.is_on("new-api", USER) is False
        assert client.status().source == "defaults"
    assert "has those of 'staging'" in caplog.text


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path("/dev/zero")):
        with FlagClient(NOBODY, cache=path, timing=QUICK) as client:
            assert client.status().source == "defaults"


def test_a_file_that_is_far_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flags._cache.MOST_BYTES", 100)
    (tmp_path / "big").write_bytes(b" " * 101)
    with pytest.raises(InvalidFeed, match="larger than 100 bytes"):
        read_bounded(tmp_path / "big")


def test_an_older_feed_of_the_server_is_not_taken_over_that_of_the_disk(server: FeedServer, path: Path) -> None:
    Cache(path).store(feed_of(0, FlagDocument("x", version=Version(2, 1))).encode(), feed_of(0, generation=2))
    newer = feed_of(0, FlagDocument("x", percentage=100, version=Version(2, 1)))
    path.write_bytes(newer.encode())
    with FlagClient(server.url, cache=path, timing=QUICK) as client:
        assert client.wait_until_ready(20)
        assert client.status().version == "2.1.0"
        assert client.is_on("x")
        assert "older than 2.1.0" in str(client.status().last_error)
    assert version_in(path) == "2.1.0"


def test_a_newer_feed_that_another_process_left_on_the_disk_is_taken(server: FeedServer, path: Path) -> None:
    with FlagClient(server.url, cache=path, timing=QUICK) as client:
        until(path.exists)
        newer = feed_of(0, FlagDocument("new-api", version=Version(1, 200)))
        assert Cache(path).store(newer.encode(), newer) is None
        server.show(feed_of(100, revision=1))
        until(lambda: client.status().version == "1.200.0")
        assert client.is_on("new-api", USER) is False
    assert version_in(path) == "1.200.0"


WRITER = """
import sys
from pathlib import Path
from flags._cache import Cache
from tests.flags.client_world import feed_of
for number in range(int(sys.argv[2]), 100, 3):
    feed = feed_of(number)
    while True:
        try:
            Cache(Path(sys.argv[1])).store(feed.encode(), feed)
            break
        except BlockingIOError:
            pass
"""


def test_processes_that_share_a_path_never_put_an_older_feed_over_a_newer(path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, str(number)], cwd=ROOT) for number in range(3)]
    seen: list[Feed] = []
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            seen.append(Feed.decode(path.read_bytes()))
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    versions = [feed.version for feed in seen]
    assert versions == sorted(versions)
    assert version_in(path) == "1.99.0"
    assert sorted(one.name for one in path.parent.iterdir()) == ["flags.json", "flags.json.lock"]


def test_a_disk_that_cannot_be_written_stops_no_flag_and_is_said_once(
    server: FeedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    obstacle = tmp_path / "file"
    obstacle.write_text("")
    cache = obstacle / "flags.json"
    with FlagClient(server.url, cache=cache, mode="poll", poll_seconds=0.01, timing=QUICK) as client:
        assert client.wait_until_ready(20)
        until(lambda: len(server.asked) > 10)
        assert client.is_on("new-api", USER)
        assert str(cache) in str(client.status().last_error)
        assert client.status().connected
        assert [record.message.split(":")[0] for record in caplog.records] == [
            "flags on disk are ignored",
            f"the flags can't be written to {cache}",
        ]
        obstacle.unlink()
        until(cache.exists)
        until(lambda: client.status().last_error is None)


# --- a file -----------------------------------------------------------------------------------------------------------


def write(path: Path, feed: Feed) -> None:
    made = path.with_name("made")
    made.write_bytes(feed.encode())
    made.replace(path)


def watching(path: Path, **settings: Any) -> FlagClient:
    return FlagClient(file=path, poll_seconds=0.02, timing=QUICK, **settings)


def test_a_file_is_read_at_once_and_again_when_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    write(path, feed_of(100))
    with watching(path) as client:
        assert client.is_on("new-api", USER)
        assert client.wait_until_ready(0)
        assert (client.status().source, client.status().connected) == ("file", True)
        write(path, feed_of(0, FlagDocument("new-api", version=Version(1, 101))))
        until(lambda: not client.is_on("new-api", USER))


def test_a_file_that_a_person_edits_needs_no_new_version(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    write(path, feed_of(100))
    with watching(path) as client:
        path.write_text(path.read_text().replace('"percentage":100.0', '"percentage":0'))
        until(lambda: not client.is_on("new-api", USER))


def test_a_file_that_goes_away_or_is_damaged_or_older_changes_nothing_until_it_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "flags.json"
    with watching(path, defaults={"new-api": True}) as client:
        assert client.is_on("new-api", USER)
        assert "No such file" in str(client.status().last_error)
        write(path, feed_of(100))
        until(lambda: client.status().source == "file")
        for damage, said in ((b"{", "not JSON"), (feed_of(1).encode(), "older than 1.100.0")):
            path.write_bytes(damage)
            until(lambda: said in str(client.status().last_error))  # noqa: B023
            assert client.is_on("new-api", USER)
        path.unlink()
        until(lambda: "No such file" in str(client.status().last_error))
        write(path, feed_of(0, FlagDocument("new-api", version=Version(1, 101))))
        until(lambda: not client.is_on("new-api", USER))
        assert client.status().last_error is None
