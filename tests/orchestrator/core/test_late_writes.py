"""What was sent to a cluster and cut short may arrive late: the way back does not trust that all looks as it was."""

from dataclasses import replace

from orchestrator.core.effect import EffectState, Outcome
from orchestrator.core.events import EffectFinished
from orchestrator.core.outcomes import outcome_events
from orchestrator.core.state import Outstanding
from tests.orchestrator.core.test_workloads import WORKERS, queue, started, workers

AWAY = Outcome(state=EffectState.TEMPORARY, detail="the API server is away")


def test_an_effect_that_was_cut_short_is_undone_even_if_all_looks_as_it_was() -> None:
    drive = started(queue(drain=None))
    drive.outcomes[WORKERS] = [AWAY] * 3
    drive.run_until(lambda: "effect_failing" in drive.holds())
    drive.command("rollback", reason="enough")
    drive.run_until(lambda: drive.state.ended)

    assert drive.performed[-1].target == WORKERS
    assert drive.performed[-1].node is not None
    assert (workers(drive), drive.state.outcome) == (1, "rolled_back")


def test_a_refusal_that_a_later_life_hears_of_says_nothing_of_what_an_earlier_one_sent() -> None:
    drive = started(queue(drain=None))
    drive.outcomes[WORKERS] = [AWAY] * 3
    drive.run_until(lambda: WORKERS in drive.state.outstanding)
    entry, refused = drive.state.outstanding[WORKERS], Outcome(state=EffectState.REFUSED, detail="it is forbidden")
    first = replace(entry, failing=None, failing_since=None)

    def at_once(tried: Outstanding, *, resumed: bool) -> bool:
        (event,), _ = outcome_events(tried, refused, forward=True, resumed=resumed)
        assert isinstance(event, EffectFinished)
        return event.at_once

    assert at_once(first, resumed=False)
    assert not at_once(first, resumed=True)
    assert not at_once(entry, resumed=False)


def test_what_ended_with_an_answer_is_not_undone_once_more() -> None:
    drive = started(queue(drain=None))
    drive.run_until(lambda: drive.percentage("beta") == 5)
    drive.world[WORKERS] = {"replicas": 1}  # somebody brought it back
    drive.advance(1)
    drive.command("rollback", reason="enough")
    drive.run_until(lambda: drive.state.ended)

    assert not any(effect.target == WORKERS and effect.node is not None for effect in drive.performed)
