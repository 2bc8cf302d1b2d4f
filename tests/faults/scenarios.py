"""Kinds of worlds in which failpoints are reached, and which kind reaches which."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from orchestrator.failpoints import Action, Point
from tests.faults.changes import Change, Parts
from tests.faults.world import Drive, World, broken_promises, world_in
from tests.support.cluster import Cluster, ControlPlane, provide_programs
from tests.support.postgres import PostgresServer
from tests.support.process import wait_until
from tests.support.stores import schema_in
from tests.support.workloads import workload

_NAMES = count(1)


@dataclass
class Services:
    """What worlds share, started when it is first asked for."""

    stack: ExitStack = field(default_factory=ExitStack)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _postgres: PostgresServer | None = None
    _cluster: Cluster | None = None

    @property
    def postgres(self) -> PostgresServer:
        with self._lock:
            if self._postgres is None:
                self._postgres = self.stack.enter_context(PostgresServer(max_connections="400"))
            return self._postgres

    @property
    def cluster(self) -> Cluster:
        with self._lock:
            if self._cluster is None:
                self._cluster = self.stack.enter_context(ControlPlane(provide_programs()))
            return self._cluster

    def __enter__(self) -> "Services":
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()


@dataclass(frozen=True)
class Case:
    point: Point
    action: str = Action.KILL
    nth: int = 1

    @property
    def armed(self) -> str:
        return f"{self.point}={self.action}@{self.nth}"

    @property
    def at_first(self) -> str:
        return f"{self.point}={self.action}@1"

    def __str__(self) -> str:
        return f"{self.point} {self.action} @{self.nth}"


Scene = tuple[World, Drive]


class Scenario:
    """One kind of world with one kind of change."""

    name = "small"
    controllers = 1
    counted: Point | None = None  # whose passing is chosen by a case's number, if not that of its own point

    @property
    def plain(self) -> "Scenario":
        """In which passings are counted: the same, where nobody dies."""
        return self

    def arm(self, case: Case) -> dict[int, list[str]]:
        """The first two lives: the second one gets there after the restart in the middle."""
        return {0: [case.armed] * 2}

    @contextmanager
    def world(self, services: Services, folder: Path) -> Iterator[Scene]:
        with world_in(folder) as world:
            yield world, Drive(world, self.change(world, folder))

    def change(self, world: World, folder: Path) -> Change:
        place = folder / "plan"
        place.mkdir()
        return Change(f"n{next(_NAMES)}", place, self.parts(world))

    def parts(self, world: World) -> Parts:
        return Parts(goes_back=True, sqlite=False, flag_file=False, counting=world.counting.url)

    def drive(self, drive: Drive) -> None:
        drive.whole()

    def complaints(self, services: Services, drive: Drive) -> list[str]:
        return broken_promises(drive)


class Whole(Scenario):
    """Every kind of target."""

    name = "whole"

    @contextmanager
    def world(self, services: Services, folder: Path) -> Iterator[Scene]:
        with services.postgres.database() as dsn, world_in(folder, postgres=dsn) as world:
            yield world, Drive(world, self.change(world, folder))

    def parts(self, world: World) -> Parts:
        return Parts(goes_back=True, postgres=world.postgres, counting=world.counting.url)


class Interrupted(Scenario):
    """The controller dies while a command runs, and again when it looks what became of that."""

    name = "interrupted"
    counted = Point.PROCESS_ORDERED

    @property
    def plain(self) -> Scenario:
        return SMALL

    def arm(self, case: Case) -> dict[int, list[str]]:
        in_first_life = 1 + (case.nth - 1) % 2  # there are two commands before the restart in the middle
        return {0: [f"{Point.PROCESS_ORDERED}=kill@{in_first_life}", case.at_first]}


class Unwanted(Scenario):
    """The controller dies while a command runs that nobody can look at, and again when the rollback ends it."""

    name = "unwanted"

    @property
    def plain(self) -> Scenario:
        return SMALL

    def arm(self, case: Case) -> dict[int, list[str]]:
        return {0: [f"{Point.PROCESS_ORDERED}=kill@2", case.at_first]}

    def parts(self, world: World) -> Parts:
        return Parts(goes_back=True, asks=False, sqlite=False, flag_file=False)

    def drive(self, drive: Drive) -> None:
        drive.unwanted()


class Shared(Scenario):
    """Three controllers on one store; the one that acts is the one that dies."""

    name = "shared"
    controllers = 3

    @contextmanager
    def world(self, services: Services, folder: Path) -> Iterator[Scene]:
        with (
            services.postgres.database() as dsn,
            schema_in(dsn, "store") as schema,
            world_in(folder, store=schema.url, controllers=self.controllers) as world,
        ):
            yield world, Drive(world, self.change(world, folder))


class TakenOver(Shared):
    """The one that acts dies, and so do the others at the first thing that they do about it."""

    name = "taken over"
    counted = Point.INTENT_AFTER

    @property
    def plain(self) -> Scenario:
        return SHARED

    def arm(self, case: Case) -> dict[int, list[str]]:
        first = f"{Point.INTENT_AFTER}=kill@{case.nth}"
        return {0: [first, case.at_first], 1: [case.at_first], 2: [case.at_first]}


class InCluster(Scenario):
    """An image and a Job on a real API server."""

    name = "cluster"

    @contextmanager
    def world(self, services: Services, folder: Path) -> Iterator[Scene]:
        cluster = services.cluster
        with cluster.namespace() as namespace, world_in(folder, KUBECONFIG=str(cluster.kubeconfig)) as world:
            deployment = workload("api", "shop:1")
            cluster.apply({**deployment, "metadata": {**deployment["metadata"], "namespace": namespace}})
            wait_until(lambda: _ready(cluster, namespace), what="the workload")
            place = folder / "plan"
            place.mkdir()
            (place / "job.yaml").write_text(json.dumps(_JOB))
            parts = Parts(goes_back=True, sqlite=False, flag_file=False, cluster=namespace, counting=world.counting.url)
            yield world, Drive(world, Change(f"n{next(_NAMES)}", place, parts))

    def complaints(self, services: Services, drive: Drive) -> list[str]:
        namespace = drive.change.parts.cluster
        assert namespace is not None
        found = services.cluster.get("deployment/api", "--namespace", namespace)
        (container,) = found["spec"]["template"]["spec"]["containers"]
        jobs = services.cluster.get("jobs", "--namespace", namespace)["items"]
        told = [] if container["image"] == "shop:1" else [f"image: {container['image']}"]
        told += [] if len(jobs) == 1 and jobs[0]["status"].get("succeeded") == 1 else [f"{len(jobs)} Jobs"]
        return told + broken_promises(drive)


_JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "fill"},
    "spec": {
        "backoffLimit": 0,
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "task", "image": "fill:1"}]}},
    },
}


def _ready(cluster: Cluster, namespace: str) -> bool:
    found = cluster.get("deployment/api", "--namespace", namespace)
    return bool(found.get("status", {}).get("readyReplicas") == 2)


SMALL, WHOLE, SHARED, TAKEN_OVER = Scenario(), Whole(), Shared(), TakenOver()
INTERRUPTED, UNWANTED, IN_CLUSTER = Interrupted(), Unwanted(), InCluster()
_BY_FAMILY = {
    "sql": (WHOLE,),
    "backfill": (WHOLE,),
    "flag_file": (WHOLE,),
    "node": (WHOLE,),
    "claim": (TAKEN_OVER,),
    "lease": (SHARED,),
    "kubernetes": (IN_CLUSTER,),
    "job": (IN_CLUSTER,),
    "journal": (SMALL, SHARED),
    "store": (SMALL, SHARED),
    "run": (SMALL, SHARED),
}
_ALONE = {
    Point.PROCESS_ENDING_EARLIER: (INTERRUPTED,),
    Point.CALL_ENDING: (UNWANTED,),
    Point.SWITCH_SHARING: (SHARED,),
    Point.SWITCH_SHARED: (SHARED,),
}


def scenarios_of(point: Point) -> tuple[Scenario, ...]:
    return _ALONE.get(point) or _BY_FAMILY.get(point.partition(".")[0]) or (SMALL,)
