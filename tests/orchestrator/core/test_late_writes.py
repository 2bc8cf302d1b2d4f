"""What was sent to a cluster and cut short may arrive late: the way back does not trust that all looks as it was."""

from orchestrator.core.effect import EffectState, Outcome
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


def test_what_ended_with_an_answer_is_not_undone_once_more() -> None:
    drive = started(queue(drain=None))
    drive.run_until(lambda: drive.percentage("beta") == 5)
    drive.world[WORKERS] = {"replicas": 1}  # somebody brought it back
    drive.advance(1)
    drive.command("rollback", reason="enough")
    drive.run_until(lambda: drive.state.ended)

    assert not any(effect.target == WORKERS and effect.node is not None for effect in drive.performed)
