"""`export` and `verify`: journals that leave the house, and whether they are what was written."""

import io
import json
from pathlib import Path

import pytest

from orchestrator.audit import line
from orchestrator.core.events import Paused, Resumed
from orchestrator.core.report import build, to_html, to_markdown
from orchestrator.journal import chain
from orchestrator.signing import Signer
from tests.orchestrator.cli.conftest import Cli, FakeController, a_status, an_entry
from tests.support.keys import signing_keys

EVENTS = [Paused(by="ann"), Resumed(by="bob"), Paused(by="ann"), Resumed(by="eve"), Paused(by="ann")]


@pytest.fixture
def lines(controller: FakeController) -> list[str]:
    encoded = [chain.encode(event) for event in EVENTS]
    found = [line(record) for record, _ in chain.extend("search-1a2b3c", 0, chain.GENESIS, 5, encoded)]
    controller.lines = found
    return found


def hash_of(text: str) -> str:
    return str(json.loads(text)["hash"])


def test_a_journal_is_exported_to_its_end_however_many_answers_it_takes(cli: Cli, lines: list[str]) -> None:
    assert cli("export", "search").out.splitlines() == lines


def test_a_run_is_verified_and_it_is_said_what_that_does_not_show(cli: Cli, lines: list[str]) -> None:
    said = cli("verify", "search")
    assert said.code == 0
    sentence, head = said.out.splitlines()
    assert sentence.startswith("search-1a2b3c: all 5 entries are what was written; no head from elsewhere was given")
    assert head == f"head 5:{hash_of(lines[-1])}"


def test_the_head_that_it_prints_is_one_that_it_takes(cli: Cli, lines: list[str]) -> None:
    head = cli("verify", "search", "--output", "json").json["head"]
    assert cli("verify", "search", "--head", head).out.startswith(
        "search-1a2b3c: all 5 entries are what was written and fit the head"
    )


def test_a_file_is_verified_without_a_controller(cli: Cli, lines: list[str], tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    file.write_text("\n".join([*lines[:2], lines[2].replace("ann", "mallory"), *lines[3:]]))
    said = cli("verify", str(file))
    assert said.code == 1
    assert "entry 3 of search-1a2b3c (line 3) is not what was written there" in said.err


def test_a_journal_may_come_by_a_pipe(cli: Cli, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    assert "all 5 entries" in cli("verify", "-").out


@pytest.mark.parametrize("form", ("md", "html", "json"))
def test_a_report_of_any_format_knows_the_head(cli: Cli, lines: list[str], tmp_path: Path, form: str) -> None:
    entry = {**an_entry(4, "Resumed"), "hash": hash_of(lines[3])}
    made = build(a_status(), [entry])
    written = {"md": to_markdown(made), "html": to_html(made), "json": json.dumps(made, indent=2)}
    report = tmp_path / f"report.{form}"
    report.write_text(written[form])
    file = tmp_path / "journal.jsonl"
    file.write_text("\n".join(lines))
    assert "and fit the head" in cli("verify", str(file), "--report", str(report)).out
    file.write_text("\n".join(lines[:3]))
    said = cli("verify", str(file), "--report", str(report))
    assert said.code == 1
    assert f"ends with entry 3, and the report {report} knows of an entry 4: its end was cut off" in said.err


def test_a_message_that_somebody_kept_knows_the_head(cli: Cli, lines: list[str], tmp_path: Path) -> None:
    message = tmp_path / "message.json"
    message.write_text(json.dumps({"title": "Held", "run": "search-1a2b3c", "head": f"3:{hash_of(lines[2])}"}))
    file = tmp_path / "journal.jsonl"
    file.write_text("\n".join(lines))
    assert "and fit the head" in cli("verify", str(file), "--report", str(message)).out
    file.write_text("\n".join(lines[:2]))
    assert "knows of an entry 3: its end was cut off" in cli("verify", str(file), "--report", str(message)).err


def test_what_is_no_report_is_refused(cli: Cli, lines: list[str], tmp_path: Path) -> None:
    other = tmp_path / "notes.md"
    other.write_text("# Notes")
    said = cli("verify", "search", "--report", str(other))
    assert said.code == 2
    assert f"{other} is no report of a run" in said.err


def test_only_a_message_with_a_right_signature_is_a_witness(cli: Cli, lines: list[str], tmp_path: Path) -> None:
    private, public = signing_keys(tmp_path)
    journal, message = tmp_path / "journal.jsonl", tmp_path / "message.json"
    journal.write_text("\n".join(lines))
    head = f"3:{hash_of(lines[2])}"
    given = ("verify", str(journal), "--report", str(message), "--public-key", str(public))

    body = {"run": "search-1a2b3c", "head": head, "signature": Signer.read(private).sign("search-1a2b3c", head)}
    message.write_text(json.dumps(body))
    assert "and fit the head" in cli(*given).out

    message.write_text(json.dumps({**body, "head": f"2:{hash_of(lines[1])}"}))
    said = cli(*given)
    assert (said.code, "was not signed with this key, or its run or head was changed since" in said.err) == (1, True)

    message.write_text(json.dumps({"run": "search-1a2b3c", "head": head}))
    assert "bears no signature" in cli(*given).err
