"""A few made-up requests and plans; `make fuzz N=100000` makes more."""

from pathlib import Path

from tests.fuzz.asking import OFTEN, ask, cases
from tests.fuzz.planning import plan
from tests.hostile.served import served

FEW = 150


def test_made_up_requests_get_no_5xx_and_answers_as_described(tmp_path: Path) -> None:
    with served(tmp_path, often=OFTEN) as here:
        assert ask(here, FEW, 1, cases(here)).total() >= FEW // 2
        assert here.lives()
        assert "Traceback" not in here.said(), here.said()


def test_made_up_plans_are_refused_or_compiled() -> None:
    assert plan(FEW, 1).total() >= FEW // 2
