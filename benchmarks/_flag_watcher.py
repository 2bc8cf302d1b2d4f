"""An application of its own with a `FlagClient`, which says when a user's flag came on and when it went off.

    python -m benchmarks._flag_watcher URL

A line for each: `on KEY SECONDS` or `off KEY SECONDS`, by the monotonic clock, which all processes of a machine share.
Of each flag it watches the first of some users who has it. It ends with the process that started it.
"""

import sys
import threading
import time

from flags.client import FlagClient
from flags.evaluate import Context

USERS: tuple[Context, ...] = tuple({"targetingKey": f"user-{number}"} for number in range(100))


class Watcher:
    def __init__(self, flags: FlagClient) -> None:
        self._flags = flags
        self._watched: dict[str, Context] = {}

    def look(self, keys: frozenset[str]) -> None:
        for key in keys:
            user = self._watched.get(key)
            if user is None:
                found = next((one for one in USERS if self._flags.is_on(key, one)), None)
                if found is not None:
                    self._watched[key] = found
                    self._say("on", key)
            elif not self._flags.is_on(key, user):
                moment = time.monotonic()
                del self._watched[key]
                self._say("off", key, moment)

    def _say(self, what: str, key: str, moment: float | None = None) -> None:
        print(f"{what} {key} {time.monotonic() if moment is None else moment:.6f}", flush=True)


def main() -> None:
    with FlagClient(sys.argv[1]) as flags:
        watcher = Watcher(flags)
        flags.on_change(watcher.look)
        threading.Event().wait()


if __name__ == "__main__":
    main()
