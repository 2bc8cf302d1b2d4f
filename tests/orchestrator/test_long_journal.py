"""Runs whose journals are longer than what is read of one at a time."""

import pytest

from orchestrator import reading
from orchestrator.reading import Reading
from tests.orchestrator.house import ANN, QUICK, House, eventually, submission


@pytest.mark.parametrize("together", (1, 2, 5, 1000))
async def test_its_state_is_the_same_however_much_is_read_at_a_time(
    house: House, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    service = await house.move_in()
    run, _ = await service.start(submission(**QUICK), ANN)
    await eventually(service, run, outcome="promoted")
    expected, _ = await Reading._state(service, run)
    assert expected.seq > 10
    monkeypatch.setattr(reading, "PIECE_FOLDED", together)
    found, _ = await Reading._state(service, run)
    assert found == expected
