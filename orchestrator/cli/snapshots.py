"""The last status of each run, kept beside the store, so that `rollout status` is quick also while no controller runs.

Theory of operation. Working out a status needs the whole plan language and every event of the run, most of a second.
So a controller behind the command line leaves the statuses of its newest runs in the state directory, whenever one has
changed. A snapshot is shown only if the store's row of that run has exactly the number of events that the snapshot
speaks of, and the same plan: then nothing has happened since, and it says what folding the events would say, but for
the gate and the progress, which are as they were last seen. Anything else (none, older, damaged) is no error: the
events are read. Snapshots may be lost at no risk and are not synced.
"""

import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli.settings import state_dir, store_url
from orchestrator.errors import NotFound, RolloutError

if TYPE_CHECKING:
    from orchestrator.service import Service

Json = dict[str, Any]
NO_CONTROLLER = "no_controller"
EVERY_SECONDS = 0.5
MOST_AT_ONCE = 20
MOST_KEPT = 200
AGAIN_SECONDS = 15.0  # gate and progress move without an event


def folder() -> Path:
    return state_dir() / "status"


# --- written by a controller ------------------------------------------------------------------------------------------


class Keeper:
    """Writes the snapshots of one controller's runs."""

    def __init__(self, service: "Service") -> None:
        self._service = service
        self._written: dict[str, tuple[int, float]] = {}
        self._active: set[str] = set()

    @contextlib.asynccontextmanager
    async def keeping(self) -> AsyncIterator[None]:
        """Keeps them up to date while the body runs."""
        import asyncio

        _make_folder()
        work = asyncio.create_task(self._keep(), name="status snapshots")
        try:
            yield
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)  # whatever became of it, the controller ends in peace

    async def _keep(self) -> None:
        import asyncio

        while True:
            await self.look()
            await asyncio.sleep(EVERY_SECONDS)

    async def look(self) -> None:
        """A run that has just ended is written once more."""
        with contextlib.suppress(RolloutError, OSError):
            listed = await self._service.list(active=True, limit=MOST_AT_ONCE)
            active = {str(one["run"]): int(one["seq"]) for one in listed}
            for run in active.keys() | self._active:
                if not self._is_written(run, active.get(run)):
                    self._write(await self._service.status(run))
            self._active = set(active)
            self._written = {run: written for run, written in self._written.items() if run in active}

    def _is_written(self, run: str, seq: int | None) -> bool:
        """*seq*: its newest event; None if it has ended."""
        written, at = self._written.get(run, (None, 0.0))
        return written is not None and written == seq and time.monotonic() - at < AGAIN_SECONDS

    def _write(self, status: Json) -> None:
        run = str(status["run"])
        holds = [hold for hold in status["holds"] if hold["reason"] != NO_CONTROLLER]
        path = folder() / f"{run}.json"
        made = path.with_suffix(f".{os.getpid()}")
        made.write_text(json.dumps({**status, "holds": holds}, ensure_ascii=False), encoding="utf-8")
        made.replace(path)
        self._written[run] = (int(status["seq"]), time.monotonic())


def _make_folder() -> None:
    """Only the newest are worth keeping."""
    made = folder()
    with contextlib.suppress(OSError):
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = sorted(made.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in kept[MOST_KEPT:]:
            path.unlink(missing_ok=True)


# --- read while none runs ---------------------------------------------------------------------------------------------


def find(text: str) -> Json | None:
    """The status of the run that *text* means (as ``Reading.resolve_name`` understands it), if a snapshot is true."""
    from orchestrator.journal import glance_at

    try:
        runs = glance_at(store_url())
    except NotFound:
        return None
    meant = [one for one in runs if one.run == text] or [one for one in runs if one.plan == text][:1]
    meant = meant or [one for one in runs if one.run.startswith(text)]
    if len(meant) != 1:
        return None
    status = _read(folder() / f"{meant[0].run}.json") if meant[0].kept is None else None
    if status is None or (status.get("seq"), status.get("digest")) != (meant[0].rev, meant[0].digest):
        return None
    return status if status["phase"] == "ended" else _alone(status)


def _read(path: Path) -> Json | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"run", "phase", "holds"} <= found.keys() else None


def _alone(status: Json) -> Json:
    """What is true of an unfinished run that nobody goes on with."""
    detail = "no controller runs; rollout start PLAN, or rollout serve, goes on with this run"
    since = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    hold = {"reason": NO_CONTROLLER, "item": "run", "since": since, "by": "reader", "detail": detail}
    coming = {**(status.get("next") or {}), "at": None}
    return {**status, "holds": [*status["holds"], hold], "next": coming}
