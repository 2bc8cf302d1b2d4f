"""A controller that shares its store and is frozen in the middle of a command, which does not outlive its lease."""

import os
import signal
from pathlib import Path

import pytest

from tests.faults.changes import Change, Parts
from tests.faults.world import Drive, world_in
from tests.support.process import wait_until
from tests.support.stores import PostgresSchema

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_command_of_a_frozen_controller_is_ended_while_it_is_frozen(
    postgres_schema: PostgresSchema, tmp_path: Path
) -> None:
    place = tmp_path / "plan"
    place.mkdir()
    change = Change("slow", place, Parts(goes_back=False, asks=False, sqlite=False, flag_file=False, takes_long=True))
    with world_in(tmp_path / "world", store=postgres_schema.url) as world:
        drive = Drive(world, change)
        (life,) = world.lives
        drive.begin()
        drive.poll(lambda: bool(change.begun), "the command to begin")
        life.send(signal.SIGSTOP)
        wait_until(lambda: all(is_gone(pid) for pid in change.begun), what="the command to be ended")
        assert life.is_stopped
