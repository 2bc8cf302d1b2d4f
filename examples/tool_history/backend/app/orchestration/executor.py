"""Runs a tool."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

log = logging.getLogger("tool_history")


def run_tool(work: Callable[[], bool]) -> tuple[bool, float]:
    """Whether it went well, and how many milliseconds it took."""
    began = time.monotonic()
    success = work()
    return success, (time.monotonic() - began) * 1000


# --- with the tool history ---


class Recorder:
    """Writes executions down behind the back of whoever waits for an answer.

    *write* writes one; *told* hears of each whether it was written. What comes faster than it can be written is left
    out at last: an answer never waits for the history.
    """

    def __init__(self, write: Callable[[Any], None], told: Callable[[bool], None], room: int = 1000) -> None:
        self._write, self._told = write, told
        self._waiting: queue.Queue[Any] = queue.Queue(room)
        threading.Thread(target=self._run, daemon=True).start()

    def record(self, execution: Any) -> None:
        try:
            self._waiting.put_nowait(execution)
        except queue.Full:
            log.error("tool_history: there is no room for more executions")  # noqa: TRY400
            self._told(False)

    def _run(self) -> None:
        while True:
            execution = self._waiting.get()
            try:
                self._write(execution)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next one may be written
                log.error("tool_history: not written: %s", str(error).splitlines()[0])  # noqa: TRY400 - a line is enough
                self._told(False)
            else:
                log.info("tool_history: %s for user %s", execution.tool_name, execution.user_id)
                self._told(True)
