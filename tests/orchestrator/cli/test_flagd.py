"""`rollout flag export` and `rollout flag import`, against a controller that answers as the test says."""

import io
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from flags import FlagDocument
from flags.flagd import read
from orchestrator.cli import flagd
from orchestrator.errors import UsageError
from tests.orchestrator.cli.conftest import FakeController

IMPORT = "/api/v1/flags/import"
ANSWER = {
    "environment": "production",
    "written": ["b", "a"],
    "unchanged": ["c"],
    "runs": {"a": "search-1"},
    "notes": ["x"],
}


def arguments(**given: Any) -> Namespace:
    usual: dict[str, Any] = {"server": None, "environment": None, "output": "table", "reason": "we move"}
    return Namespace(**{**usual, "wants_reason": True, **given})


def shown(document: FlagDocument, killed: bool = False) -> dict[str, Any]:
    return {**document.to_json(), "killed": killed, "run": None, "pinned": False, "by": "ann", "at": "2026-01-01"}


def test_an_export_is_a_file_that_reads_as_the_same_flags(
    controller: FakeController, capsys: pytest.CaptureFixture[str]
) -> None:
    document = FlagDocument("beta", environment="staging", percentage=12.5, permanent=True)
    controller.answers["GET", "/api/v1/flags"] = (200, [shown(document)])
    assert flagd.export(arguments(environment="staging")) == 0
    assert controller.last.query == {"environment": "staging"}
    assert read(capsys.readouterr().out).documents == (document,)


def test_an_export_says_what_the_file_does_not(controller: FakeController, capsys: pytest.CaptureFixture[str]) -> None:
    document = FlagDocument("beta", targets={"user.team": ("a",)})
    controller.answers["GET", "/api/v1/flags"] = (200, [shown(document, killed=True)])
    flagd.export(arguments())
    said = capsys.readouterr().err
    assert "its target by 'user.team' is not sent to flagd's clients" in said
    assert "the kill switch is thrown; the file says what the flags return to" in said


def a_file(folder: Path, **flag: Any) -> str:
    usual = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}
    path = folder / "flags.json"
    path.write_text(json.dumps({"flags": {"beta": {**usual, **flag}}}))
    return str(path)


def test_an_import_sends_the_file_and_says_what_became_of_it(
    controller: FakeController, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    controller.answers["POST", IMPORT] = (200, ANSWER)
    file = a_file(tmp_path)
    assert flagd.import_(arguments(file=file, environment="staging")) == 0
    assert controller.last.query == {"environment": "staging"}
    assert controller.last.body == {"flagd": json.loads(Path(file).read_text()), "reason": "we move"}
    said = capsys.readouterr()
    assert said.out.splitlines() == ["2 flags written in production, 1 were the same already", "  b", "  a"]
    assert "run search-1 uses a and holds until `rollout resume`" in said.err


def test_an_import_can_be_read_by_programs(
    controller: FakeController, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    controller.answers["POST", IMPORT] = (200, ANSWER)
    flagd.import_(arguments(file=a_file(tmp_path), output="json"))
    said = capsys.readouterr()
    assert (json.loads(said.out), said.err) == (ANSWER, "")
    assert controller.last.query == {}


def test_an_import_may_come_from_standard_input(controller: FakeController, monkeypatch: pytest.MonkeyPatch) -> None:
    controller.answers["POST", IMPORT] = (200, ANSWER)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"flags": {}}')))
    flagd.import_(arguments(file="-"))
    assert controller.last.body["flagd"] == {"flags": {}}


def test_nothing_is_sent_of_a_file_that_cannot_be_taken_over(controller: FakeController, tmp_path: Path) -> None:
    file = a_file(tmp_path, targeting={"if": [{"sem_ver": [{"var": "v"}, ">", "1.0.0"]}, "on"]})
    with pytest.raises(UsageError) as refused:
        flagd.import_(arguments(file=file))
    assert str(refused.value).startswith(f"{file}: flag 'beta': targeting.if[0]: the operator 'sem_ver' can't be taken")
    with pytest.raises(UsageError, match=r"nowhere\.json can't be read: no such file or directory"):
        flagd.import_(arguments(file="nowhere.json"))
    with pytest.raises(UsageError, match="--reason TEXT is needed to import"):
        flagd.import_(arguments(file=a_file(tmp_path), reason=""))
    assert not [one for one in controller.requests if one.method == "POST"]


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flagd, "MOST_BYTES", 10)
    with pytest.raises(UsageError, match="is larger than 10 bytes"):
        flagd.import_(arguments(file=a_file(tmp_path)))
