"""A person's commands are measured until they are acted upon."""

from typing import Any

import pytest

from benchmarks import commands


@pytest.mark.slow
def test_commands_are_acknowledged_before_they_are_acted_upon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, fewer in (("QUICK", 6), ("QUICK_COMMANDS", 6), ("QUICK_ROLLBACKS", 2)):
        monkeypatch.setattr(commands, name, fewer)
    result: dict[str, Any] = commands.run(quick=True)
    assert (result["commands"], result["rollbacks"]) == (6, 2)
    for which in ("p50", "p99", "most"):
        assert 0 < result[f"acknowledged_{which}_ms"] < result[f"acted_{which}_ms"]
    assert 0 < result["flag_off_p50_ms"] <= result["flag_off_most_ms"]
    assert "6 commands: acknowledged" in commands.table(result)
