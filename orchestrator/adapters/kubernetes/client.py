"""Clusters as callers see them: plain JSON to and from the paths of an API server, errors told apart.

Nothing here tries again: what failed is raised, and whoever knows what was wanted looks before it goes on.
"""

import asyncio
import json
import os
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from orchestrator.adapters.kubernetes.errors import Absent, error_of
from orchestrator.errors import Permanent, Temporary
from stages.cluster import FIELD_MANAGER, Kubernetes

if TYPE_CHECKING:
    from orchestrator.adapters.kubernetes.session import Contexts, Heard, Session

CALL_SECONDS = 10.0
WATCH_IDLE_SECONDS = 20.0
MOST_RUNS_REMEMBERED = 10_000
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as a cluster serves it."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool

    def collection(self, namespace: str) -> str:
        """The path of all objects; *namespace* does not matter for a kind without."""
        root = "/apis/" if "/" in self.api_version else "/api/"
        inside = f"/namespaces/{quote(namespace, safe='')}" if self.namespaced else ""
        return f"{root}{self.api_version}{inside}/{self.plural}"

    def object(self, namespace: str, name: str) -> str:
        return f"{self.collection(namespace)}/{quote(name, safe='')}"


class Cluster:
    """One namespace of one cluster. Every call has a deadline and raises ``Temporary`` or ``Permanent``; which ones,
    ``errors.py`` says. After ``Temporary`` what was sent may have been carried out.
    """

    def __init__(self, session: "Session", namespace: str, resources: dict[tuple[str, str], Resource]) -> None:
        self.namespace = namespace
        self.title = session.title
        """Which cluster, for sentences."""
        self._session = session
        self._resources = resources

    def within(self, namespace: str) -> "Cluster":
        """Another namespace of the same cluster."""
        return self if namespace == self.namespace else Cluster(self._session, namespace, self._resources)

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        return await self._json("GET", path, None, {}, query)

    async def text(self, path: str, **query: str) -> str:
        """What is no JSON, such as a log."""
        return (await self._read("GET", path, None, {}, query)).decode(errors="replace")

    async def send(
        self, method: str, path: str, body: Any, content_type: str = "application/json", **query: str
    ) -> dict[str, Any]:
        """POST, PUT, PATCH or DELETE; what is written is ours by name."""
        named = query if method == "DELETE" else {"fieldManager": FIELD_MANAGER, **query}
        return await self._json(method, path, body, {"Content-Type": content_type}, named)

    async def watch(
        self, path: str, resource_version: str, idle_seconds: float = WATCH_IDLE_SECONDS, **query: str
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The events of a collection after *resource_version*, bookmarks too. Over when none comes for so long, or the
        server ends it: look, and watch again from there. Raises ``Gone`` if the version is too old.
        """
        asked = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": resource_version, **query}
        async with aclosing(self._session.lines(_target(path, asked), idle_seconds)) as lines:
            async for line in lines:
                event = self._parsed(line)
                if event.get("type") == "ERROR":
                    status = event.get("object") or {}
                    raise error_of(int(status.get("code") or 500), status, self.title, None)
                yield event

    async def resource(self, api_version: str, kind: str) -> Resource:
        """Raises ``Permanent`` if the cluster has no such kind."""
        if (api_version, kind) not in self._resources:
            for resource in await self._served(api_version):
                self._resources[api_version, resource.kind] = resource
        try:
            return self._resources[api_version, kind]
        except KeyError:
            raise Permanent(
                f"{self.title} has no kind {kind} of {api_version}; "
                "write a version that it serves, or install what defines the kind"
            ) from None

    async def _served(self, api_version: str) -> list[Resource]:
        root = "/apis/" if "/" in api_version else "/api/"
        try:
            found = await self.get(f"{root}{quote(api_version)}")
        except Absent:
            return []
        return [
            Resource(api_version, str(one["kind"]), str(one["name"]), bool(one.get("namespaced")))
            for one in found.get("resources") or ()
            if "/" not in str(one["name"])  # a subresource
        ]

    async def _json(
        self, method: str, path: str, body: Any, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> dict[str, Any]:
        shown = {"Accept": "application/json", **headers}
        return self._parsed(await self._read(method, path, body, shown, query))

    async def _read(
        self, method: str, path: str, body: Any, headers: Mapping[str, str], query: Mapping[str, str]
    ) -> bytes:
        from orchestrator.adapters.kubernetes.session import Request

        return await self._session.read(Request(method, _target(path, query), body, headers), CALL_SECONDS)

    def _parsed(self, raw: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(raw)
        except ValueError as error:
            raise Temporary(f"{self.title} answered with what is no JSON") from error
        if not isinstance(answer, dict):
            raise Temporary(f"{self.title} answered with JSON that is no object")
        return answer


def _target(path: str, query: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(query)}" if query else path


class Clusters:
    """Opens the clusters that plans name, each once, with the user's own kubeconfig: *kubeconfig*, else ``KUBECONFIG``
    or ``~/.kube/config``, else the service account of the pod that we are in. A kubeconfig that is written anew is read
    anew. *heard* is told of each request: its method, and the HTTP status or why there was none.
    """

    def __init__(self, kubeconfig: str | None = None, heard: "Heard | None" = None) -> None:
        self._kubeconfig = kubeconfig
        self._heard = heard
        self._sessions: dict[str | None, Session] = {}
        self._resources: dict[str | None, dict[tuple[str, str], Resource]] = {}
        self._read: tuple[_Signature, Contexts] | None = None
        self._reading = asyncio.Lock()
        self._current: OrderedDict[str, str] = OrderedDict()
        """By run, which context was the current one when it asked first."""

    async def open(self, place: Kubernetes, run: str = "") -> Cluster:
        """Does not reach out to the cluster yet. What is the current context for a *run* stays so, whatever somebody
        makes the current one meanwhile. Raises ``Permanent`` if it is not known where the cluster is.
        """
        paths = self._paths()
        context, namespace = await self._context(paths, place, run) if paths is not None else _of_pod(place)
        if context not in self._sessions:
            from orchestrator.adapters.kubernetes.session import Session

            title = f"Kubernetes ({context})" if context is not None else "Kubernetes (the controller's own)"
            self._sessions[context] = Session(title, paths, context, self._heard)
        resources = self._resources.setdefault(context, {})
        return Cluster(self._sessions[context], place.namespace or namespace, resources)

    async def close(self) -> None:
        sessions = list(self._sessions.values())
        self._sessions.clear()
        for session in sessions:
            await session.close()

    def _paths(self) -> str | None:
        """Of the kubeconfig, as ``KUBECONFIG`` has them; None: we are in a pod and have none."""
        named = self._kubeconfig or os.environ.get("KUBECONFIG")
        usual = Path("~/.kube/config").expanduser()
        if named or usual.exists() or "KUBERNETES_SERVICE_HOST" not in os.environ:
            return named or str(usual)
        return None

    async def _context(self, paths: str, place: Kubernetes, run: str) -> tuple[str, str]:
        """The context's name, and the namespace that it names."""
        contexts = await self._contexts(paths)
        name = place.context or self._current.get(run) or contexts.current
        there = ", ".join(sorted(contexts.namespaces)) or "none"
        if name is None:
            raise Permanent(f"the kubeconfig {paths} has no current context; name one of its contexts: {there}")
        if name not in contexts.namespaces:
            raise Permanent(f"the kubeconfig {paths} has no context {name}; it has {there}")
        if run and place.context is None:
            self._current[run] = name
            self._current.move_to_end(run)
            if len(self._current) > MOST_RUNS_REMEMBERED:
                self._current.popitem(last=False)
        return name, contexts.namespaces[name]

    async def _contexts(self, paths: str) -> "Contexts":
        signature = _signature(paths)
        if not signature:
            raise Permanent(f"there is no kubeconfig at {paths}; set KUBECONFIG where the controller runs")
        async with self._reading:  # by one: who reads it anew closes what the others have just opened
            if self._read is None or self._read[0] != signature:
                contexts_of = (await asyncio.to_thread(_session_module)).contexts_of
                contexts = await asyncio.to_thread(contexts_of, paths)
                for session in self._sessions.values():
                    await session.close()  # it opens again when it is used, as the files say now
                self._read = (signature, contexts)
            return self._read[1]


_Signature = tuple[tuple[str, int, int], ...]


def _signature(paths: str) -> _Signature:
    """Changes when the files do; empty if there are none."""
    files = [Path(path).expanduser() for path in paths.split(os.pathsep) if path]
    found = [(str(path), path.stat()) for path in files if path.exists()]
    return tuple((path, stat.st_mtime_ns, stat.st_size) for path, stat in found)


def _of_pod(place: Kubernetes) -> tuple[None, str]:
    if place.context is not None:
        raise Permanent(
            f"the controller runs in a pod without a kubeconfig, so it has no context {place.context}; "
            "leave the context out, or give it a kubeconfig"
        )
    try:
        return None, (_ACCOUNT / "namespace").read_text().strip() or "default"
    except OSError:
        return None, "default"


def _session_module() -> Any:
    """Imported in a thread: it takes most of a second."""
    from orchestrator.adapters.kubernetes import session

    return session
