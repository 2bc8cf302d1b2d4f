"""How the demonstration's service reads flags: cached, and steady while nobody answers."""

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import FlagNotFoundError, GeneralError
from openfeature.flag_evaluation import FlagResolutionDetails
from openfeature.provider.no_op_provider import NoOpProvider

from examples.demo import features
from examples.demo.features import OFF, Feature, Features


class Controller(NoOpProvider):
    """Stands for the remote end: knows one flag, counts questions, can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.away = False

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        self.asked += 1
        if self.away:
            raise GeneralError("connection refused")
        if flag_key != "queue":
            raise FlagNotFoundError("no such flag")
        return FlagResolutionDetails(True, flag_metadata={"width": 4})


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(features, "time", clock)
    return clock


@pytest.fixture
def controller() -> Controller:
    controller = Controller()
    api.set_provider(controller, "demo-test")
    return controller


@pytest.fixture
def read(controller: Controller, clock: Clock) -> Features:
    return Features(api.get_client("demo-test"))


def test_a_flag_comes_with_its_parameters_and_an_unknown_one_is_off(read: Features) -> None:
    assert read.read("queue", "user-1") == Feature(True, {"width": 4})
    assert read.read("nowhere", "user-1") == OFF


def test_an_answer_is_asked_for_once_a_second_and_key(read: Features, controller: Controller, clock: Clock) -> None:
    for key in ("user-1", "user-1", "user-2"):
        read.read("queue", key)
    assert controller.asked == 2
    clock.now += features.MAX_AGE_SECONDS
    read.read("queue", "user-1")
    assert controller.asked == 3


def test_while_the_controller_is_away_its_last_answer_stays(
    read: Features, controller: Controller, clock: Clock
) -> None:
    read.read("queue", "user-1")
    controller.away = True
    clock.now += 60
    assert read.read("queue", "user-1").on
    assert not read.read("queue", "user-2").on
    assert controller.asked == 2, "after a failed question nobody asks for a while"
    controller.away = False
    clock.now += features.RETRY_AFTER_SECONDS
    assert read.read("queue", "user-2").on
