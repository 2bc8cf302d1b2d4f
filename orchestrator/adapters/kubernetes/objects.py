"""The objects of one namespace, as the controller inside a cluster needs them (``cluster_port.Objects``)."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from orchestrator.adapters.kubernetes.client import APPLY_PATCH, MERGE_PATCH, Cluster
from orchestrator.adapters.kubernetes.errors import Absent, Exists, Stale
from orchestrator.adapters.kubernetes.informer import Informer, pages
from orchestrator.cluster_port import Access, Body, Identity, Kind, Named, Review
from orchestrator.crd.objects import GROUP
from orchestrator.errors import NotFound, Permanent
from stages.plan import API_VERSION

T = TypeVar("T", bound=Named)

_PATHS = {
    Kind.ROLLOUT: f"/apis/{API_VERSION}/namespaces/{{}}/stagedrollouts",
    Kind.COMMAND: f"/apis/{API_VERSION}/namespaces/{{}}/stagedrolloutcommands",
    Kind.CONFIG_MAP: "/api/v1/namespaces/{}/configmaps",
    Kind.EVENT: "/api/v1/namespaces/{}/events",
    Kind.LEASE: "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
}
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_REVIEWS = "/apis/authorization.k8s.io/v1"
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
GUARDS = (f"authors.{GROUP}", f"commands.{GROUP}")
"""Policies, and the bindings of the same names, without which names on objects mean nothing."""
COMMAND_LINE = "rollout"
ACCOUNT_PREFIX = "system:serviceaccount:"


class ClusterObjects:
    def __init__(self, cluster: Cluster) -> None:
        self.namespace = cluster.namespace
        self._cluster = cluster

    def cache(
        self,
        kind: Kind,
        read: Callable[[Body], T],
        changed: Callable[[T | None, T | None], None],
        listed: Callable[[], None],
    ) -> Informer[T]:
        return Informer(self._cluster, self._collection(kind), read, changed, listed)

    async def read(self, kind: Kind, name: str) -> Body | None:
        try:
            return await self._cluster.get(self._object(kind, name))
        except Absent:
            return None

    async def every(self, kind: Kind) -> list[Body]:
        try:
            return [body async for page in pages(self._cluster, self._collection(kind)) for body in page["items"]]
        except Absent:
            words = f"{self._cluster.title} has no {kind}s; apply the manifests of the controller there"
            raise NotFound(words) from None

    async def create(self, kind: Kind, body: Body) -> Body | None:
        try:
            return await self._cluster.send("POST", self._collection(kind), body)
        except Exists:
            return None

    async def apply(self, kind: Kind, body: Body) -> Body:
        path = self._object(kind, str(body["metadata"]["name"]))
        return await self._cluster.send("PATCH", path, body, APPLY_PATCH, fieldManager=COMMAND_LINE)

    async def patch(self, kind: Kind, name: str, body: Body, *, status: bool = False) -> Body | None:
        path = self._object(kind, name) + ("/status" if status else "")
        try:
            return await self._cluster.send("PATCH", path, body, MERGE_PATCH)
        except (Absent, Stale):
            return None

    async def delete(self, kind: Kind, name: str, uid: str) -> None:
        try:
            await self._cluster.send("DELETE", self._object(kind, name), {"preconditions": {"uid": uid}})
        except (Absent, Stale):
            return

    async def whoami(self) -> Identity:
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = await self._cluster.send("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body)
        found = answer["status"]["userInfo"]
        return Identity(str(found["username"]), tuple(found.get("groups") or ()))

    async def unguarded(self) -> list[str]:
        found = [await self._unguarded_by(name) for name in GUARDS]
        return [words for words in found if words]

    async def _unguarded_by(self, name: str) -> str:
        try:
            policy = await self._cluster.get(f"{_ADMISSION}/validatingadmissionpolicies/{name}")
        except Absent:
            return f"there is no ValidatingAdmissionPolicy {name}"
        if policy["spec"].get("failurePolicy") == "Ignore":
            return f"the ValidatingAdmissionPolicy {name} has failurePolicy: Ignore"
        try:
            binding = await self._cluster.get(f"{_ADMISSION}/validatingadmissionpolicybindings/{name}")
        except Absent:
            return f"there is no ValidatingAdmissionPolicyBinding {name}"
        spec = binding["spec"]
        if spec.get("policyName") != name or "Deny" not in (spec.get("validationActions") or ()):
            return f"the ValidatingAdmissionPolicyBinding {name} does not deny by the policy {name}"
        return (
            f"the ValidatingAdmissionPolicyBinding {name} is limited to some objects"
            if spec.get("matchResources")
            else ""
        )

    async def review(self, who: Identity, access: Access) -> Review:
        namespace = _checked(access.namespace or self.namespace)
        resource = await self._cluster.resource(access.api_version, access.kind)
        asked = {
            "verb": access.verb,
            "group": access.api_version.rpartition("/")[0],
            "version": access.api_version.rpartition("/")[2],
            "resource": resource.plural,
            "name": access.name,
            **({"namespace": namespace} if resource.namespaced else {}),
        }
        kind = "LocalSubjectAccessReview" if resource.namespaced else "SubjectAccessReview"
        path = f"{_REVIEWS}/namespaces/{namespace}/localsubjectaccessreviews"
        body: dict[str, Any] = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": kind,
            "spec": {"user": who.name, "groups": groups_of(who), "resourceAttributes": asked},
        }
        if resource.namespaced:
            body["metadata"] = {"namespace": namespace}
        answer = await self._cluster.send(
            "POST", path if resource.namespaced else f"{_REVIEWS}/subjectaccessreviews", body
        )
        status = answer.get("status") or {}
        is_allowed = bool(status.get("allowed")) and not status.get("denied")
        return Review(replace(access, namespace=namespace), is_allowed, str(status.get("reason") or ""))

    def _collection(self, kind: Kind) -> str:
        return _PATHS[kind].format(self.namespace)

    def _object(self, kind: Kind, name: str) -> str:
        return f"{self._collection(kind)}/{_checked(name)}"


def _checked(name: str) -> str:
    """A name as a part of a path. People choose some of them, and ``..`` would lead elsewhere."""
    if not _NAME.fullmatch(name):
        raise Permanent(f"{name!r} is no name that an object of Kubernetes could have")
    return name


def groups_of(who: Identity) -> list[str]:
    """With those that follow from the name: what an identity provider says beside, nobody can tell for others."""
    found = ["system:authenticated"]
    if who.name.startswith(ACCOUNT_PREFIX):
        namespace = who.name.removeprefix(ACCOUNT_PREFIX).partition(":")[0]
        found += ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
    return [*found, *(group for group in who.groups if group not in found)]
