"""Steady traffic: 80 users, each of whom sends the service a document every three seconds.

    python -m examples.demo.traffic --port 8000

Bounded by itself: ten connections, and whoever waits for an answer sends nothing. Ends on SIGTERM and SIGINT.
"""

import argparse
import http.client
import json
import random
import signal
import time
from threading import Event, Thread

CLIENTS = 10
USERS = [f"user-{number}" for number in range(1, 81)]
EVERY_SECONDS = 3.0
TEXTS = [
    f"{size} {colour} {thing}" for size in ("small", "large") for colour in ("red", "blue") for thing in ("cup", "hat")
]


def client(port: int, users: list[str], ended: Event) -> None:
    """One connection that serves some of the users, in an order of its own each time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    pause_seconds = EVERY_SECONDS / len(users)
    next_at = time.monotonic() + random.uniform(0, pause_seconds)
    while True:
        for user in random.sample(users, len(users)):
            if ended.wait(max(0.0, next_at - time.monotonic())):
                connection.close()
                return
            send(connection, user)
            next_at = max(next_at + pause_seconds, time.monotonic())  # what was late is not made up for in a burst


def send(connection: http.client.HTTPConnection, user: str) -> None:
    body = json.dumps({"owner": user, "text": random.choice(TEXTS)})
    try:
        connection.request("POST", "/documents", body, {"Content-Type": "application/json"})
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        connection.close()  # the next request opens it again


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.demo.traffic", description="Sends documents, steadily.")
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    ended = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    threads = [Thread(target=client, args=(port, USERS[place::CLIENTS], ended)) for place in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
