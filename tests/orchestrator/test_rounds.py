"""Asking a round of checks: each once or until its time is up, a few at a time, people last."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.ports import CheckAnswer, Scene
from orchestrator.rounds import MOST_AT_ONCE, Asking, Result
from stages.checks import Check, Standing

SCENE = Scene("", "production")
BEGIN = 1_700_000_000.0


@dataclass
class HandClock:
    passed: float = 0.0

    def now(self) -> float:
        return BEGIN + self.passed

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.passed += seconds
        await asyncio.sleep(0)


@dataclass
class Asked:
    """Answers as it is told, in turn; the last one stays."""

    answers: dict[str, list[Standing]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    under_way: int = 0
    most: int = 0

    async def ask(self, check: Check, scene: Scene) -> CheckAnswer:
        self.order.append(check.name)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        for _ in range(3):
            await asyncio.sleep(0)
        self.under_way -= 1
        told = self.answers.get(check.name, [Standing.YES])
        return CheckAnswer(told.pop(0) if len(told) > 1 else told[0], f"{check.name} was asked")


def checks(*written: Mapping[str, object]) -> tuple[Check, ...]:
    return tuple(Check.model_validate({"env": "HOME", **one} if "manual" not in one else one) for one in written)


async def asked(world: Asked, *written: Mapping[str, object], **more: object) -> tuple[Result, HandClock]:
    clock = HandClock()
    return await Asking(world, clock, **more).ask("morning", checks(*written), SCENE), clock  # type: ignore[arg-type]


async def test_a_round_is_well_when_all_that_is_required_is() -> None:
    world = Asked({"b": [Standing.NO]})
    result, _ = await asked(world, {"name": "a"}, {"name": "b", "required": False})
    assert result.standing is Standing.YES
    assert [one.check.name for one in result.answers] == ["a", "b"]
    assert list(result.bad) == []


async def test_a_plain_no_says_more_than_a_question_that_could_not_be_asked() -> None:
    world = Asked({"a": [Standing.UNKNOWN], "b": [Standing.NO]})
    result, _ = await asked(world, {"name": "a"}, {"name": "b"})
    assert result.standing is Standing.NO
    assert [one.check.name for one in result.bad] == ["a", "b"]
    only, _ = await asked(Asked({"a": [Standing.UNKNOWN]}), {"name": "a"})
    assert only.standing is Standing.UNKNOWN


async def test_a_check_is_asked_again_until_it_says_yes_or_its_time_is_up() -> None:
    retries = {"every": "10s", "for": "25s"}
    world = Asked({"a": [Standing.NO, Standing.UNKNOWN, Standing.YES], "b": [Standing.NO]})
    result, _ = await asked(world, {"name": "a", "retries": retries})
    assert (result.standing, result.answers[0].seconds, world.order) == (Standing.YES, 20.0, ["a"] * 3)
    result, clock = await asked(world, {"name": "b", "retries": retries})
    assert (result.standing, clock.passed, world.order.count("b")) == (Standing.NO, 20.0, 3)


async def test_a_few_are_asked_at_a_time() -> None:
    world = Asked()
    await asked(world, *({"name": f"c{number}"} for number in range(20)))
    assert world.most == MOST_AT_ONCE


async def test_a_person_is_asked_last_and_where_nobody_is_there_it_is_unknown() -> None:
    manual = {"name": "look", "manual": "Do the dashboards look well?", "by": ["on-call"]}
    world = Asked()

    def person(check: Check) -> CheckAnswer:
        assert world.order == ["a"]
        return CheckAnswer(Standing.YES, f"{check.name}: yes")

    result, _ = await asked(world, manual, {"name": "a"}, person=person)
    assert [(one.check.name, one.standing) for one in result.answers] == [("look", Standing.YES), ("a", Standing.YES)]
    alone, _ = await asked(world, manual)
    assert alone.standing is Standing.UNKNOWN
    assert alone.answers[0].detail == "a person (on-call) is to say: Do the dashboards look well?"
