"""Every hostile input is answered as the table says, and the server outlives them all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.__main__ import PAGE, page
from tests.hostile.inputs import COMMANDS, PLANS, REQUESTS
from tests.hostile.saying import Said, say
from tests.hostile.served import SECRETS, Served, served
from tests.hostile.shapes import Command, Plan, Request

MOST_LINES = 2_100  # a plan with 2,000 mistakes is told each of them
NEVER_SHOWN = ("hunter2hunter", *SECRETS.values())


def is_clean(text: str) -> bool:
    return "Traceback" not in text and not any(secret in text for secret in NEVER_SHOWN)


def expect(said: Said, code: int, says: str, folder: Path) -> None:
    whole = said.err + said.out
    assert said.code == code, whole
    assert says in (said.err or said.out)
    assert is_clean(whole)
    assert len(whole.splitlines()) <= MOST_LINES
    assert not (folder / "state" / "errors.log").exists()


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.what)
def test_a_hostile_plan_is_refused_with_a_place(plan: Plan, tmp_path: Path) -> None:
    text = plan.text if isinstance(plan.text, bytes) else plan.text.encode()
    command = Command("", ("validate", "--offline", "plan.yaml"), 0, "", files={"plan.yaml": text, **plan.files})
    expect(say(command, tmp_path), plan.code, plan.says, tmp_path)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.what)
def test_a_hostile_command_is_answered_with_a_sentence(command: Command, tmp_path: Path) -> None:
    expect(say(command, tmp_path), command.code, command.says, tmp_path)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """At the end it must serve still, and have said nothing that it should not."""
    with served(tmp_path_factory.mktemp("served")) as here:
        yield here
        assert here.lives()
        assert is_clean(here.said()), here.said()


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.what)
def test_a_hostile_request_is_answered_and_the_server_goes_on(request_: Request, server: Served) -> None:
    answer = server.ask(request_)
    assert answer.status == request_.status, answer.text
    assert request_.says in _plain(answer.text)
    assert is_clean(answer.text)
    assert server.child.running


def _plain(text: str) -> str:
    return text.replace('\\"', '"').replace("\\\\", "\\")


def test_there_are_no_two_of_one_name_and_more_than_two_hundred() -> None:
    kinds = [[one.what for one in PLANS], [one.what for one in REQUESTS], [one.what for one in COMMANDS]]
    assert all(len(set(names)) == len(names) for names in kinds)
    assert sum(map(len, kinds)) > 200


def test_the_page_in_the_docs_is_the_table() -> None:
    assert PAGE.read_text() == page(), "docs/hostile.md is not current: `make hostile` writes it"
