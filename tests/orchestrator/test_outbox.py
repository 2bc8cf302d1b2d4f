"""Messages on their way: in order, tried again, joined, and reported where they don't arrive. Time is virtual."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from orchestrator.core.commands import Command
from orchestrator.core.effect import Notice
from orchestrator.errors import Permanent, RolloutError, Temporary
from orchestrator.metrics import now
from orchestrator.ports import Scene
from orchestrator.rehearse.loop import VirtualLoop, run_in
from orchestrator.rehearse.world import VirtualClock
from orchestrator.runner import LONGEST_SLEEP_SECONDS
from orchestrator.service import Service
from stages.notify import Channel, Heartbeat
from stages.problems import InvalidPlan
from tests.orchestrator.house import ANN, House, submission

T = TypeVar("T")
HOUR = 3600.0
CHANNELS = {name: {"webhook": {"url": f"http://{name}/"}} for name in ("team", "boss")}
ALERT = {"name": "spike", "by_hand": True, "then": "continue", "severity": "high"}


@dataclass(slots=True)
class Post:
    """Takes messages, unless *failures* of their channel are left or it *hangs*."""

    failures: dict[str, list[RolloutError]] = field(default_factory=dict)
    hanging: frozenset[str] = frozenset()
    tries: list[tuple[float, str]] = field(default_factory=list)
    taken: list[tuple[float, str, Notice]] = field(default_factory=list)
    beats: list[tuple[float, bool]] = field(default_factory=list)

    async def deliver(self, notice: Notice, channel: Channel, scene: Scene) -> None:
        now = round(asyncio.get_running_loop().time(), 1)
        self.tries.append((now, notice.channel))
        if notice.channel in self.hanging:
            await asyncio.Event().wait()
        if left := self.failures.get(notice.channel):
            raise left.pop(0)
        self.taken.append((now, notice.channel, notice))

    async def beat(self, heartbeat: Heartbeat, scene: Scene, *, ended: bool) -> None:
        self.beats.append((round(asyncio.get_running_loop().time()), ended))

    def titles(self, channel: str) -> list[str]:
        return [notice.title.partition(": ")[2] for _, where, notice in self.taken if where == channel]


def lived(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return run_in(VirtualLoop(horizon_seconds=100 * HOUR), work)


async def started(post: Post, house: House | None = None, **spec: Any) -> tuple[Service, str]:
    house = house or House(VirtualClock())
    house.messenger = house.pulse = post
    service = await house.move_in()
    run, _ = await service.start(submission(**{"triggers": [ALERT], **spec}), ANN)
    await asyncio.sleep(1.0)
    return service, run


async def say(service: Service, run: str, command: str, **more: str) -> None:
    await service.command(run, Command.model_validate({"command": command, "reason": "so", **more}), ANN)


def test_a_channel_that_fails_is_tried_again_with_back_off_and_as_late_as_it_asks() -> None:
    post = Post({"team": [Temporary("away"), Temporary("busy", 30.0)]})

    async def live() -> None:
        service, _ = await started(post, notify=_news("team"))
        await asyncio.sleep(60)
        await service.close()

    lived(live)
    begin = post.tries[0][0]
    assert [round(at - begin) for at, _ in post.tries] == [0, 2, 32]
    assert post.titles("team") == ["started"]


def test_a_channel_that_fails_is_reported_to_the_others_and_in_the_status_until_it_takes_something() -> None:
    post = Post({"team": [Temporary("away")] * 5})

    async def live() -> tuple[list[Any], list[Any], list[str]]:
        house = House(VirtualClock())
        service, run = await started(post, house, notify=_news("team"))
        await asyncio.sleep(20)
        failing = (await service.status(run))["notifications"]["failing"]
        await asyncio.sleep(HOUR / 4)
        well = (await service.status(run))["notifications"]["failing"]
        await service.close()
        return failing, well, [one.event.type_name for one in await house.store.read(run)]

    failing, well, events = lived(live)
    assert [(one["channel"], one["detail"]) for one in failing] == [("team", "away")]
    assert post.titles("boss") == ["the channel team can't be told: away"]
    assert "what it was not told: change-" in post.taken[0][2].text
    assert well == []
    assert events.count("ChannelFailing") == 1


def test_what_is_refused_for_good_is_given_up_at_once_and_told_to_the_others() -> None:
    post = Post({"team": [Permanent("no such hook")]})

    async def live() -> None:
        service, _ = await started(post, notify=_news("team"))
        await asyncio.sleep(HOUR)
        await service.close()

    lived(live)
    assert [channel for _, channel in post.tries] == ["team", "boss"]


def test_two_channels_that_fail_do_not_tell_each_other_for_ever() -> None:
    post = Post({"team": [Temporary("away")] * 99, "boss": [Temporary("away too")] * 99})

    async def live() -> int:
        service, run = await started(post, notify=_news("team"))
        await asyncio.sleep(5 * HOUR)
        waiting: int = (await service.status(run))["notifications"]["waiting"]
        await service.close()
        return waiting

    assert lived(live) == 0
    assert [channel for _, channel in post.tries].count("team") == 10
    assert [channel for _, channel in post.tries].count("boss") == 10


def test_a_channel_that_hangs_holds_up_neither_the_run_nor_another_channel() -> None:
    post = Post(hanging=frozenset({"team"}))

    async def live() -> str:
        news = [{"when": ["started", "promoted"], "channels": ["team", "boss"]}]
        stage = {
            "name": "open",
            "kind": "monitoring",
            "flag": "beta",
            "percentages": [50],
            "bake": "0s",
            "settle": "0s",
        }
        service, run = await started(post, notify={"channels": CHANNELS, "news": news}, stages=[stage], watch="0s")
        await asyncio.sleep(60)
        outcome = str((await service.status(run))["outcome"])
        await service.close()
        return outcome

    assert lived(live) == "promoted"
    assert post.titles("boss") == ["started", "ended promoted"]
    assert [channel for _, channel in post.tries].count("team") == 1, "one at a time"


def test_quiet_messages_within_a_time_become_one_and_loud_ones_do_not_wait() -> None:
    post = Post()

    async def live() -> None:
        notify = {
            "channels": CHANNELS,
            "digest": "5m",
            "news": [{"when": ["started", "stage"], "channels": ["team"]}],
            "severity": {"high": ["team"]},
        }
        stages = [
            {"name": name, "kind": "monitoring", "flag": "beta", "percentages": [50], "bake": "10s", "settle": "0s"}
            for name in ("one", "two")
        ]
        service, run = await started(post, notify=notify, stages=stages, watch="1h")
        await say(service, run, "fire", trigger="spike")
        await asyncio.sleep(HOUR / 2)
        await service.close()

    lived(live)
    loud, digest = post.taken
    assert loud[2].severity == "high"
    assert digest[0] - loud[0] == pytest.approx(300, abs=5)
    assert digest[2].title.endswith(": 3 messages")
    assert digest[2].text.splitlines() == [
        "started", "stage one in production is done", "stage two in production is done",
    ]  # fmt: skip


def test_an_alert_that_lets_the_run_go_on_escalates_until_somebody_acknowledges() -> None:
    post = Post()
    escalation = [{"after": "0m", "channels": ["team"]}, {"after": "2m", "channels": ["boss"], "repeat": "3m"}]

    async def live() -> None:
        alert = {**ALERT, "escalation": escalation}
        service, run = await started(
            post, notify={"channels": CHANNELS, "severity": {"high": ["team"]}}, triggers=[alert]
        )
        await say(service, run, "fire", trigger="spike")
        await asyncio.sleep(9 * 60)
        await say(service, run, "ack")
        await asyncio.sleep(HOUR / 3)
        await service.close()

    lived(live)
    begin = post.taken[0][0]
    assert [(round((at - begin) / 60), where) for at, where, _ in post.taken] == [
        (0, "team"), (2, "boss"), (5, "boss"), (8, "boss"), (9, "team"), (9, "boss"),
    ]  # fmt: skip
    assert post.titles("boss")[-1] == "acknowledged by ann"


def test_of_the_rounds_of_a_night_without_a_controller_only_the_newest_is_told() -> None:
    post, house = Post(), House(VirtualClock())
    escalation = [{"after": "0m", "channels": ["team"], "repeat": "10m"}]

    async def live() -> None:
        service, run = await started(post, house, notify={"channels": CHANNELS, "escalation": escalation})
        await say(service, run, "fire", trigger="spike")
        await asyncio.sleep(60)
        await service.close()
        post.taken.clear()
        await asyncio.sleep(8 * HOUR)
        again = await house.move_in()
        await asyncio.sleep(60)
        await again.close()

    lived(live)
    assert [where for _, where, _ in post.taken] == ["team"]


def test_stakeholders_hear_of_the_stages_that_are_chosen_in_the_words_that_are_chosen() -> None:
    post = Post()

    async def live() -> None:
        news = [
            {"when": ["stage"], "stages": ["two"], "channels": ["boss"], "message": "The new search is open to all."}
        ]
        stages = [
            {"name": name, "kind": "monitoring", "flag": "beta", "percentages": [50], "bake": "10s", "settle": "0s"}
            for name in ("one", "two")
        ]
        service, _ = await started(post, notify={"channels": CHANNELS, "news": news}, stages=stages, watch="1h")
        await asyncio.sleep(HOUR / 2)
        await service.close()

    lived(live)
    ((_, where, notice),) = post.taken
    assert where == "boss"
    assert notice.text == "The new search is open to all.\nstage two in production is done"


def test_the_heart_beats_while_a_controller_looks_and_not_while_none_does() -> None:
    post, house = Post(), House(VirtualClock())

    async def live() -> float:
        notify = {"heartbeat": {"url": "http://x/", "every": "1m"}}
        service, run = await started(post, house, notify=notify)
        await asyncio.sleep(10 * 60)
        gone_at = asyncio.get_running_loop().time()
        await service.close()
        await asyncio.sleep(HOUR / 2)
        again, _ = await started(post, house, notify=notify)
        await say(again, run, "stop")
        await asyncio.sleep(10 * 60)
        await again.close()
        return gone_at

    gone_at = lived(live)
    living = [at for at, ended in post.beats if at <= gone_at and not ended]
    assert len(living) in (10, 11)
    assert not [at for at, _ in post.beats if gone_at < at < gone_at + HOUR / 2]
    assert [ended for _, ended in post.beats].count(True) == 1
    assert post.beats[-1][1], "the last one says that there is nothing more to look at"


def test_a_plan_that_needs_what_is_not_installed_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.extras.find_spec", lambda name: None)

    async def live() -> None:
        service = await House(VirtualClock()).move_in()
        channels = {"team": {"slack": {"url": {"env": "SLACK"}}}, "plain": CHANNELS["boss"]}
        with pytest.raises(InvalidPlan) as refused:
            await service.start(submission(notify={"channels": channels}), ANN)
        (problem,) = refused.value.problems
        assert problem.path == "spec.notify.channels.team"
        assert "pip install 'staged-rollout[notify]'" in problem.message
        await service.close()

    lived(live)


def _news(*channels: str) -> dict[str, Any]:
    return {"channels": CHANNELS, "news": [{"when": ["started"], "channels": list(channels)}]}


def test_metrics_show_a_channel_that_fails_and_a_run_that_nobody_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    post = Post({"team": [Temporary("away")] * 99})

    async def live() -> tuple[now.Seen, now.Seen]:
        service, _ = await started(post, notify=_news("team"))
        await asyncio.sleep(60)
        well = await now.seen(service.walked())
        (runner,) = service.runners

        mended = asyncio.Event()
        monkeypatch.setattr(runner, "_decide", mended.wait)
        await asyncio.sleep(HOUR / 2)
        hangs = await now.seen(service.walked())
        mended.set()
        await service.close()
        return well, hangs

    well, hangs = lived(live)
    assert (well.channels_failing, well.notices) == (1, 1)
    assert 59 <= well.notice_age <= 61
    assert well.unseen <= LONGEST_SLEEP_SECONDS
    assert hangs.unseen >= HOUR / 2 - LONGEST_SLEEP_SECONDS
