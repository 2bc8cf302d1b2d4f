"""Which pods of the namespace are ready, as the API server has it."""

import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

APP, WORKER = "paperless-maverick", "embedding-queue-worker"


@dataclass(frozen=True, slots=True)
class Pods:
    """*versions* of the application that serve, and the names of the *workers*."""

    versions: tuple[str, ...] = ()
    workers: tuple[str, ...] = ()


class Namespace:
    def __init__(self, kubeconfig: Path, name: str) -> None:
        found = json.loads(kubeconfig.read_text())
        cluster, user = found["clusters"][0]["cluster"], found["users"][0]["user"]
        self._http = httpx.Client(
            base_url=f"{cluster['server']}/api/v1/namespaces/{name}",
            headers={"Authorization": f"Bearer {user['token']}"},
            verify=ssl.create_default_context(cafile=cluster["certificate-authority"]),
            trust_env=False,
            timeout=5.0,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def look(self) -> Pods:
        """httpx.HTTPError if nobody can tell."""
        answer = self._http.get("/pods")
        answer.raise_for_status()
        ready = [one for one in answer.json()["items"] if _is_ready(one)]
        images = (one["spec"]["containers"][0]["image"] for one in ready if _app(one) == APP)
        return Pods(
            tuple(sorted({image.rpartition(":")[2] for image in images})),
            tuple(sorted(one["metadata"]["name"] for one in ready if _app(one) == WORKER)),
        )


def _app(pod: Any) -> str:
    return str(pod["metadata"].get("labels", {}).get("app", ""))


def _is_ready(pod: Any) -> bool:
    if "deletionTimestamp" in pod["metadata"]:
        return False
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
