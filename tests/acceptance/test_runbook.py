"""The day when the controller is gone: what `rollout runbook` writes, run by a shell, brings the world back."""

import signal
import subprocess

import pytest

from tests.acceptance.worlds.host import Host

pytestmark = pytest.mark.acceptance

PLAN = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: gone}
spec:
  stages:
    - name: change
      kind: steps
      steps:
        - {name: one, command: [./set.sh, one, "new state"], observe: [cat, one], undo: [./set.sh, one, "{before}"]}
        - {name: two, command: [./set.sh, two, new], observe: [cat, two], undo: [./set.sh, two, "{before}"]}
    - {name: look, kind: steps, steps: [{manual: Look whether it is fine}]}
"""


def test_after_the_controller_was_killed_a_shell_takes_everything_back(host: Host) -> None:
    host.write("set.sh", '#!/bin/sh\nprintf %s "$2" > "$1"\n', executable=True)
    names = ("one", "two")
    for name in names:
        host.write(name, f"old {name}")
    child, run = host.started(host.write("plan.yaml", PLAN))
    host.wait_for(run, hold="manual")
    assert [(host.folder / name).read_text() for name in names] == ["new state", "new"]
    child.stop(signal.SIGKILL)

    journal = host.write("journal.jsonl", host.ok("export", run).output)
    script = host.ok("runbook", run, "--format", "sh").output
    assert host.ok("runbook", journal, "--format", "sh").output == script
    said = host.ok("runbook", run).output
    assert said.index("./set.sh two 'old two'") < said.index("./set.sh one 'old one'")

    subprocess.run(["sh", "-c", script], check=True, cwd="/", capture_output=True, timeout=60)
    assert [(host.folder / name).read_text() for name in names] == ["old one", "old two"]


def test_what_is_no_journal_is_told(host: Host) -> None:
    assert "There is no store" in host.refused("runbook", "nothing", code=1)
    cut = host.write("cut.jsonl", "{}\n")
    assert "line 1 is no entry of a journal" in host.refused("runbook", cut, code=1)
