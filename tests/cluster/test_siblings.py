"""Controllers of one PostgreSQL store before one namespace of a real API server: when one goes, nothing is lost."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.cluster import Cluster
from tests.support.in_cluster import FLAG_STAGE, Shop, plan, shop_in
from tests.support.manifests import install_definitions
from tests.support.process import rollout_in, wait_until
from tests.support.stores import PostgresSchema

pytestmark = pytest.mark.postgres
LONG = {**FLAG_STAGE, "bake": "1h"}


@pytest.fixture
def shops(control_plane: Cluster, postgres_schema: PostgresSchema, tmp_path: Path) -> Iterator[tuple[Shop, Shop]]:
    """The same namespace and service account, seen from two machines with a controller each."""
    install_definitions(control_plane)
    folders = [tmp_path / "first", tmp_path / "second"]
    with control_plane.namespace() as namespace, ExitStack() as stack:
        for folder in folders:
            folder.mkdir()
        first = stack.enter_context(shop_in(control_plane, namespace, folders[0]))
        first.rollout.environment["ROLLOUT_STORE"] = postgres_schema.url
        beside = stack.enter_context(rollout_in(folders[1], ROLLOUT_STORE=postgres_schema.url))
        yield first, Shop(control_plane, namespace, beside, first.kubeconfig)


def test_when_the_controller_of_a_namespace_is_killed_its_sibling_goes_on_with_all_of_it(
    shops: tuple[Shop, Shop],
) -> None:
    first, second = shops
    killed = first.serve()
    first.apply(plan("demo", LONG))
    first.until("demo", leg="baking")
    second.serve()
    killed.kill()
    second.apply(plan("more", {**FLAG_STAGE, "flag": "more"}))
    second.wait_ready("more")
    rolled_back = second.command_line("rollback", "demo", "--reason", "enough", user="bob")
    assert rolled_back.code == 0, rolled_back.errors
    second.kubectl("wait", "--for=condition=Stalled", "sro/demo", "--timeout=60s")
    assert second.status("demo")["percentages"] == {"beta": 0}
    outcomes = {run["plan"]: run["outcome"] for run in second.runs()}
    assert outcomes == {"demo": "rolled_back", "more": "promoted"}


def test_a_command_reaches_the_run_whichever_of_the_controllers_walks_it(shops: tuple[Shop, Shop]) -> None:
    first, second = shops
    leaving = first.serve()
    first.apply(plan("demo", LONG))
    first.until("demo", leg="baking")
    second.serve()
    with rollout_in(second.rollout.folder / "third", **second.rollout.environment) as machine:
        third = Shop(second.cluster, second.namespace, machine, second.kubeconfig)
        third.serve()
        leaving.stop()
        holder = wait_until(lambda: _holder(second), what="another holder of the Lease")
        assert holder
        for command, hold in (("pause", ["paused"]), ("resume", [])):
            said = second.command_line(command, "demo", "--reason", "lunch", user="bob")
            assert said.code == 0, said.errors
            # who holds the Lease writes the object's status, as soon as it hears of what the other one did
            wait_until(lambda hold=hold: _holds(second) == hold, what=f"the holds {hold}")  # type: ignore[misc]


def _holds(shop: Shop) -> list[str]:
    shown = shop.command_line("status", "demo", "--output", "json").json()
    return [one["reason"] for one in shown["holds"]]


def _holder(shop: Shop) -> str:
    lease = shop.cluster.get("lease", "staged-rollout-controller", "--namespace", shop.namespace)
    return str(lease["spec"].get("holderIdentity") or "")
