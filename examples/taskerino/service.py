"""The app: a window's pages and the functions behind them by HTTP, and a user who enriches sessions all the time.

Started by `examples.taskerino.launcher`, from what `npm run build` made. There are

    GET  /health, /metrics, /sessions, /settings, /caches, /queue, /ui/sessions, /ui/settings
    POST /sessions/NAME/enrich, /queue/shutdown, /queue/resume, /caches/clear
"""

import argparse
import json
import logging
import os
import re
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from examples.answering import Answering
from examples.taskerino.engine import (
    Engine,
    Knobs,
    MemoizationCache,
    Metrics,
    Queue,
    ResultCache,
    Session,
    read_sessions,
)
from flags.client import FlagClient

FLAG = "enrichmentEnabled"
USER_EVERY_SECONDS = 0.05
NUMBERS = (
    "ENRICHMENT_CACHE_MAX_SIZE",
    "ENRICHMENT_CACHE_TTL",
    "MAX_PARALLEL_ENRICHMENTS",
    "MAX_JOBS_PER_MINUTE",
    "MAX_WORKERS",
    "HEALTH_CHECK_INTERVAL",
    "DAILY_COST_LIMIT",
    "MONTHLY_COST_LIMIT",
)
ENRICH = re.compile(r"/sessions/([a-z0-9-]+)/enrich")
log = logging.getLogger("taskerino")
Answer = tuple[int, object]


class App:
    """*home* is the user's folder: data, config.json, caches, logs. *release* is what was built."""

    def __init__(self, home: Path, release: dict[str, Any], flags: FlagClient) -> None:
        self._home, self.release, self._flags = home, release, flags
        self._data = home / "data" / "sessions.db"
        self.settings = {name: int(os.environ[name]) for name in NUMBERS}
        self.config = json.loads((home / "config.json").read_text())
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        (home / "cache").mkdir(exist_ok=True)
        self.results = ResultCache(home / "cache" / "results.db", self.settings["ENRICHMENT_CACHE_MAX_SIZE"])
        self.memo = MemoizationCache(self.settings["ENRICHMENT_CACHE_MAX_SIZE"])
        self.metrics = Metrics(self.registry) if self.is_optimized else Metrics(CollectorRegistry())
        self.engine = Engine(self.results, self.memo, self.metrics, self.knobs)
        self.queue = Queue(self.settings["MAX_PARALLEL_ENRICHMENTS"] if self.is_optimized else 1)
        self.queue.start()
        self._ballast = b""

    @property
    def is_optimized(self) -> bool:
        return bool(self.release["caches"])

    @property
    def is_enabled(self) -> bool:
        """The release asks its flag; what was there before knows none."""
        return not self.is_optimized or self._flags.is_on(FLAG, {"targetingKey": "taskerino"})

    def knobs(self) -> Knobs:
        return Knobs.read(self._home / "knobs.json")

    def serve_user(self, ended: threading.Event) -> None:
        """Looks at sessions again and again, and now and then at one that is new."""
        fresh, failed, revision = 0.0, 0.0, time.time_ns()
        while not ended.wait(USER_EVERY_SECONDS):
            if not self.is_enabled:
                continue
            knobs = self.knobs()
            fresh, failed = fresh + knobs.fresh_share, failed + knobs.fail_share
            if fresh >= 1.0:
                fresh, revision = fresh - 1.0, revision + 1
            fails = failed >= 1.0
            failed -= fails
            session = Session(f"session-{revision}", 15)
            self.queue.add(partial(self._enrich, session, fails))

    def _enrich(self, session: Session, fails: bool = False) -> tuple[str, bool]:
        if not self.is_optimized:
            return self.engine.summary_of(session), False
        summary, cached = self.engine.enrich(session, fails=fails)
        if not cached:
            self._remember(session)
        return summary, cached

    def _remember(self, session: Session) -> None:
        """The table is there once the release's migration has run."""
        with (
            closing(sqlite3.connect(self._data, timeout=10.0, isolation_level=None)) as connection,
            suppress(sqlite3.OperationalError),
        ):
            connection.execute("INSERT INTO enrichment_runs (session, at) VALUES (?, ?)", (session.name, time.time()))

    # --- what is answered ---------------------------------------------------------------------------------------------

    def health(self) -> Answer:
        return 200, {"status": "ready", "release": self.release["version"], "commit": self.release["commit"]}

    def sessions(self) -> Answer:
        return 200, {"sessions": read_sessions(self._data)}

    def all_settings(self) -> Answer:
        return 200, {**self.settings, **self.config, "api_key": bool(os.environ.get("CLAUDE_API_KEY"))}

    def caches(self) -> Answer:
        asked, hits = (_total(one) for one in (self.metrics.asked, self.metrics.hits))
        return 200, {
            "initialized": self.is_optimized,
            "results": len(self.results),
            "memo": len(self.memo),
            "hit_rate": hits / asked if asked else 0.0,
        }

    def clear(self) -> Answer:
        self.results.clear()
        self.memo.clear()
        return self.caches()

    def turn(self, accepting: bool) -> Answer:
        self.queue.accepting = accepting
        until = time.monotonic() + 10.0
        while not accepting and not self.queue.is_idle and time.monotonic() < until:
            time.sleep(0.01)
        return self.queue_status()

    def queue_status(self) -> Answer:
        return 200, {**self.queue.status(), "enabled": self.is_enabled}

    def enrich(self, name: str, screenshots: int) -> Answer:
        """As a user does who waits for it."""
        if not self.is_enabled or not self.queue.accepting:
            return 503, {"error": "Enrichment is switched off at the moment"}
        session, done, began = Session(name, screenshots), threading.Event(), time.monotonic()
        found: list[tuple[str, bool]] = []

        def work() -> None:
            try:
                found.append(self._enrich(session))
            finally:
                done.set()

        self.queue.add(work, "high")
        if not done.wait(10.0) or not found:
            return 502, {"error": "That did not work; it is tried again later"}
        summary, cached = found[0]
        milliseconds = round((time.monotonic() - began) * 1000, 2)
        return 200, {"summary": summary, "cached": cached, "milliseconds": milliseconds}

    def page(self, name: str) -> str:
        if name == "settings":
            return f"<h1>System Health</h1><p>Cache: {self.caches()[1]}</p>"
        rows = "".join(f"<li>{one['name']}</li>" for one in read_sessions(self._data))
        return f"<h1>Sessions</h1><ul>{rows}</ul><p>Enriching {self.queue.status()['waiting']}</p>"

    def measured(self) -> bytes:
        knobs = self.knobs()
        if len(self._ballast) != knobs.ballast_megabytes << 20:
            self._ballast = b"\1" * (knobs.ballast_megabytes << 20)
        if self.is_optimized:
            for limit in ("DAILY", "MONTHLY"):
                self.metrics.spent.labels(limit.lower()).set(knobs.spent_dollars / self.settings[f"{limit}_COST_LIMIT"])
        return generate_latest(self.registry)


def _total(counter: Any) -> float:
    return float(next(iter(counter.collect())).samples[0].value)


class Handler(Answering, BaseHTTPRequestHandler):
    app: App

    def do_GET(self) -> None:
        app, path = self.app, self.path
        known: dict[str, Callable[[], Answer]] = {
            "/health": app.health,
            "/sessions": app.sessions,
            "/settings": app.all_settings,
            "/caches": app.caches,
            "/queue": app.queue_status,
        }
        if path == "/metrics":
            self._send(200, app.measured(), "text/plain; version=0.0.4")
        elif path in {"/ui/sessions", "/ui/settings"}:
            self._send(200, app.page(path.rpartition("/")[2]).encode(), "text/html")
        else:
            self._answer(known.get(path, lambda: (404, {"error": f"there is no {path}"})))

    def do_POST(self) -> None:
        app, path = self.app, self.path
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        known: dict[str, Callable[[], Answer]] = {
            "/queue/shutdown": lambda: app.turn(False),
            "/queue/resume": lambda: app.turn(True),
            "/caches/clear": app.clear,
        }
        if found := ENRICH.fullmatch(path):
            self._answer(lambda: app.enrich(found[1], int(body.get("screenshots", 12))))
        else:
            self._answer(known.get(path, lambda: (404, {"error": f"there is no {path}"})))

    def _answer(self, ask: Callable[[], Answer]) -> None:
        try:
            status, told = ask()
        except Exception as error:
            log.exception("%s %s", self.command, self.path)
            status, told = 500, {"error": str(error)}
        self._send(status, json.dumps(told).encode())


def serve(home: Path, release: dict[str, Any], port: int) -> None:
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    (home / "logs").mkdir(exist_ok=True)
    logging.basicConfig(
        filename=home / "logs" / "app.log", level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    logging.getLogger("flags").setLevel(
        logging.CRITICAL
    )  # the controller may be away: that is none of the app's errors
    logging.getLogger("httpx").setLevel(logging.CRITICAL)
    with (
        FlagClient(os.environ["FLAGS_URL"], token=os.environ["FLAGS_TOKEN"], cache=home / "flags.json") as flags,
        ThreadingHTTPServer(("127.0.0.1", port), Handler) as server,
    ):
        Handler.app = app = App(home, release, flags)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        log.info("started, %s at %s", release["version"], release["commit"])
        threading.Thread(target=app.serve_user, args=(ended,), daemon=True).start()
        draft = home / "running.draft"
        draft.write_text(f"{os.getpid()} {release['commit']}\n")
        draft.replace(home / "running")
        launcher = os.getppid()
        while not ended.wait(0.5) and os.getppid() == launcher:  # without a desktop there is no window
            pass
        server.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.taskerino.service", description="The app.")
    parser.add_argument("--home", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--dist", type=Path, required=True, metavar="FOLDER", help="what npm run build made")
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    serve(given.home, json.loads((given.dist / "release.json").read_text()), given.port)


if __name__ == "__main__":
    main()
