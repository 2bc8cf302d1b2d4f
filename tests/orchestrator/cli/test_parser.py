import subprocess
import sys

import pytest

from orchestrator.cli.help import GROUPS
from orchestrator.cli.parser import make_parser
from tests.orchestrator.cli.conftest import Cli

COMMANDS = [
    word for _, lines in GROUPS for names, _ in lines for word in names.split(" RUN")[0].split(" PLAN")[0].split(", ")
]


def test_help_names_every_command_that_there_is(cli: Cli) -> None:
    said = cli("--help")
    assert said.code == 0
    for command in (*COMMANDS, "fire"):
        assert command.split()[-1] in said.out


@pytest.mark.parametrize("words", ([], ["status", "--help"], ["flag", "set", "--help"], ["fire", "--help"]))
def test_every_part_has_help_of_its_own(cli: Cli, words: list[str]) -> None:
    said = cli(*words)
    assert "usage:" in said.out.lower()
    assert said.code == (0 if words else 2)


def test_help_loads_nothing_that_is_slow() -> None:
    slow = ("argparse", "asyncio", "http.client", "pydantic", "orchestrator.core", "stages", "typer", "rich")
    script = "import sys; from orchestrator.cli import main; main(['--help']); "
    script += f"print([name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "sentence"),
    (
        (["statsu"], "there is no command 'statsu'; did you mean 'status'?"),
        (["flag", "gte"], "there is no action 'gte'; did you mean 'get'?"),
        (["status"], "the following arguments are required: RUN"),
        (["status", "x", "--output", "xml"], "invalid choice: 'xml'"),
        (["status", "x", "--out", "json"], "unrecognized arguments"),
        (["resume", "x", "--keep", "--release"], "not allowed with"),
        (["flag"], "needs one of list, get, history, set"),
        (["serve", "--listen", "nowhere"], "HOST:PORT is expected"),
    ),
)
def test_what_was_typed_wrong_is_said_in_one_line_with_exit_code_2(cli: Cli, words: list[str], sentence: str) -> None:
    said = cli(*words)
    assert said.code == 2
    assert sentence in said.err
    assert len(said.err.splitlines()) == 1
    assert said.out == ""


def test_only_the_needed_parser_understands_the_same() -> None:
    words = ["rollback", "x", "--stage", "queue", "--with-schema", "--reason", "why"]
    whole, part = (vars(make_parser(only).parse_args(words)) for only in (None, "rollback"))
    del whole["perform"], part["perform"]
    assert whole == part


def test_the_environment_of_a_flag_may_stand_before_or_behind_the_action() -> None:
    before = make_parser("flag").parse_args(["flag", "--environment", "staging", "get", "beta"])
    behind = make_parser("flag").parse_args(["flag", "get", "beta", "--environment", "staging"])
    assert before.environment == behind.environment == "staging"
    assert make_parser("flag").parse_args(["flag", "get", "beta"]).environment is None


def test_the_version_is_told(cli: Cli) -> None:
    said = cli("--version")
    assert said.code == 0
    assert said.out.startswith("rollout ")
