"""A rehearsal finds what does not hold: worlds and plans that break a promise, each told in a sentence."""

from random import Random
from typing import Any, get_args

import pytest

from orchestrator.core.effect import Effect, Outcome
from orchestrator.journal.memory import MemoryStore
from orchestrator.ports import Scene
from orchestrator.rehearse import walk
from orchestrator.rehearse.targets import Targets
from orchestrator.rehearse.world import TAKES_SECONDS, RehearsedWorld, _Others
from stages.effects import AnyObservation, AnyOperation
from tests.rehearse.plans import SMALL, read, rehearsed, rows

STEPS = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: steps}
spec:
  database: "sqlite:///app.db"
  notify: {channels: {team: {webhook: {url: "https://chat.example/team"}}}}
  stages:
    - name: schema
      kind: migration
      on_rollback: down
      allow_data_loss: true
      migrations: [{up: up.sql, down: down.sql}]
    - {name: once, kind: steps, steps: [{command: [./once.sh], undo: [./unonce.sh]}, {wait: 1m}]}
"""


def test_both_ways_of_a_migration_and_a_command_are_walked() -> None:
    result = rehearsed(read(STEPS))
    assert result.is_fine
    assert [row.stays for row in rows(result, "back")][-1] == ()


def test_what_did_not_come_back_without_a_word_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Targets.change

    def forgetful(targets: Targets, effect: Effect) -> Any:
        return targets.values[targets.place_of(effect.target)] if effect.node is not None else honest(targets, effect)

    monkeypatch.setattr(Targets, "change", forgetful)
    result = rehearsed(read(STEPS), ["back"])
    problems = {problem for row in result.rows for problem in row.problems}
    assert any("did not come back, and nothing says so" in problem for problem in problems)


def test_what_is_done_twice_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    looking = _Others.perform

    async def blind(others: _Others, effect: Effect, scene: Scene, resumed: bool) -> Outcome:
        return await looking(others, effect, scene, False)

    monkeypatch.setattr(_Others, "perform", blind)
    result = rehearsed(read(STEPS), ["kill-after"])
    assert {problem for row in result.rows for problem in row.problems} == {"run ./once.sh was done 2 times"}


def test_a_command_that_nothing_can_tell_of_waits_for_a_person_who_is_told() -> None:
    result = rehearsed(read(STEPS), ["kill-after"])
    (row,) = rows(result, "kill-after", lambda one: "once.sh" in one.at)
    assert row.end == "waits for a person"
    assert [(need.hold, need.told) for need in row.needs] == [("unknown_outcome", ("team",))]


def test_every_operation_and_observation_has_its_part_in_the_world() -> None:
    """A later kind of action is rehearsed by itself, once the world knows what its operation leaves behind."""
    world = RehearsedWorld(read(STEPS).to_program(), Random(1)).open(MemoryStore())
    operations = {one.model_fields["op"].default for one in get_args(AnyOperation)}
    assert operations == TAKES_SECONDS.keys() == world.performers.keys()
    assert {one.model_fields["op"].default for one in get_args(AnyObservation)} == world.observers.keys()


def test_what_never_ends_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "MOST_STEPS", 60)
    result = rehearsed(read(SMALL), ["back"])
    assert result.forward.end == "never ends"
    assert result.forward.problems[-1].startswith("not over after 60 steps")
