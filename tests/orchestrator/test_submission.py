"""A plan that is handed in: what a run of it is called, and how it begins."""

from dataclasses import replace

from orchestrator.allowance import Trust
from orchestrator.core.commands import Actor
from orchestrator.core.events import Origin
from orchestrator.submission import Submission

ANN = Actor("ann", "operator")
HANDED = Submission("change", "digest", ())


def test_a_run_has_a_name_of_its_own_but_where_the_key_is_the_same() -> None:
    assert HANDED.new_run() != HANDED.new_run()
    with_key = replace(HANDED, key="k")
    assert with_key.new_run() == with_key.new_run() != replace(HANDED, key="other").new_run()
    assert with_key.new_run().startswith("change-")


def test_a_run_begins_trusted_only_if_its_plan_is_the_owners() -> None:
    of_cluster = replace(HANDED, origin=Origin(namespace="shop", name="change", uid="u", generation=1), is_owners=True)
    for handed, trust in (
        (HANDED, Trust.HANDED),
        (replace(HANDED, is_owners=True), Trust.OWNER),
        (of_cluster, Trust.CLUSTER),
    ):
        assert handed.trust is trust
        assert handed.started(ANN).trusted is (trust is Trust.OWNER)
    assert HANDED.started(ANN, supersedes="change-1").supersedes == "change-1"
