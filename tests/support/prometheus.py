"""A real Prometheus for tests.

    with Prometheus(prometheus_binary, tmp_path, [app.address], scrape_interval_ms=200) as prometheus:
        prometheus.wait_for("up == 1")
        ... prometheus.url ...

It keeps its port and its data over `stop`, `kill` and `start`.
"""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.support.ports import free_port
from tests.support.process import DEADLINE_SECONDS, Child, wait_until


class Prometheus:
    """Scrapes `targets` (`host:port`) as job `app`. Rules, if given, are one rule file's text."""

    def __init__(
        self,
        binary: Path,
        folder: Path,
        targets: Sequence[str],
        *,
        scrape_interval_ms: int = 200,
        rules: str | None = None,
        port: int | None = None,
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder / f"prometheus-{self.port}"
        self._folder.mkdir(parents=True)
        self._configuration = self._folder / "prometheus.yml"
        self._write_configuration(targets, scrape_interval_ms, rules)
        self._child = Child(self._command(binary), self._folder)
        self._http = httpx.Client(base_url=self.url, timeout=DEADLINE_SECONDS, trust_env=False)

    def start(self) -> Self:
        """Starts it and waits until it answers queries."""
        self._child.start()
        wait_until(self._ready, what=f"Prometheus to be ready; it says:\n{self._child.errors}")
        return self

    def stop(self) -> None:
        """Ends it cleanly; its data stay."""
        self._child.stop()

    def kill(self) -> None:
        self._child.kill()

    def freeze(self) -> None:
        """It hangs: takes connections and never answers."""
        self._child.freeze()

    def thaw(self) -> None:
        self._child.thaw()

    @property
    def running(self) -> bool:
        return self._child.running

    @property
    def log(self) -> str:
        return self._child.errors

    def query(self, query: str) -> Any:
        """`data.result` of an instant query now; httpx.HTTPStatusError if Prometheus refuses it."""
        answer = self._http.get("/api/v1/query", params={"query": query})
        answer.raise_for_status()
        return answer.json()["data"]["result"]

    def wait_for(self, query: str, deadline_seconds: float = DEADLINE_SECONDS) -> Any:
        """The result of an instant query as soon as it is not empty."""
        return wait_until(lambda: self.query(query), what=f"a result of {query!r}", deadline_seconds=deadline_seconds)

    def __enter__(self) -> Self:
        return self if self._child.running else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()
        self._child.kill()

    def _ready(self) -> bool:
        assert self._child.running, f"Prometheus ended with code {self._child.exit_code}:\n{self._child.errors}"
        with contextlib.suppress(httpx.TransportError):
            return self._http.get("/-/ready").is_success
        return False

    def _write_configuration(self, targets: Sequence[str], scrape_interval_ms: int, rules: str | None) -> None:
        interval = f"{scrape_interval_ms}ms"
        configuration: dict[str, Any] = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "scrape_configs": [{"job_name": "app", "static_configs": [{"targets": list(targets)}]}],
        }
        if rules is not None:
            (self._folder / "rules.yml").write_text(rules)
            configuration["rule_files"] = ["rules.yml"]
        self._configuration.write_text(json.dumps(configuration, indent=2))  # JSON is YAML

    def _command(self, binary: Path) -> list[str | Path]:
        return [
            binary,
            f"--config.file={self._configuration}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--web.enable-lifecycle",
            "--log.level=warn",
        ]
