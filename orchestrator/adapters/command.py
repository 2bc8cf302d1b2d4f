"""Commands as effects: each at most once per effect id, unless its probe says that it has not been done.

While any process of an effect's command lives, a lock named after the effect is held. A resumed effect first waits for
the earlier try's processes to be gone (and ends them if they stay), then asks the probe; what has no probe is not run
again. Where commands run as Jobs, the effect's own Job tells what became of it, and only one that was lost with its pod
leaves that to the probe.
"""

import signal
from dataclasses import replace

from orchestrator.adapters.process import CommandLost, CommandResult, EffectRunner, StillRunning
from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.errors import RolloutError, Temporary
from orchestrator.ports import Scene, Seen
from stages.effects import AnyObservation, ObserveCommand, ObserveProbe, RunCommand

OBSERVE_SECONDS = 60.0
DETAIL_CHARACTERS = 2000


class CommandPerformer:
    """``run_command``, ``observe_command`` and ``observe_probe``.

    A command's exit code is its word: 0 is done, anything else is a refusal, also if it did something before it failed.
    One that was ended by a signal, ran out of time or was lost is unknown; one that ran out of time in a Job has ended
    for sure, and is refused unless its probe says that it was done.
    """

    def __init__(self, runner: EffectRunner) -> None:
        self._runner = runner

    async def perform(self, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        operation = effect.operation
        assert isinstance(operation, RunCommand), f"{operation.op} is not for the command adapter"
        scene = _scene_of(effect, scene)
        if resumed and not self._runner.takes_up(scene):
            settled = await self._look_first(operation, scene)
            if settled is not None:
                return settled
        try:
            result = await self._runner.run_once(operation, scene)
        except (StillRunning, CommandLost) as problem:
            return await self._lost(operation, scene, str(problem))
        except Temporary as problem:
            return Outcome(
                state=EffectState.TEMPORARY, detail=str(problem), retry_after_seconds=problem.retry_after_seconds
            )
        except RolloutError as problem:
            return Outcome(state=EffectState.REFUSED, detail=str(problem))
        return await self._outcome(operation, scene, result)

    async def end(self, effect: Effect, scene: Scene) -> None:
        await self._runner.end_earlier(_scene_of(effect, scene))

    async def _look_first(self, operation: RunCommand, scene: Scene) -> Outcome | None:
        """None if it has not been done for sure, and may be run."""
        name = operation.argv[0]
        if not await self._runner.end_earlier(scene):
            return Outcome(state=EffectState.UNKNOWN, detail=f"an earlier try of {name} still runs and cannot be ended")
        unsure = f"{name} may have run before the controller was interrupted, and no probe can tell"
        return await self._ask_probe(operation, scene, unsure)

    async def _lost(self, operation: RunCommand, scene: Scene, detail: str) -> Outcome:
        if not self._runner.takes_up(scene):
            return Outcome(state=EffectState.UNKNOWN, detail=detail)
        settled = await self._ask_probe(operation, scene, detail)
        if settled is not None:
            return settled
        await self._runner.end_earlier(
            scene
        )  # it was not done: what is left of it must not tell the next try otherwise
        return Outcome(state=EffectState.TEMPORARY, detail=detail)

    async def _late(self, operation: RunCommand, scene: Scene, detail: str) -> Outcome:
        """It ran out of time, and was ended for sure."""
        settled = await self._ask_probe(operation, scene, "") if operation.probe is not None else None
        return settled or Outcome(state=EffectState.REFUSED, detail=detail)

    async def _ask_probe(self, operation: RunCommand, scene: Scene, unsure: str) -> Outcome | None:
        """None if it has not been done for sure, or may simply be repeated; without a probe that is *unsure*."""
        name = operation.argv[0]
        if operation.probe is None and operation.repeatable:
            return None
        if operation.probe is None:
            return Outcome(state=EffectState.UNKNOWN, detail=unsure)
        try:
            probed = await self._run(operation, scene, operation.probe)
        except RolloutError as problem:
            return Outcome(state=EffectState.UNKNOWN, detail=f"the probe could not be asked: {problem}")
        if probed.timed_out or probed.exit_code < 0:
            return Outcome(state=EffectState.UNKNOWN, detail=f"the probe of {name} {_how(probed)}{excerpt(probed)}")
        if probed.exit_code == 0:
            return await self._done(operation, scene, f"the probe of {name} says that it has been done")
        return None

    async def _outcome(self, operation: RunCommand, scene: Scene, result: CommandResult) -> Outcome:
        name = operation.argv[0]
        detail = f"{name} {_how(result)}{excerpt(result)}"
        if result.timed_out and self._runner.takes_up(scene):
            return await self._late(operation, scene, detail)
        if result.timed_out or result.exit_code < 0:
            return Outcome(state=EffectState.UNKNOWN, detail=detail)
        if result.exit_code != 0:
            return Outcome(state=EffectState.REFUSED, detail=detail)
        return await self._done(operation, scene, detail)

    async def _done(self, operation: RunCommand, scene: Scene, detail: str) -> Outcome:
        if operation.observe is None:
            return Outcome(state=EffectState.DONE, detail=detail, observed={"ran": scene.effect_id})
        try:
            seen = await self._see(operation.observe, operation, scene)
        except RolloutError as problem:
            return Outcome(state=EffectState.DONE, detail=f"{detail} (not read back: {problem})")
        return Outcome(state=EffectState.DONE, detail=detail, observed=seen.value)

    async def observe(self, observation: AnyObservation, scene: Scene) -> Seen:
        if isinstance(observation, ObserveProbe):
            return await self._probed(observation, scene)
        assert isinstance(observation, ObserveCommand), f"{observation.op} is not for the command adapter"
        asked = RunCommand(
            argv=observation.argv,
            dir=observation.dir,
            vars=observation.vars,
            timeout_seconds=observation.timeout_seconds,
        )
        return await self._see(observation.argv, asked, scene)

    async def _probed(self, observation: ObserveProbe, scene: Scene) -> Seen:
        argv, limit = observation.argv, observation.timeout_seconds
        result = await self._runner.run(argv, scene, observation.dir, observation.vars, limit)
        if result.timed_out or result.exit_code < 0:
            raise Temporary(f"{argv[0]}, which says whether it was done before, {_how(result)}{excerpt(result)}")
        return Seen(value={"applied": result.exit_code == 0})

    async def _see(self, argv: tuple[str, ...], operation: RunCommand, scene: Scene) -> Seen:
        result = await self._run(operation, scene, argv)
        if result.timed_out or result.exit_code != 0:
            raise Temporary(f"{argv[0]}, which says what is there, {_how(result)}{excerpt(result)}")
        return Seen(value={"text": result.stdout.strip()})

    async def _run(self, operation: RunCommand, scene: Scene, argv: tuple[str, ...]) -> CommandResult:
        limit = min(operation.timeout_seconds, OBSERVE_SECONDS)
        return await self._runner.run(argv, scene, operation.dir, operation.vars, limit)


def _scene_of(effect: Effect, scene: Scene) -> Scene:
    return replace(scene, environment=effect.environment, stage=effect.stage, effect_id=effect.id)


def _how(result: CommandResult) -> str:
    if result.timed_out:
        return f"was ended after {result.duration_seconds:.0f} s, its time limit"
    if result.exit_code < 0:
        return f"was ended by {signal.Signals(-result.exit_code).name}"
    return f"ended with exit code {result.exit_code}"


def excerpt(result: CommandResult) -> str:
    """What a command said, for a sentence: the end of its standard error, or of its standard output."""
    said = (result.stderr.strip() or result.stdout.strip())[-DETAIL_CHARACTERS:]
    return f": {said}" if said else ", and said nothing"
