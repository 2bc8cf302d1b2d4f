"""The journal in the log: a line an event, with names and ids, and with no text of anybody's."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog

from orchestrator import event_log
from orchestrator.cli import hosting
from orchestrator.errors import UsageError
from tests.orchestrator.house import ANN, QUICK, House, eventually, submission

SECRET = "a reason that nobody else is to read"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What a controller's log has, as JSON."""
    before, stream = structlog.get_config(), io.StringIO()
    monkeypatch.setenv(hosting.LOG_FORMAT, "json")
    hosting.log_to(stream)
    yield stream
    structlog.configure(**before)


async def test_each_event_is_a_line_with_its_run_and_its_effect(written: io.StringIO) -> None:
    house = House()
    service = await house.move_in()
    service.readers.append(event_log.write)
    run, _ = await service.start(replace(submission(**QUICK), reason=SECRET), ANN)
    await eventually(service, run, phase="ended")
    journal = await service.history(run)
    await service.close()

    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    lines = [line for line in lines if line["event"] == "journal"]
    assert [(line["run"], line["seq"], line["type"]) for line in lines] == [
        (run, entry["seq"], entry["type"]) for entry in journal
    ]
    requested = next(line for line in lines if line["type"] == "EffectRequested")
    finished = next(line for line in lines if line["type"] == "EffectFinished")
    assert requested["effect"] == finished["effect"] == f"{run}-e1"
    assert requested["target"] == "flag:production/beta"
    assert {line["level"] for line in lines} == {"info"}
    assert (lines[0]["by"], lines[-1]["outcome"]) == ("ann", "promoted")
    assert SECRET not in written.getvalue()


def test_a_form_that_is_not_known_says_which_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(hosting.LOG_FORMAT, "xml")
    with pytest.raises(UsageError, match="ROLLOUT_LOG_FORMAT is 'xml'; logfmt and json are known"):
        hosting.log_to(io.StringIO())
