"""Processes that end with who started them, also where that one was killed."""

import os
import threading
import time

LOOK_SECONDS = 0.5


def end_with_parent() -> None:
    parent = os.getppid()

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
        os._exit(0)

    threading.Thread(target=look, daemon=True).start()
