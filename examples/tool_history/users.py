"""Four users who keep asking for all kinds of things: python -m examples.tool_history.users URL..."""

import itertools
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx

from examples.tool_history.parent import end_with_parent

MESSAGES = (
    "下周期末考试，帮我安排复习",
    "break down my thesis into steps",
    "this equation comes out wrong, find the error",
    "I want to understand integrals in depth",
    "help me practise and get better at essays",
    "quick: remind me of the library's hours",
    "hello",
)
PAUSE_SECONDS = 0.12
WAITING = 12  # answers that are waited for at once, for each URL


def ask(url: str, number: int) -> None:
    body = {"user_id": 1 + number % 4, "text": MESSAGES[number % len(MESSAGES)]}
    with suppress(httpx.HTTPError):
        CLIENT.post(f"{url}/messages", json=body)


CLIENT = httpx.Client(timeout=10.0, trust_env=False)


def main(urls: list[str]) -> None:
    end_with_parent()
    pools = {url: ThreadPoolExecutor(WAITING) for url in urls}
    for number in itertools.count():
        for url, pool in pools.items():
            if pool._work_queue.qsize() < WAITING:  # noqa: SLF001 - no more than can be waited for
                pool.submit(ask, url, number)
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1:])
