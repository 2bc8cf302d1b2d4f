"""What is made of an environment's flags for all who ask: once, beside the event loop where it is much."""

import asyncio
import threading

import pytest

from flags import FlagDocument
from orchestrator.api import flag_routes
from orchestrator.api.flag_routes import MadeOnce
from orchestrator.flag_board import Standing
from tests.orchestrator.api.fake_service import FakeService


class Maker:
    def __init__(self) -> None:
        self.made: list[str] = []
        self.threads: list[threading.Thread] = []

    def __call__(self, standing: Standing) -> str:
        self.threads.append(threading.current_thread())
        self.made.append(f"{standing.feed.environment} at {standing.feed.version}")
        return self.made[-1]


async def test_it_is_made_once_for_each_version_however_many_ask_at_once(service: FakeService) -> None:
    maker = Maker()
    once = MadeOnce(maker)
    first = service.standing("production")
    answers = await asyncio.gather(*(once.of(service.standing("production")) for _ in range(10)))
    assert set(answers) == {f"production at {first.feed.version}"}
    service.put(FlagDocument("new-api", percentage=31))
    second = service.standing("production")
    assert await once.of(second) == f"production at {second.feed.version}" != answers[0]
    assert maker.made == [answers[0], await once.of(second)]


@pytest.mark.parametrize("many", (True, False))
async def test_many_flags_are_worked_on_beside_the_event_loop_once(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    monkeypatch.setattr(flag_routes, "MANY_FLAGS", 0 if many else 500)
    maker = Maker()
    once = MadeOnce(maker)
    await asyncio.gather(*(once.of(service.standing("production")) for _ in range(10)))
    assert [thread is threading.main_thread() for thread in maker.threads] == [not many]


async def test_those_asked_for_lately_are_kept(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flag_routes, "MOST_ENVIRONMENTS", 3)
    maker = Maker()
    once = MadeOnce(maker)
    for environment in ("a", "b", "c", "a", "d", "a", "b"):
        await once.of(service.standing(environment))
    assert [made[0] for made in maker.made] == ["a", "b", "c", "d", "b"]  # b went for d; a was asked for since


async def test_what_cannot_be_made_is_tried_again(service: FakeService) -> None:
    def broken(standing: Standing) -> str:
        if not failures:
            failures.append("once")
            raise ValueError("no")
        return "made"

    failures: list[str] = []
    once = MadeOnce(broken)
    with pytest.raises(ValueError, match="no"):
        await once.of(service.standing("production"))
    assert await once.of(service.standing("production")) == "made"
