"""Completion: what could be typed is read off the parser, names come from the controller, and silence is no error."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from orchestrator.cli import completion
from tests.orchestrator.cli.conftest import Cli, FakeController, Json, a_status
from tests.orchestrator.cli.test_picture import offer
from tests.support.process import wait_until

BIN = Path(sys.executable).parent
ITEM: Json = {"item": "plan/somebody says go", "kind": "manual", "text": "Go?", "by": [], "until": None}


REALLY_IN_TIME = completion.in_time


@pytest.fixture(autouse=True)
def as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that would end is the one of the tests."""
    monkeypatch.setattr(completion, "in_time", nullcontext)


def words(cli: Cli, *typed: str) -> list[str]:
    said = cli("__complete", "fish", *typed)
    assert (said.code, said.err) == (0, "")
    return [line.partition("\t")[0] for line in said.out.splitlines()]


def test_commands_and_their_actions_are_completed_with_what_they_do(cli: Cli) -> None:
    assert words(cli, "st") == ["start", "status", "stop"]
    assert words(cli, "flag", "d") == ["disable-all"]
    assert words(cli, "nonsense", "") == []
    assert "status\tShow where a run stands, and why nothing moves.\n" in cli("__complete", "fish", "stat").out


def test_every_command_of_the_help_is_completed(cli: Cli) -> None:
    from orchestrator.cli.help import GROUPS

    named = {names.split()[0].strip(",") for _, group in GROUPS for names, _ in group}
    assert named <= set(words(cli, ""))


def test_options_are_completed_once_and_their_choices(cli: Cli) -> None:
    options = words(cli, "rollback", "x", "--")
    assert {"--reason", "--stage", "--with-schema", "--server"} <= set(options)
    assert "--reason" not in words(cli, "rollback", "x", "--reason", "bad", "--")
    assert "--set" in words(cli, "start", "p.yaml", "--set", "a=b", "--")
    assert words(cli, "status", "x", "--output", "") == ["table", "json", "yaml"]
    assert words(cli, "rollback", "x", "--reason", "") == []
    assert words(cli, "completion", "") == ["bash", "zsh", "fish"]


@pytest.mark.parametrize("typed", (["start", ""], ["validate", "ex"], ["verify", "x", "--report", ""], ["check", ""]))
def test_files_are_left_to_the_shell(cli: Cli, typed: list[str]) -> None:
    assert words(cli, *typed) == [completion.FILES]


def test_runs_and_plans_come_from_the_controller_newest_first(cli: Cli, controller: FakeController) -> None:
    controller.statuses = [a_status(), a_status(run="other-2", plan="other")]
    assert words(cli, "status", "") == ["search-1a2b3c", "other-2", "search", "other"]
    assert words(cli, "status", "se") == ["search-1a2b3c", "search"]
    assert words(cli, "start", "p.yaml", "--supersede", "oth") == ["other-2", "other"]
    assert words(cli, "pause", "--server", controller.url, "o") == ["other-2", "other"]


def test_what_a_run_has_is_completed_where_it_is_asked_for(cli: Cli, controller: FakeController) -> None:
    controller.statuses = [a_status(waiting=[ITEM])]
    controller.offers["commands"] = [
        offer("fire", trigger="backlog"),
        offer("resolve", target="flag:p/x"),
        offer("resolve", target="flag:p/x", taken_as="done"),
        offer("resume", flag="beta", pin="keep"),
        offer("resume", flag="gone", refused="behind the run"),
    ]
    controller.answers["GET", "/api/v1/flags"] = (200, [{"key": "k", "environment": "staging", "percentage": 5.0}])
    assert words(cli, "approve", "search", "--item", "") == ["plan/somebody says go"]
    assert words(cli, "rollback", "search", "--stage", "") == ["queue"]
    assert words(cli, "fire", "search", "") == ["backlog"]
    assert words(cli, "resolve", "search", "") == ["flag:p/x"]
    assert words(cli, "resume", "search", "--flag", "") == ["beta"]
    assert words(cli, "flag", "get", "") == ["k"]
    assert words(cli, "freeze", "--environment", "") == ["staging"]


def test_each_shell_gets_names_as_it_needs_them(cli: Cli, controller: FakeController) -> None:
    controller.statuses = [a_status(waiting=[ITEM])]
    controller.offers["commands"] = [offer("resolve", target="flag:p/x y")]

    def bash(line: str) -> str:
        return cli("__complete", "bash", line).out

    assert bash("rollout approve search --item pl") == "plan/somebody\\ says\\ go\n"
    assert bash("rollout approve search --item plan/somebody\\ s") == "plan/somebody\\ says\\ go\n"
    assert bash("rollout approve search --item 'plan/some") == "plan/somebody says go\n"
    assert bash("rollout resolve search fl") == "flag:p/x\\ y\n"
    assert bash("rollout resolve search flag:p") == "p/x\\ y\n"  # bash parts words at the colon
    assert cli("__complete", "zsh", "resolve", "search", "").out == "flag\\:p/x y:does it\n"


def test_without_anybody_to_ask_nothing_is_said(cli: Cli, state: Path) -> None:
    for typed in (["status", ""], ["approve", "x", "--item", ""], ["flag", "get", ""], ["pause", "--context", "c", ""]):
        assert words(cli, *typed) == []
    assert words(cli, "status", "x", "--server", "ftp://x", "") == []


def test_whoever_does_not_answer_in_time_gives_nothing(
    cli: Cli, controller: FakeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(Exception):
        pass

    def late(_code: int) -> None:
        raise Late

    def hang(_words: list[str]) -> list[completion.Found]:
        time.sleep(60)
        return []

    monkeypatch.setattr(completion.os, "_exit", late)  # type: ignore[attr-defined]
    monkeypatch.setitem(completion._NAMES, "run", hang)
    monkeypatch.setattr(completion, "in_time", REALLY_IN_TIME)
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(Late):
        completion.answer(["fish", "status", ""])
    signal.signal(signal.SIGALRM, before)


# --- real shells ------------------------------------------------------------------------------------------------------


def in_shell(shell: str, script: str, controller: FakeController, tmp_path: Path) -> str:
    """What *script* prints in a shell that has our completion; `rollout` there is the real command."""
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    options = {"bash": ["--norc", "-c"], "fish": ["--no-config", "-c"], "zsh": ["-f", "-c"]}[shell]
    made = subprocess.run(
        [shell, *options, completion.SCRIPTS[shell] + script],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert made.stderr == ""
    return made.stdout


def eventually(look: Callable[[], str], wanted: str) -> None:
    """A busy machine may take longer than a completion may, and then says nothing."""
    wait_until(lambda: wanted in look(), what=f"{wanted!r} to be completed")


def test_bash_completes(controller: FakeController, tmp_path: Path) -> None:
    controller.statuses = [a_status(waiting=[ITEM])]

    def complete(line: str) -> Callable[[], str]:
        script = f"COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}; _rollout rollout; printf '%s|' \"${{COMPREPLY[@]}}\""
        return lambda: in_shell("bash", script, controller, tmp_path)

    eventually(complete("rollout sta"), "start|status|")
    eventually(complete("rollout status se"), "search-1a2b3c|search|")
    eventually(complete("rollout approve search --item "), "plan/somebody\\ says\\ go|")


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes(controller: FakeController, tmp_path: Path) -> None:
    def complete(line: str) -> Callable[[], str]:
        return lambda: in_shell("fish", f"complete -C {line!r}", controller, tmp_path)

    eventually(complete("rollout stat"), "status\tShow where a run stands")
    eventually(complete("rollout status se"), "search-1a2b3c\trunning")


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_takes_the_script_and_asks_with_the_words_of_its_line(controller: FakeController, tmp_path: Path) -> None:
    script = (
        "_describe() { print -l -- $found }; words=(rollout status se); CURRENT=3; _rollout;"
        " words=(rollout start ''); _files() { print files }; _rollout"
    )
    eventually(lambda: in_shell("zsh", script, controller, tmp_path), "search-1a2b3c:running")
    eventually(lambda: in_shell("zsh", script, controller, tmp_path), "files")
