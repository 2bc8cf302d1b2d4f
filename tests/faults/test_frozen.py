"""A controller that is frozen with a prepared patch to a workload, and wakes up when another one has done the work: the
API server's audit log and the journal say who changed what. Each controller has a user of its own there.
"""

import json
import signal
from pathlib import Path

import pytest

from orchestrator.core.events import EffectFinished, EffectRequested
from orchestrator.failpoints import Action, Point
from orchestrator.journal import chain
from tests.faults.world import World, submission, world_in
from tests.support.cluster import Cluster
from tests.support.process import wait_until
from tests.support.stores import PostgresSchema
from tests.support.workloads import WorkloadWorld, workload

pytestmark = [pytest.mark.acceptance, pytest.mark.cluster, pytest.mark.slow]
FROZEN, OTHER = USERS = ("alice", "bob")
KUBECONFIG = "kubeconfig"  # in the folder in which each works
API = "deployment/api"
STEPS = [{"image": API, "to": "shop:2", "timeout": "5m"}, {"scale": API, "replicas": 3, "timeout": "5m"}]


def plan(namespace: str) -> str:
    return json.dumps(
        {
            "apiVersion": "stagedrollout.io/v1alpha1",
            "kind": "StagedRollout",
            "metadata": {"name": "frozen"},
            "spec": {
                "kubernetes": {"namespace": namespace},
                "stages": [{"name": "shop", "kind": "steps", "steps": STEPS}],
                "watch": "0s",
            },
        }
    )


def let_both_work(cluster: Cluster, namespace: str, world: World) -> None:
    subjects = [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"} for user in USERS]
    cluster.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "controllers", "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
            "subjects": subjects,
        }
    )
    for life, user in zip(world.lives, USERS, strict=True):
        (life.folder / KUBECONFIG).write_text(cluster.kubeconfig_of(user).read_text())


@pytest.mark.parametrize("patch", (1, 2), ids=("the image", "the replicas"))
def test_a_controller_that_wakes_up_with_a_prepared_patch_changes_nothing(
    patch: int, control_plane: Cluster, cluster_namespace: str, postgres_schema: PostgresSchema, tmp_path: Path
) -> None:
    shop = WorkloadWorld(control_plane, cluster_namespace, control_plane.kubeconfig)
    shop.deploy(workload("api", "shop:1", replicas=1))
    with world_in(tmp_path, store=postgres_schema.url, controllers=2, KUBECONFIG=KUBECONFIG) as world:
        let_both_work(control_plane, cluster_namespace, world)
        world.failpoints = {0: [f"{Point.KUBERNETES_SENDING}={Action.STOP}@{patch}"]}
        world.keep_alive()
        frozen, other = world.lives
        for life in world.lives:
            life.wait_until_ready()
        body = submission(plan(cluster_namespace), tmp_path)
        started = wait_until(lambda: frozen.ask("POST", "/api/v1/runs", body), what="a run")
        assert started is not None
        assert started.status == 201, started
        run = started.body["run"]
        wait_until(lambda: frozen.is_stopped, what="the controller to freeze before it sends its patch")

        def outcome() -> object:
            shown = other.ask("GET", f"/api/v1/runs/{run}")
            return shown.body["outcome"] if shown is not None and shown.status == 200 else None

        wait_until(lambda: outcome() == "promoted", what="the other one to do the work", every_seconds=0.2)
        journal = world.records(run)
        frozen.send(signal.SIGCONT)
        wait_until(lambda: "lease.lapsed" in frozen.log, what="the frozen one to notice")
        frozen.wait_until_ready()

        assert (shop.writes("api", FROZEN), shop.writes("api", OTHER)) == (patch - 1, len(STEPS) - patch + 1)
        assert (shop.image(API), shop.replicas(API), shop.revision(API)) == ("shop:2", 3, 2)
        ((epoch,),) = postgres_schema.execute("SELECT epoch FROM runs WHERE run = %s", run)
        assert shop.annotations(API)["epoch"] == str(epoch)
        assert world.records(run) == journal
        assert chain.verify(journal) is None
        asked = [record.event.effect.id for record in journal if isinstance(record.event, EffectRequested)]
        ended = [record.event.effect for record in journal if isinstance(record.event, EffectFinished)]
        assert sorted(asked) == sorted(ended)
        assert len(set(asked)) == len(STEPS)
