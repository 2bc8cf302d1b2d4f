"""The API server asked directly, as one of its users: a process of kubectl for each question takes half a second."""

import json
import secrets
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import httpx

from tests.support.cluster import Cluster
from tests.support.process import DEADLINE_SECONDS

MERGE_PATCH = "application/merge-patch+json"
PLURALS = {
    "StagedRollout": "stagedrollouts",
    "StagedRolloutCommand": "stagedrolloutcommands",
    "ConfigMap": "configmaps",
    "Pod": "pods",
    "Role": "roles",
    "RoleBinding": "rolebindings",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """*refusal* is the API server's sentence, empty if it took what was asked."""

    refusal: str
    body: Mapping[str, Any] = field(default_factory=dict)


class Api:
    """*user* is one of the cluster's USERS."""

    def __init__(self, cluster: Cluster, user: str) -> None:
        self._http = httpx.Client(
            base_url=cluster.url,
            verify=ssl.create_default_context(cafile=str(cluster.authority)),
            headers={"Authorization": f"Bearer {cluster.token(user)}"},
            timeout=DEADLINE_SECONDS,
            trust_env=False,
        )

    def create(self, namespace: str, body: Mapping[str, Any], *, dry_run: bool = False) -> Answer:
        """With strict validation."""
        return self._send("POST", _collection(body, namespace), body, {"dryRun": "All"} if dry_run else {})

    def patch(self, kind: str, namespace: str, name: str, body: object, *, subresource: str = "") -> Answer:
        """A merge patch, with strict validation."""
        group = "stagedrollout.io/v1alpha1"
        path = f"/apis/{group}/namespaces/{namespace}/{PLURALS[kind]}/{name}"
        return self._send("PATCH", f"{path}/{subresource}" if subresource else path, body, {})

    def create_namespace(self, name: str) -> None:
        self._check(self._send("POST", "/api/v1/namespaces", {"metadata": {"name": name}}, {}))

    def delete_namespace(self, name: str) -> None:
        """Begins with it."""
        self._check(self._send("DELETE", f"/api/v1/namespaces/{name}", {}, {}))

    def may(
        self, namespace: str, who: str, verb: str, resource: str, *, name: str = "", groups: tuple[str, ...]
    ) -> bool:
        """Whether RBAC allows *who* this. *resource*: ``plural.group``, with ``/subresource`` if one is meant."""
        whole, _, subresource = resource.partition("/")
        plural, _, group = whole.partition(".")
        asked = {"verb": verb, "group": group, "resource": plural, "subresource": subresource, "namespace": namespace}
        spec = {"user": who, "groups": groups, "resourceAttributes": {**asked, "name": name}}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        answer = self._check(self._send("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body, {}))
        return bool(answer.body["status"]["allowed"])

    def _check(self, answer: Answer) -> Answer:
        assert not answer.refusal, answer.refusal
        return answer

    def _send(self, method: str, path: str, body: object, query: Mapping[str, str]) -> Answer:
        content_type = MERGE_PATCH if method == "PATCH" else "application/json"
        answer = self._http.request(
            method,
            path,
            content=json.dumps(body),
            params={"fieldValidation": "Strict", **query},
            headers={"Content-Type": content_type},
        )
        found = answer.json()
        return Answer("", found) if answer.is_success else Answer(str(found.get("message") or found))


def _collection(body: Mapping[str, Any], namespace: str) -> str:
    version = str(body["apiVersion"])
    root = "apis" if "/" in version else "api"
    return f"/{root}/{version}/namespaces/{namespace}/{PLURALS[str(body['kind'])]}"


@contextmanager
def bare_namespace(cluster: Cluster) -> Iterator[str]:
    """A new namespace for objects that are no pods: nobody waits for its service account."""
    api, name = api_of(cluster), f"test-{secrets.token_hex(4)}"
    api.create_namespace(name)
    try:
        yield name
    finally:
        api.delete_namespace(name)


@lru_cache(16)
def api_of(cluster: Cluster, user: str = "admin") -> Api:
    """One for each user, kept: its connections are used again."""
    return Api(cluster, user)
