"""What every command says of a finished run of which only the report is kept; by a controller, and without one."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.cli.hosting import bind, hosted
from orchestrator.cli.parser import make_parser
from orchestrator.cli.serve import keep_of
from orchestrator.cli.settings import find_controller
from orchestrator.retention import Keep
from tests.orchestrator.cli.conftest import Cli
from tests.support.process import DEADLINE_SECONDS

LISTEN = "127.0.0.1:0"
PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: tiny}
spec:
  flags: {beta: {}}
  checks: [{name: fresh, command: ["true"]}]
  stages: [{name: raise, kind: monitoring, flag: beta, percentages: [5, 100], bake: 0s, settle: 0s}]
"""


@dataclass(frozen=True)
class Past:
    """Of a run, while its journal was whole: its *report* by format, and its *journal* as it was exported."""

    run: str
    report: dict[str, str]
    journal: list[str]

    def head(self, seq: int) -> str:
        return f"{seq}:{json.loads(self.journal[seq - 1])['hash']}"

    @property
    def newest(self) -> str:
        return self.head(len(self.journal))


async def cut(cli: Cli, tmp_path: Path) -> Past:
    """A run that went all the way, was looked at, and cut by the next controller."""
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN)
    async with hosted(bind(LISTEN)):
        started = await asyncio.to_thread(cli, "start", str(plan), "--detach")
        run = started.out.strip()
        await asyncio.to_thread(cli, "history", run, "--follow")  # to its end
        report = {
            form: (await asyncio.to_thread(cli, "report", run, "--format", form)).out for form in ("md", "html", "json")
        }
        journal = (await asyncio.to_thread(cli, "export", run)).out.splitlines()
    async with hosted(bind(LISTEN), keep=Keep(0.0)) as here, asyncio.timeout(DEADLINE_SECONDS):
        while True:
            if "kept" in await here.controller.service.status(run):
                return Past(run, report, journal)
            await asyncio.sleep(0.05)


def test_every_command_answers_with_what_is_left_or_says_why_it_can_not(state: Path, cli: Cli, tmp_path: Path) -> None:
    past = asyncio.run(cut(cli, tmp_path))
    check_reading(cli, past)
    check_verify(cli, past, tmp_path)

    async def beside_a_controller() -> None:
        async with hosted(bind(LISTEN)):
            assert find_controller() is not None
            await asyncio.to_thread(check_reading, cli, past)
            await asyncio.to_thread(check_verify, cli, past, tmp_path)
            await asyncio.to_thread(check_commands, cli, past)

    asyncio.run(beside_a_controller())


def check_reading(cli: Cli, past: Past) -> None:
    told = f"{past.run} is kept as its report since "
    for form, text in past.report.items():
        assert cli("report", "tiny", "--format", form).out == text
    status = cli("status", "tiny")
    assert "journal     kept as its report since 20" in status.out
    assert "rollback" not in status.out
    assert cli("status", "tiny", "--output", "json").json["kept"]["head"] == past.newest
    (entry,) = cli("history", "tiny", "--output", "json").json
    assert (entry["type"], entry["seq"], entry["data"]["head"]) == ("KeptAsReport", len(past.journal), past.newest)
    assert told in cli("history", "tiny").out
    assert told in cli("history", "tiny", "--follow").out
    assert [one["run"] for one in cli("list", "--output", "json").json] == [past.run]
    assert "promoted" in cli("list").out
    for refused in (("explain", "tiny"), ("runbook", "tiny"), ("report", "tiny", "--format", "junit")):
        said = cli(*refused)
        assert (said.code, said.out) == (1, "")
        assert said.err.startswith(f"rollout: {told}"), said.err
        assert "(rollout serve --keep-finished 0s)" in said.err


def check_verify(cli: Cli, past: Past, tmp_path: Path) -> None:
    report, line = tmp_path / "report.md", tmp_path / "kept.jsonl"
    report.write_text(past.report["md"])
    line.write_text(cli("export", "tiny").out)
    assert len(line.read_text().splitlines()) == 1
    for what in ("tiny", str(line)):
        said = cli("verify", what)
        sentence, head = said.out.splitlines()
        assert (said.code, head) == (0, f"head {past.newest}")
        assert sentence.startswith(f"{past.run}: kept as its report since 20")
        assert "it fits the head" in cli("verify", what, "--report", str(report)).out
        fits = cli("verify", what, "--head", past.head(3), "--head", past.newest)
        assert (fits.code, "it fits all 2 heads" in fits.out) == (0, True)
        wrong = cli("verify", what, "--head", past.head(3), "--head", f"5:{'0' * 64}")
        assert (wrong.code, "something from entry 4 to it was written anew" in wrong.err) == (1, True)
        beyond = cli("verify", what, "--head", f"{len(past.journal) + 1}:{'0' * 64}")
        assert (beyond.code, "its end was cut off" in beyond.err) == (1, True)


def check_commands(cli: Cli, past: Past) -> None:
    for command in (("rollback", "tiny"), ("pause", "tiny"), ("approve", "tiny")):
        said = cli(*command, "--reason", "too late")
        assert said.code == 1
        assert f"{past.run} is kept as its report since " in said.err


@pytest.fixture
def kept_line(tmp_path: Path) -> Path:
    path = tmp_path / "kept.jsonl"
    path.write_text(json.dumps({"run": "r", "kept": 5.0, "setting": "--keep-finished 30d", "hashes": ["a" * 64]}))
    return path


@pytest.mark.parametrize("changed", ({"hashes": []}, {"hashes": ["zz"]}, {"hashes": 5}, {"run": None, "kept": "soon"}))
def test_a_line_that_is_not_what_is_kept_is_no_witness(cli: Cli, kept_line: Path, changed: dict[str, object]) -> None:
    assert cli("verify", str(kept_line)).code == 0
    kept_line.write_text(json.dumps({**json.loads(kept_line.read_text()), **changed}))
    said = cli("verify", str(kept_line))
    assert (said.code, "line 1 says that a run is kept as its report, and not which" in said.err) == (1, True)


def test_such_a_line_among_entries_is_no_entry(cli: Cli, kept_line: Path) -> None:
    kept_line.write_text(f"{kept_line.read_text()}\n" * 2)
    said = cli("verify", str(kept_line))
    assert (said.code, "line 1 is no entry of a journal" in said.err) == (1, True)


@pytest.mark.parametrize(
    ("typed", "seconds"),
    (
        ((), 30 * 86_400.0),
        (("--keep-finished", "36h"), 36 * 3600.0),
        (("--keep-finished", "forever"), None),
        (("--until-idle",), None),  # a controller in the background of `rollout start`
        (("--until-idle", "--keep-finished", "1d"), 86_400.0),
    ),
)
def test_finished_runs_are_kept_whole_for_30_days_unless_something_else_is_said(
    typed: tuple[str, ...], seconds: float | None
) -> None:
    keep = keep_of(make_parser().parse_args(["serve", *typed]))
    assert (keep.seconds if keep is not None else None) == seconds


@pytest.mark.parametrize("given", ("30", "-1d", "soon", ""))
def test_a_time_that_is_none_is_refused(cli: Cli, given: str) -> None:
    said = cli("serve", "--listen", LISTEN, f"--keep-finished={given}")
    assert said.code == 2
    assert "--keep-finished: " in said.err
    assert "or forever" in said.err
