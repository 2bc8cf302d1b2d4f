"""What a workload shall be: the few fields that a run changes, as they are read, compared and written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.adapters.kubernetes.marks import RESTARTED_BY, RUN, TOTAL, Path, item, owner_of
from orchestrator.adapters.kubernetes.workloads import Workload
from orchestrator.errors import Permanent
from orchestrator.ports import Seen
from stages.cluster import FIELD_MANAGER
from stages.values import Json

_LISTS = ("containers", "initContainers")


@dataclass(frozen=True, slots=True)
class Wish:
    """Only what is said counts. *image* is that of *container*; *total* 0: none is noted (``marks.TOTAL``)."""

    replicas: int | None = None
    container: str = ""
    image: str | None = None
    restarted_by: str | None = None
    total: int | None = None

    @property
    def is_of_template(self) -> bool:
        """Whether new pods come of it."""
        return self.image is not None or self.restarted_by is not None

    def is_met(self, workload: Workload) -> bool:
        return not self.unmet(workload)

    def unmet(self, workload: Workload) -> list[str]:
        """The fields that are not as wished, by name."""
        return [name for name, value in self._said().items() if self.now(workload, name) != value]

    def strangers(self, workload: Workload, before: "Wish", run: str) -> list[str]:
        """The fields that stand neither as wished, nor as they were *before*, nor as *run* left them on its way."""
        moved = before.unmet(workload)
        return [name for name in self.unmet(workload) if name in moved and not self._is_ours(workload, name, run)]

    def spec(self, workload: Workload) -> dict[str, Any]:
        """Its part of a strategic merge patch."""
        spec: dict[str, Any] = {}
        if self.replicas is not None:
            spec["replicas"] = self.replicas
        if self.image is not None:
            containers = [{"name": self.container, "image": self.image}]
            spec["template"] = {"spec": {list_of(workload, self.container): containers}}
        if self.restarted_by is not None:
            spec["template"] = {"metadata": {"annotations": {RESTARTED_BY: self.restarted_by}}}
        return spec

    def annotations(self) -> dict[str, str | None]:
        """Those of the workload itself; None for one that goes."""
        return {TOTAL: str(self.total) if self.total else None} if self.total is not None else {}

    def _said(self) -> Mapping[str, int | str]:
        said = {
            "replicas": self.replicas,
            "image": self.image,
            "restarted_by": self.restarted_by,
            "total": self.total,
        }
        return {name: value for name, value in said.items() if value is not None}

    def now(self, workload: Workload, name: str) -> int | str | None:
        """What a field is."""
        if name == "replicas":
            return workload.replicas
        if name == "image":
            return image_of(workload, self.container) if workload.exists else None
        if name == "total":
            return total_of(workload) or 0
        annotations = (workload.template.get("metadata") or {}).get("annotations") or {}
        return annotations.get(RESTARTED_BY)

    def authors(self, workload: Workload) -> list[str]:
        """Who wrote its fields last, as far as that is noted, but for us."""
        found = [self.author(workload, name) for name in self._said()]
        return [one for one in found if one is not None and one != FIELD_MANAGER]

    def _is_ours(self, workload: Workload, name: str, run: str) -> bool:
        return workload.annotations.get(RUN) == run and self.author(workload, name) == FIELD_MANAGER

    def author(self, workload: Workload, name: str) -> str | None:
        """Who wrote a field last, as far as that is noted."""
        return owner_of(workload.metadata, self._path(workload, name))

    def _path(self, workload: Workload, name: str) -> Path:
        if name == "replicas":
            return ("f:spec", "f:replicas")
        if name == "total":
            return ("f:metadata", "f:annotations", f"f:{TOTAL}")
        containers = f"f:{list_of(workload, self.container)}"
        return ("f:spec", "f:template", "f:spec", containers, item(name=self.container), "f:image")


def list_of(workload: Workload, container: str) -> str:
    """In which list of the template a container is. Raises ``Permanent`` if it is in none."""
    for name in _LISTS:
        if container in workload.containers(name):
            return name
    there = ", ".join(one for name in _LISTS for one in workload.containers(name))
    raise Permanent(f"{workload.title} has no container {container}; it has {there}")


def image_of(workload: Workload, container: str) -> str:
    return workload.containers(list_of(workload, container))[container]


def total_of(workload: Workload) -> int | None:
    """How many pods a version had at first, if that is noted on its canary."""
    noted = workload.annotations.get(TOTAL, "")
    return int(noted) if noted.isdecimal() else None


def only_container(workload: Workload, named: str | None) -> str:
    """The container that is *named*, or the only one. Raises ``Permanent`` if it is not there, or there are several."""
    if named is not None:
        list_of(workload, named)
        return named
    names = list(workload.containers())
    if len(names) != 1:
        raise Permanent(f"{workload.title} has several containers; say which one with container: {', '.join(names)}")
    return names[0]


def seen(value: Json, stands: Sequence[tuple[Workload, Wish]]) -> Seen:
    """*stands*: the workloads that were looked at, each with where it stands. Whoever brought it there is named, but
    for us.
    """
    authors = [author for workload, wish in stands for author in wish.authors(workload)]
    return Seen(value=value, changed_by=authors[0] if authors else None)
