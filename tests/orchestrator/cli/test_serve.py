"""What a controller sets of the interpreter while it is there."""

import sys

from orchestrator.cli.serve import SWITCH_SECONDS, prompt_threads


def test_threads_get_their_turn_soon_while_a_controller_is_there() -> None:
    usual = sys.getswitchinterval()
    with prompt_threads():
        assert abs(sys.getswitchinterval() - SWITCH_SECONDS) < SWITCH_SECONDS / 10
    assert sys.getswitchinterval() == usual
