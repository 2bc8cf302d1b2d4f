"""Commands whose runner takes up what an earlier try began, as Jobs are: what each end of one means for the effect."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from orchestrator.adapters.command import CommandPerformer
from orchestrator.adapters.process import CommandLost, CommandResult
from orchestrator.core.effect import Effect, EffectState
from orchestrator.errors import Temporary
from orchestrator.ports import Scene
from stages.effects import RunCommand, TargetKind
from stages.values import TextOrSecret

SCENE = Scene("r1", "production")
PROBE = ("./is-deployed.sh",)
GOOD, BAD = CommandResult(0, "", "", 1.0, timed_out=False), CommandResult(3, "no", "", 1.0, timed_out=False)
LATE = CommandResult(-9, "", "half of it", 5.0, timed_out=True)


@dataclass
class Jobs:
    """*once*: what becomes of the effect's command; *probe*: what the probe says."""

    once: CommandResult | Exception
    probe: CommandResult = GOOD
    calls: list[str] = field(default_factory=list)

    def takes_up(self, scene: Scene) -> bool:
        return True

    async def run_once(self, operation: RunCommand, scene: Scene) -> CommandResult:
        self.calls.append(f"once {scene.effect_id}")
        if isinstance(self.once, Exception):
            raise self.once
        return self.once

    async def run(
        self,
        argv: Sequence[str],
        scene: Scene,
        dir: str | None,  # noqa: A002
        vars: Mapping[str, TextOrSecret],  # noqa: A002
        timeout_seconds: float,
        script: str | None = None,
    ) -> CommandResult:
        self.calls.append(argv[0])
        return self.probe

    async def end_earlier(self, scene: Scene) -> bool:
        self.calls.append(f"end {scene.effect_id}")
        return True


def effect(**operation: object) -> Effect:
    return Effect(
        id="e1",
        target="command:production/backend",
        target_kind=TargetKind.COMMAND,
        label="deploy",
        operation=RunCommand.model_validate({"argv": ("./deploy.sh",), **operation}),
        environment="production",
    )


async def test_after_a_crash_it_is_simply_asked_for_again_and_no_probe_is_needed() -> None:
    jobs = Jobs(GOOD)
    outcome = await CommandPerformer(jobs).perform(effect(probe=PROBE), SCENE, resumed=True)
    assert (outcome.state, outcome.observed) == (EffectState.DONE, {"ran": "e1"})
    assert jobs.calls == ["once e1"]


@pytest.mark.parametrize(
    ("probe", "said", "state"),
    (
        (None, GOOD, EffectState.REFUSED),
        (PROBE, BAD, EffectState.REFUSED),
        (PROBE, GOOD, EffectState.DONE),
        (PROBE, LATE, EffectState.UNKNOWN),
    ),
)
async def test_one_that_ran_out_of_time_is_refused_unless_its_probe_says_that_it_was_done(
    probe: tuple[str, ...] | None, said: CommandResult, state: EffectState
) -> None:
    outcome = await CommandPerformer(Jobs(LATE, said)).perform(effect(probe=probe), SCENE, resumed=False)
    assert outcome.state is state
    if state is EffectState.REFUSED:
        assert outcome.detail == "./deploy.sh was ended after 5 s, its time limit: half of it"


async def test_one_that_was_lost_with_its_pod_is_for_a_person_where_nothing_can_tell() -> None:
    jobs = Jobs(CommandLost("its pod was lost"))
    outcome = await CommandPerformer(jobs).perform(effect(), SCENE, resumed=True)
    assert (outcome.state, outcome.detail) == (EffectState.UNKNOWN, "its pod was lost")
    assert jobs.calls == ["once e1"]


@pytest.mark.parametrize("operation", ({"probe": PROBE}, {"repeatable": True}))
async def test_one_that_was_lost_and_not_done_or_may_be_repeated_is_taken_away_and_tried_again(
    operation: dict[str, object],
) -> None:
    jobs = Jobs(CommandLost("its pod was lost"), BAD)
    outcome = await CommandPerformer(jobs).perform(effect(**operation), SCENE, resumed=False)
    assert (outcome.state, outcome.detail) == (EffectState.TEMPORARY, "its pod was lost")
    assert jobs.calls[-1] == "end e1"


async def test_one_that_was_lost_and_done_is_done() -> None:
    jobs = Jobs(CommandLost("its pod was lost"), GOOD)
    outcome = await CommandPerformer(jobs).perform(effect(probe=PROBE), SCENE, resumed=False)
    assert outcome.state is EffectState.DONE
    assert "end e1" not in jobs.calls


async def test_what_cannot_run_yet_is_waited_for() -> None:
    jobs = Jobs(Temporary("no node has room", retry_after_seconds=5.0))
    outcome = await CommandPerformer(jobs).perform(effect(), SCENE, resumed=False)
    assert (outcome.state, outcome.retry_after_seconds) == (EffectState.TEMPORARY, 5.0)


async def test_one_that_nobody_wants_any_more_is_ended_by_its_own_name() -> None:
    jobs = Jobs(GOOD)
    await CommandPerformer(jobs).end(effect(), SCENE)
    assert jobs.calls == ["end e1"]
