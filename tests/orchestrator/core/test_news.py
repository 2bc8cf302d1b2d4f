"""News of steps and stages: each once, of those that a plan names."""

from typing import Any

from orchestrator.core.events import NoticeRequested
from tests.orchestrator.core.drive import Drive

CHANNELS = {"graphs": {"webhook": {"url": "http://127.0.0.1:1/hook"}}}
OPEN = {"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [5, 50], "bake": "1m"}


def told(**news: Any) -> list[str]:
    spec = {
        "flags": {"beta": {}, "gamma": {}},
        "stages": [OPEN, {**OPEN, "name": "wider", "flag": "gamma"}],
        "notify": {"channels": CHANNELS, "news": [{"channels": ["graphs"], **news}]},
    }
    drive = Drive(spec)
    drive.run_until(lambda: drive.state.ended)
    return [one.notice.text for one in drive.events if isinstance(one, NoticeRequested)]


def test_each_step_is_told_once_with_what_users_meet_by_then() -> None:
    assert told(when=["step"]) == [
        "open in production is at 5% (beta 5 %)",
        "open in production is at 50% (beta 50 %)",
        "wider in production is at 5% (beta 50 %, gamma 5 %)",
        "wider in production is at 50% (beta 50 %, gamma 50 %)",
    ]


def test_steps_and_stages_are_told_of_the_stages_that_a_plan_names() -> None:
    assert told(when=["step", "stage"], stages=["wider"]) == [
        "wider in production is at 5% (beta 50 %, gamma 5 %)",
        "wider in production is at 50% (beta 50 %, gamma 50 %)",
        "stage wider in production is done",
    ]


def test_a_channel_of_a_severity_and_of_the_first_step_is_told_of_an_alarm_once() -> None:
    check = {"name": "ready", "manual": "Is everybody ready?"}
    notify = {"severity": {"low": ["graphs"]}, "escalation": [{"after": "0m", "channels": ["graphs"]}]}
    drive = Drive(
        {"checks": [check], "flags": {"beta": {}}, "stages": [OPEN], "notify": {"channels": CHANNELS, **notify}}
    )
    drive.run_until(lambda: bool(drive.state.waiting))
    drive.settle()
    notices = [one.notice.key for one in drive.events if isinstance(one, NoticeRequested)]
    assert len(notices) == len(set(notices)) == 1
