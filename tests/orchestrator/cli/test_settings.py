import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli.settings import find_controller, parse_listen, state_dir, store_url
from orchestrator.errors import UsageError


def note(state: Path, **changed: object) -> None:
    state.mkdir(exist_ok=True)
    text = {"pid": os.getpid(), "url": "http://127.0.0.1:8040", "token": "t", "started": 1.0} | changed
    (state / "controller.json").write_text(json.dumps(text))


def test_the_state_directory_is_the_named_one_else_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROLLOUT_STATE_DIR", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert state_dir() == tmp_path / "own"
    monkeypatch.delenv("ROLLOUT_STATE_DIR")
    assert state_dir() == tmp_path / "xdg" / "staged-rollout"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state_dir() == tmp_path / ".local" / "state" / "staged-rollout"


def test_the_store_is_in_the_state_directory_unless_another_is_named(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store_url() == f"sqlite:///{state}/rollout.db"
    monkeypatch.setenv("ROLLOUT_STORE", "sqlite:////tmp/x.db\n")  # from a file that ends with a line
    assert store_url() == "sqlite:////tmp/x.db"


def test_a_named_server_wins_over_the_users_own_controller(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note(state)
    monkeypatch.setenv("ROLLOUT_SERVER", "far.example:1/")
    monkeypatch.setenv("ROLLOUT_TOKEN", "secret")
    found = find_controller()
    assert found is not None
    assert (found.url, found.token) == ("http://far.example:1", "secret")
    named = find_controller("https://other.example")
    assert named is not None
    assert named.url == "https://other.example"


def test_the_users_own_controller_is_found_by_its_note(state: Path) -> None:
    note(state)
    found = find_controller()
    assert found is not None
    assert (found.url, found.token, found.pid) == ("http://127.0.0.1:8040", "t", os.getpid())


def test_the_note_of_a_controller_that_has_ended_counts_for_nothing(state: Path) -> None:
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    )
    note(state, pid=int(gone.stdout))
    assert find_controller() is None


@pytest.mark.parametrize("text", ("", "{", "[]", '{"pid": 1}', '{"pid": "x", "url": "http://h:1"}', "null"))
def test_a_note_that_is_not_whole_counts_for_nothing(state: Path, text: str) -> None:
    state.mkdir()
    (state / "controller.json").write_text(text)
    assert find_controller() is None


@pytest.mark.parametrize("url", ("ftp://h", "http://", "://"))
def test_what_is_no_address_of_a_controller_is_refused(state: Path, url: str) -> None:
    with pytest.raises(UsageError, match="no address of a controller"):
        find_controller(url)


@pytest.mark.parametrize(
    ("text", "address"),
    (("127.0.0.1:8040", ("127.0.0.1", 8040)), (":0", ("127.0.0.1", 0)), ("[::1]:80", ("::1", 80)), ("h:1", ("h", 1))),
)
def test_listen_addresses_are_understood(text: str, address: tuple[str, int]) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize("text", ("", "h", "h:", "h:x", "h:70000", "8040"))
def test_what_is_no_listen_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="HOST:PORT is expected"):
        parse_listen(text)
