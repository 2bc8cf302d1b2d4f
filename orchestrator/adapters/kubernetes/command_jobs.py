"""What the Job of a command looks like, and what comes with it: plain objects, made without asking anybody.

The pod is what restricted namespaces take. A command's words are the container's own, so no shell reads them; what
Kubernetes itself would replace in them (``$(NAME)``) is escaped. Files that travel with the plan are a ConfigMap, and
what was resolved of secrets is a Secret; both belong to the Job and go when it goes. Neither can be there before the
Job that owns them, so a Job with such parts begins suspended.
"""

import math
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.adapters.kubernetes.client import Resource
from orchestrator.adapters.kubernetes.job_runs import LONGEST_NAME, TTL
from orchestrator.adapters.process import NotStartable, words_about
from orchestrator.ports import Scene
from stages.cluster import FIELD_MANAGER
from stages.command_pod import CommandPod

JOBS = Resource("batch/v1", "Job", "jobs", namespaced=True)
CONTAINER = "command"
PARTS = f"{FIELD_MANAGER}/parts"
"""An annotation of the Job: what its ConfigMap and its Secret are called."""
KIND, RUN = f"{FIELD_MANAGER}/command", f"{FIELD_MANAGER}/run"
USUAL_REQUESTS = {"cpu": "50m", "memory": "64Mi"}
GRACE_SECONDS = 5
LOOK_TTL_SECONDS = 300
EFFECT_TTL_SECONDS = 7 * 86_400
MOST_BYTES = 1_000_000
HOME = "/tmp"  # noqa: S108 -- a volume of the pod's own, and all that it may write to
ROOT, SCRIPT = "/rollout/plan", "/rollout/script"
_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


@dataclass(frozen=True, slots=True)
class Task:
    """One command to run. *plain* and *secret* are its variables, resolved; *script* is for ``sh -eu``, and *argv* are
    its arguments then. *parts*: what its ConfigMap and Secret are called, if it needs any. A *look* changes nothing and
    is removed soon after its end.
    """

    name: str
    parts: str
    argv: tuple[str, ...]
    pod: CommandPod
    scene: Scene
    timeout_seconds: float
    dir: str | None = None
    script: str | None = None
    plain: Mapping[str, str] | None = None
    secret: Mapping[str, str] | None = None
    is_look: bool = False

    @property
    def has_parts(self) -> bool:
        return bool(self.scene.files) or self.script is not None or bool(self.secret)

    # --- the Job

    def job(self) -> dict[str, Any]:
        """Without what says which Job it is. Raises ``NotStartable``."""
        labels = {KIND: "look" if self.is_look else "effect", RUN: self.scene.run[:LONGEST_NAME].rstrip("-_.")}
        spec: dict[str, Any] = {
            "backoffLimit": 0,
            "activeDeadlineSeconds": max(math.ceil(self.timeout_seconds), 1),
            "suspend": self.has_parts,
            "template": {"metadata": {"labels": labels}, "spec": self._pod()},
        }
        if self.is_look:
            spec[TTL] = LOOK_TTL_SECONDS
        annotations = {PARTS: self.parts} if self.has_parts else {}
        return {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec}

    def _pod(self) -> dict[str, Any]:
        account, user = self.pod.service_account, self.pod.user
        who = {"runAsUser": user, "runAsGroup": user} if user is not None else {}
        return {
            "restartPolicy": "Never",
            **({"serviceAccountName": account} if account is not None else {}),
            "automountServiceAccountToken": account is not None,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": {"runAsNonRoot": True, **who, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [self._container()],
            "volumes": [{"name": "tmp", "emptyDir": {}}, *self._volumes()],
        }

    def _container(self) -> dict[str, Any]:
        limits = {"limits": dict(self.pod.limits)} if self.pod.limits else {}
        where = self._folder()
        return {
            "name": CONTAINER,
            "image": self.pod.image,
            "command": [_literal(word) for word in self._words()],
            **({"workingDir": where} if where is not None else {}),
            "env": self._environment(),
            "resources": {"requests": dict(self.pod.requests or USUAL_REQUESTS), **limits},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [
                {"name": "tmp", "mountPath": HOME},
                *(
                    {"name": one["name"], "mountPath": _MOUNTS[one["name"]], "readOnly": True}
                    for one in self._volumes()
                ),
            ],
        }

    def _words(self) -> tuple[str, ...]:
        if self.script is not None:
            return ("sh", "-eu", f"{SCRIPT}/script", *self.argv)
        return (self._program(), *self.argv[1:])

    def _program(self) -> str:
        """The first word: from the plan's files if it is a relative path, else what the image has."""
        if not self.argv or not self.argv[0]:
            raise NotStartable("the command is empty; its first word is the program")
        word = self.argv[0]
        if word.startswith("/") or "/" not in word:
            return word
        if posixpath.normpath(word) not in {posixpath.normpath(path) for path in self.scene.files}:
            raise NotStartable(
                f"{word} did not travel with the plan; what is in the image is named by its whole path, such as /app/x"
            )
        return posixpath.normpath(posixpath.join(self._base, word))

    @property
    def _base(self) -> str:
        """The folder that stands for the plan's own: some of its files may lie above."""
        levels = max((path.split("/").count("..") for path in self.scene.files), default=0)
        return posixpath.join(ROOT, *["up"] * levels)

    def _folder(self) -> str | None:
        """Where it runs; None: where the image says."""
        wanted = self.dir or self.scene.command_dir
        if wanted is not None and wanted.startswith("/"):
            return wanted
        if not self.scene.files and wanted is None:
            return None
        folder = posixpath.normpath(posixpath.join(self._base, wanted or "."))
        if wanted is not None and not any(path.startswith(f"{folder}/") for path in self._paths().values()):
            raise NotStartable(
                f"no file in the folder {wanted} travelled with the plan; a folder of the image is named by its whole "
                "path in dir or commands.dir"
            )
        return folder

    def _paths(self) -> dict[str, str]:
        """Path as written -> path in the container."""
        found = {path: posixpath.normpath(posixpath.join(self._base, path)) for path in self.scene.files}
        for path, where in found.items():
            if not where.startswith(f"{ROOT}/"):
                raise NotStartable(f"{path} travelled with the plan under an absolute path; submit the plan again")
        return found

    def _environment(self) -> list[dict[str, Any]]:
        plain = {"HOME": HOME, **(self.plain or {})}
        given: dict[str, Any] = {name: {"value": _literal(value)} for name, value in plain.items()}
        for name in self.secret or ():
            given[name] = {"valueFrom": {"secretKeyRef": {"name": self.parts, "key": name}}}
        given |= {name: {"value": _literal(value)} for name, value in words_about(self.scene).items()}
        for name in given:
            if not _VARIABLE.fullmatch(name):
                raise NotStartable(
                    f"{name!r} is no name that a variable may have in a pod; give it another one in vars"
                )
        return [{"name": name, **value} for name, value in given.items()]

    # --- what comes with it

    def _volumes(self) -> list[dict[str, Any]]:
        """Of files: all of them executable, as they are where commands run as processes."""
        found = []
        if self.scene.files:
            items = [
                {"key": _key(index), "path": posixpath.relpath(path, ROOT)}
                for index, path in enumerate(self._paths().values())
            ]
            found.append(self._volume("plan", items))
        if self.script is not None:
            found.append(self._volume("script", [{"key": "script", "path": "script"}]))
        return found

    def _volume(self, name: str, items: list[dict[str, str]]) -> dict[str, Any]:
        return {"name": name, "configMap": {"name": self.parts, "defaultMode": 0o555, "items": items}}

    def companions(self, owner: Mapping[str, Any]) -> list[dict[str, Any]]:
        """ConfigMap and Secret, as far as they are needed, for the Job whose metadata is *owner*."""
        data = {_key(index): text for index, text in enumerate(self.scene.files.values())}
        data |= {"script": self.script} if self.script is not None else {}
        size = sum(len(text.encode()) for text in data.values())
        if size > MOST_BYTES:
            raise NotStartable(
                f"the plan's files have {size:,} bytes, and a ConfigMap holds {MOST_BYTES:,}; take some out"
            )
        found: list[dict[str, Any]] = []
        if data:
            found.append({"apiVersion": "v1", "kind": "ConfigMap", "data": data})
        if self.secret:
            found.append({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "stringData": dict(self.secret)})
        reference = {"apiVersion": JOBS.api_version, "kind": JOBS.kind, "name": owner["name"], "uid": owner["uid"]}
        metadata = {"name": self.parts, "labels": owner.get("labels") or {}, "ownerReferences": [reference]}
        return [{**one, "immutable": True, "metadata": metadata} for one in found]


_MOUNTS = {"plan": ROOT, "script": SCRIPT}


def _key(index: int) -> str:
    return f"file-{index}"


def _literal(text: str) -> str:
    """As it is after Kubernetes has replaced ``$(NAME)`` in it."""
    return text.replace("$", "$$")
