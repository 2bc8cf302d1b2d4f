"""What forked controllers have behind them before they begin; imported by the process that they are forked off alone.

All is imported, and a small rollout has been carried out, so that what is made at its first use is there. No thread of
that is left: one would not live on in a fork, and what it held would be held for ever.
"""

import contextlib
import json
import os
import tempfile
import threading
from pathlib import Path

import uvicorn  # noqa: F401

import orchestrator.adapters.alembic
import orchestrator.adapters.check
import orchestrator.adapters.clock
import orchestrator.adapters.command
import orchestrator.adapters.flag_systems.performer
import orchestrator.adapters.flag_systems.systems
import orchestrator.adapters.http
import orchestrator.adapters.kubernetes.command_runner
import orchestrator.adapters.kubernetes.performer
import orchestrator.adapters.kubernetes.review
import orchestrator.adapters.kubernetes.secrets
import orchestrator.adapters.measure
import orchestrator.adapters.notify
import orchestrator.adapters.sql.backfill
import orchestrator.adapters.sql.postgres
import orchestrator.adapters.sql.sqlite
import orchestrator.api.app
import orchestrator.api.server
import orchestrator.app
import orchestrator.cli.hosting
import orchestrator.cli.serve
import orchestrator.journal.postgresql
import orchestrator.journal.sqlite  # noqa: F401
from orchestrator.cli import main

_SMALL = {
    "apiVersion": "stagedrollout.io/v1alpha1",
    "kind": "StagedRollout",
    "metadata": {"name": "warm"},
    "spec": {
        "flags": {"warm": {}},
        "stages": [
            {"name": "open", "kind": "batch", "flag": "warm", "percentages": [50], "bake": "0s", "settle": "0s"},
            {"name": "run", "kind": "steps", "steps": [{"command": ["/bin/true"], "undo": "none"}]},
        ],
        "watch": "0s",
    },
}


def _warm_up() -> None:
    kept = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="warm-") as folder, Path(os.devnull).open("w") as nothing:
        os.environ["ROLLOUT_STATE_DIR"] = folder
        plan = Path(folder, "plan.yaml")
        plan.write_text(json.dumps(_SMALL))
        with contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(nothing):
            code = main(["start", str(plan)])
    os.environ.clear()
    os.environ.update(kept)
    assert code == 0, f"the first rollout ended with {code}"
    assert threading.active_count() == 1, f"{threading.enumerate()} would not live on in a fork"


_warm_up()
