import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import cli


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        module = ModuleType(f"benchmarks.{name}")
        module.run = lambda quick, name=name: {"name": name, "quick": quick}  # type: ignore[attr-defined]
        module.table = lambda result: f"table of {result['name']}"  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, f"benchmarks.{name}", module)
    monkeypatch.setattr(benchmarks, "names", lambda: ["one", "two"])


def test_the_last_line_is_the_result_of_one_benchmark(two: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmarks.main(["one", "--quick", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "table of one"
    assert json.loads(lines[-1]) == {"name": "one", "quick": True}


def test_all_results_come_by_name(two: None, capsys: pytest.CaptureFixture[str]) -> None:
    benchmarks.main(["all", "--json"])
    out = capsys.readouterr().out
    assert "table of one\n\ntable of two\n" in out
    assert set(json.loads(out.splitlines()[-1])) == {"one", "two"}


def test_each_result_is_kept_and_one_that_fails_takes_nothing_from_the_others(
    two: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(quick: bool) -> dict[str, Any]:
        raise RuntimeError("there is no server")

    monkeypatch.setattr(sys.modules["benchmarks.one"], "run", fails)
    assert benchmarks.main(["all", "--into", str(tmp_path / "kept")]) == 1
    assert json.loads((tmp_path / "kept" / "two.json").read_text()) == {"name": "two", "quick": False}
    assert (tmp_path / "kept" / "two.txt").read_text() == "table of two\n"
    assert not (tmp_path / "kept" / "one.json").exists()
    errors = capsys.readouterr().err
    assert "there is no server" in errors
    assert errors.endswith("failed: one\n")


def test_an_unknown_name_is_refused_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        benchmarks.main(["nothing"])
    assert ended.value.code == 2
    assert "cli" in capsys.readouterr().err


def test_every_benchmark_can_be_run_and_shown() -> None:
    from importlib import import_module

    for name in benchmarks.names():
        module = import_module(f"benchmarks.{name}")
        assert callable(module.run)
        assert callable(module.table)


@pytest.mark.slow
def test_the_command_line_is_measured_beside_a_bare_python() -> None:
    result: dict[str, Any] = cli.run(quick=True)
    for name in ("help_ms", "status_ms", "python_ms"):
        least, most = result["spread_ms"][name]
        assert 0 < least <= result[name] <= most
    assert "rollout --help" in cli.table(result)
