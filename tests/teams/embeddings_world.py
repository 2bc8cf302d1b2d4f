"""The world of the embeddings: the service and its database, a namespace of Kubernetes, a Prometheus."""

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.acceptance.worlds.counting import CountingServer
from tests.support.cluster import Cluster
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.process import ROOT, Child, isolated_environment, wait_until
from tests.support.prometheus import Prometheus
from tests.teams.team import Json, Tools

DATABASE, APP, WORKERS = "embeddings", "paperless-maverick", "embedding-queue-workers"
BEFORE = f"{APP}:previous-stable"
CHANNELS = ("slack", "email", "pagerduty", "dev-team", "ops-team", "management")
RANGE = "4s"
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
USUAL = {"retry_attempts": 3, "non_critical": "running"}
NORMAL = (
    f"max_over_time(embedding_success_rate[{RANGE}]) < 0.96"
    f" and min_over_time(embedding_processing_seconds_mean[{RANGE}]) > 3.9"
    f" and max_over_time(embedding_queue_depth[{RANGE}]) == 0 and max_over_time(api_quota_usage[{RANGE}]) < 0.8"
    f" and min_over_time(system_error_rate[{RANGE}]) > 0.03 and max_over_time(system_error_rate[{RANGE}]) < 0.05"
)
"""As it is before the new image, which tries again what failed."""


@dataclass
class Embeddings:
    cluster: Cluster
    namespace: str
    postgres: PostgresServer
    prometheus: Prometheus
    service: Child
    http: httpx.Client
    environment: Mapping[str, str]
    switch: str

    def ask(self, path: str) -> Any:
        return self.http.get(path).raise_for_status().json()

    def turns(self, **knobs: float) -> None:
        """What goes wrong from now on; nothing, if nothing is named."""
        self.http.put("/knobs", json=knobs).raise_for_status()

    def switches_off(self) -> None:
        """Every flag, without any plan."""
        self._switch("POST", {"environment": "production", "reason": "an example of an emergency"})

    def lifts(self) -> None:
        self._switch("DELETE", {"environment": "production", "reason": "it is over", "confirm": True})

    def _switch(self, method: str, body: Json) -> None:
        token = {"Authorization": "Bearer known-to-sam-alone"}
        self.http.request(method, self.switch, json=body, headers=token).raise_for_status()

    def is_well(self) -> bool:
        try:
            health = self.http.get("/health/embedding-system")
        except httpx.TransportError:
            assert self.service.running, self.service.errors
            return False
        told = health.json()
        return health.is_success and told["versions"] == ["previous-stable"] and told["workers"] == []

    def deployments(self) -> Json:
        found = self.cluster.get("deployments", "--namespace", self.namespace)["items"]
        return {
            one["metadata"]["name"]: (
                one["spec"]["replicas"],
                one["spec"]["template"]["spec"]["containers"][0]["image"],
            )
            for one in found
        }

    def standing(self) -> Json:
        tables = self.postgres.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1", DATABASE
        )
        return {
            "tables": [name for (name,) in tables if not name.startswith("rollout")],
            "deployments": self.deployments(),
            "settings": self.ask("/settings"),
            "mode": self.ask("/mode"),
        }

    def renew(self) -> None:
        """What went wrong is forgotten."""
        self.turns()
        self.http.put("/settings", json=USUAL).raise_for_status()
        wait_until(self.is_well, what="the service as it was")
        self.prometheus.wait_for(NORMAL)


def application() -> Json:
    labels = {"app": APP}
    containers = [{"name": "app", "image": BEFORE}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": APP},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        },
    }


def variables(made: Json, notices: str) -> dict[str, str]:
    """What the plan asks of its environment, with short times."""
    short = {"OFTEN": "500ms", "SELDOM": "500ms", "WORKERS": "500ms", "GATE_EVERY": "500ms", "SCRAPE_INTERVAL": "200ms"}
    channels = {f"{name.replace('-', '_').upper()}_URL": f"{notices}/{name}" for name in CHANNELS}
    return {**made, **short, **channels, "RANGE": RANGE, "WEEK": RANGE, "DAY": RANGE, "JOB": "app"}


@contextmanager
def world(folder: Path, tools: Tools) -> Iterator[Embeddings]:
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        cluster, server = tools.cluster(), tools.postgres
        namespace = stack.enter_context(cluster.namespace())
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        cluster.request("POST", path, application())
        server.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        server.execute(f"CREATE DATABASE {DATABASE}")
        stack.callback(server.execute, f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        own = {
            **isolated_environment(folder / "home"),
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": server.dsn(DATABASE),
            "FLAGS_URL": tools.controller,
            "FLAGS_TOKEN": "known-to-app-alone",
        }
        words = ["--port", str(port), "--kubeconfig", str(cluster.kubeconfig), "--namespace", namespace]
        service = Child([sys.executable, "-m", "examples.embeddings.service", *words], folder, environment=own)
        stack.callback(ended, service)
        service.start()
        prometheus = stack.enter_context(Prometheus(tools.prometheus, folder, [f"127.0.0.1:{port}"]))
        made = {
            "PROMETHEUS_URL": prometheus.url,
            "DATABASE_URL": server.dsn(DATABASE),
            "KUBECONFIG": str(cluster.kubeconfig),
            "KUBE_CONTEXT": "test",
            "NAMESPACE": namespace,
            "SERVICE": url,
        }
        http = stack.enter_context(httpx.Client(base_url=url, trust_env=False, timeout=10.0))
        environment = variables(made, stack.enter_context(CountingServer()).url)
        switch = f"{tools.controller}/feature-flags/disable-all"
        found = Embeddings(cluster, namespace, server, prometheus, service, http, environment, switch)
        wait_until(found.is_well, what="the service")
        # success is judged by what was before the first change
        prometheus.wait_for(f"{NORMAL} and embedding_success_rate offset {RANGE}")
        yield found


def ended(service: Child) -> None:
    service.send(signal.SIGTERM)
    service.wait()
