"""Definitions that are newer or older than the controller, as while somebody upgrades one of the two."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster import Cluster, ControlPlane
from tests.support.in_cluster import FLAG_STAGE, Shop, plan, shop_in
from tests.support.manifests import install_definitions

DEFINITION = "stagedrollouts.stagedrollout.io"


@pytest.fixture(scope="module")
def cluster(kubernetes_programs: Path) -> Iterator[Cluster]:
    """Of these tests alone, since they change the definitions."""
    with ControlPlane(kubernetes_programs) as plane:
        install_definitions(plane)
        yield plane


@pytest.fixture
def shop(cluster: Cluster, tmp_path: Path) -> Iterator[Shop]:
    with cluster.namespace() as namespace, shop_in(cluster, namespace, tmp_path) as made:
        yield made


def properties(definition: dict[str, Any], part: str) -> dict[str, Any]:
    (version,) = definition["spec"]["versions"]
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"][part]["properties"]
    return found


def change(cluster: Cluster, definition: dict[str, Any]) -> None:
    cluster.kubectl("replace", "--filename", "-", given=json.dumps(definition))
    cluster.wait_established(DEFINITION)


def test_what_a_newer_definition_lets_through_is_refused_by_name_and_nothing_is_started(shop: Shop) -> None:
    definition = shop.cluster.get("crd", DEFINITION)
    properties(definition, "spec")["weather"] = {"type": "string"}
    change(shop.cluster, definition)
    shop.serve()
    shop.apply(plan("demo", FLAG_STAGE, weather="fair"))
    shop.kubectl("wait", "--for=condition=Stalled", "sro/demo", "--timeout=60s")
    assert "weather" in shop.message("demo")
    assert shop.runs() == []
    shop.apply(plan("fine", FLAG_STAGE))
    shop.wait_ready("fine")


def test_a_run_goes_to_its_end_where_an_older_definition_takes_less_of_its_status(shop: Shop) -> None:
    definition = shop.cluster.get("crd", DEFINITION)
    for field in ("gate", "waiting", "percentages"):
        del properties(definition, "status")[field]
    change(shop.cluster, definition)
    shop.serve()
    shop.apply(plan("demo", FLAG_STAGE))
    shop.wait_ready("demo")
    status = shop.status("demo")
    assert (status["phase"], status["outcome"]) == ("ended", "promoted")
    assert "percentages" not in status
