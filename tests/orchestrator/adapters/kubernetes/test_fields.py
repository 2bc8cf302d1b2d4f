"""Which fields an apply is about, and what is applied to bring back what was there."""

import json
from typing import Any

import pytest

from orchestrator.adapters.kubernetes.fields import (
    Managers,
    body_back,
    content_of,
    moved_path,
    says,
    seen_fields,
)
from stages.manifests import objects_of

OURS, THEIRS = "stagedrollout.io", "pipeline"


def live(content: dict[str, Any], **trees: dict[str, Any]) -> dict[str, Any]:
    """An object with who manages what of it: ``ours`` by our applies, ``written`` by our other writes, ``theirs``."""
    who = {"ours": (OURS, "Apply"), "written": (OURS, "Update"), "theirs": (THEIRS, "Apply")}
    entries = [
        {"manager": who[key][0], "operation": who[key][1], "fieldsV1": tree} for key, tree in trees.items()
    ]  # fmt: skip
    metadata = {"name": "x", "uid": "1", "managedFields": entries, **content.get("metadata", {})}
    return {**content, "metadata": metadata}


def fields(*paths: str) -> dict[str, Any]:
    """The tree of ``data.a`` and the like; ``containers.[name=web].image`` goes into a list."""
    tree: dict[str, Any] = {}
    for path in paths:
        at = tree
        for step in path.split("."):
            if step.startswith("["):
                at = at.setdefault("k:" + json.dumps(dict([step[1:-1].split("=")]), separators=(",", ":")), {".": {}})
            else:
                at = at.setdefault(f"f:{step}", {})
    return tree


# --- looking ----------------------------------------------------------------------------------------------------------


def test_what_the_manifest_names_is_seen_and_nothing_else() -> None:
    manifest = {"data": {"a": "2", "new": "2"}, "spec": {"template": {"labels": {"x": "y"}}}}
    assert seen_fields(manifest, live({"data": {"a": "1", "b": "1"}, "spec": {"template": {}}})) == {"data": {"a": "1"}}


def test_lists_are_seen_whole() -> None:
    containers = [{"name": "web", "image": "web:1", "tty": False}, {"name": "proxy", "image": "proxy:1"}]
    manifest = {"spec": {"containers": [{"name": "web", "image": "web:2"}]}}
    assert seen_fields(manifest, live({"spec": {"containers": containers}})) == {"spec": {"containers": containers}}


def test_what_we_manage_is_seen_too_for_it_would_go_if_we_named_it_no_more() -> None:
    was = live(
        {"data": {"a": "1", "b": "1", "c": "1"}, "spec": {"containers": [{"name": "web"}], "limits": {"x": {"y": 1}}}},
        ours=fields("data.b", "spec.containers.[name=web].image", "spec.limits"),
        theirs=fields("data.c"),
    )
    assert seen_fields({"data": {"a": "2"}}, was) == {
        "data": {"a": "1", "b": "1"},
        "spec": {"containers": [{"name": "web"}], "limits": {"x": {"y": 1}}},
    }


def test_our_other_writes_are_not_what_we_apply() -> None:
    was = live({"spec": {"replicas": 3}}, written=fields("spec.replicas"))
    assert Managers.of(was).ours is None
    assert seen_fields({}, was) == {}


def test_a_status_is_nobodys_to_apply() -> None:
    was = live({"data": {"a": "1"}})
    entry = {"manager": OURS, "operation": "Apply", "subresource": "status", "fieldsV1": fields("data.a")}
    was["metadata"]["managedFields"] = [entry]
    assert seen_fields({}, was) == {}


def test_our_marks_and_what_tells_which_object_it_is_are_not_seen() -> None:
    annotations = {f"{OURS}/run": "shop-1", "team": "search"}
    (one,) = objects_of(
        "apiVersion: v1\nkind: ConfigMap\nstatus: {}\n"
        "metadata: {name: x, creationTimestamp: null, annotations: {team: search}}\n"
    )
    was = live(
        {"metadata": {"annotations": annotations}}, ours={"f:metadata": {"f:annotations": {f"f:{OURS}/run": {}}}}
    )
    assert seen_fields(content_of(one), was) == {"metadata": {"annotations": {"team": "search"}}}
    assert seen_fields({}, was) == {}


@pytest.mark.parametrize(
    ("now", "said", "is_so"),
    (
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1}, {"a": 1, "b": None}, True),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, True),
        ([{"name": "a", "x": 1}], [{"name": "a"}], True),
        ([{"name": "a"}, {"name": "b"}], [{"name": "a"}], False),
        ({"a": "1"}, {"a": 1}, False),
        ({}, {"a": {}}, False),
    ),
)
def test_a_manifest_says_what_it_names(now: Any, said: Any, is_so: bool) -> None:
    assert says(now, said) is is_so


@pytest.mark.parametrize(
    ("was", "now", "path"),
    (
        ({"data": {"a": "1", "b": "1"}}, {"data": {"a": "1", "b": "2"}}, ("f:data", "f:b")),
        ({"data": {"a": "1"}}, {"data": {}}, ("f:data", "f:a")),
        ({"data": {}}, {"data": {}, "spec": {"x": 1}}, ("f:spec",)),
        ({"spec": {"ports": [1]}}, {"spec": {"ports": [2]}}, ("f:spec", "f:ports")),
        ({"a": 1}, {"a": 1}, ()),
    ),
)
def test_where_two_looks_differ_is_where_somebody_wrote(was: Any, now: Any, path: tuple[str, ...]) -> None:
    assert moved_path(was, now) == path


# --- the way back -----------------------------------------------------------------------------------------------------


def test_what_stands_otherwise_is_applied_as_it_was() -> None:
    now = live({"data": {"a": "2", "b": "2"}}, ours=fields("data.a", "data.b"))
    assert body_back({"data": {"a": "1"}}, now) == {"data": {"a": "1"}}


def test_what_was_there_and_is_gone_is_applied() -> None:
    now = live({"data": {"a": "2"}}, ours=fields("data.a"))
    assert body_back({"data": {"gone": "1"}, "spec": {"x": {"y": 1}}}, now) == {
        "data": {"gone": "1"},
        "spec": {"x": {"y": 1}},
    }


def test_what_we_alone_manage_stays_applied_or_it_would_vanish() -> None:
    now = live({"data": {"a": "1"}}, ours=fields("data.a"))
    assert body_back({"data": {"a": "1"}}, now) == {"data": {"a": "1"}}


@pytest.mark.parametrize("who", ("theirs", "written"))
def test_what_somebody_else_manages_too_is_let_go(who: str) -> None:
    now = live({"data": {"a": "1"}}, ours=fields("data.a"), **{who: fields("data.a")})
    assert body_back({"data": {"a": "1"}}, now) == {}


def test_what_is_not_ours_and_as_it_was_is_not_taken() -> None:
    assert body_back({"data": {"a": "1"}}, live({"data": {"a": "1"}}, theirs=fields("data.a"))) == {}
    assert body_back({"data": {"a": "1"}}, live({"data": {"a": "1"}})) == {}


def test_of_a_list_only_the_items_that_need_it_are_applied_with_their_keys() -> None:
    was = [{"name": "web", "image": "web:1", "tty": False}, {"name": "proxy", "image": "proxy:1"}]
    now = live(
        {"containers": [{"name": "web", "image": "web:2", "tty": False}, {"name": "proxy", "image": "proxy:1"}]},
        ours=fields("containers.[name=web].image"),
        theirs=fields("containers.[name=web].tty", "containers.[name=proxy].image"),
    )
    assert body_back({"containers": was}, now) == {"containers": [{"name": "web", "image": "web:1"}]}


def test_an_item_that_is_ours_alone_is_kept_and_one_that_is_gone_comes_back_whole() -> None:
    was = [{"name": "mine"}, {"name": "gone", "image": "gone:1"}]
    now = live(
        {"containers": [{"name": "mine"}, {"name": "new"}]},
        ours=fields("containers.[name=mine]", "containers.[name=new]"),
    )
    assert body_back({"containers": was}, now) == {"containers": was}


def test_items_are_told_apart_by_all_their_keys_in_any_order() -> None:
    was = [{"port": 53, "protocol": "UDP", "name": "a"}, {"port": 53, "protocol": "TCP", "name": "b"}]
    now = live(
        {"ports": [{"port": 53, "protocol": "UDP", "name": "z"}, {"port": 53, "protocol": "TCP", "name": "b"}]},
        ours={"f:ports": {'k:{"protocol":"UDP","port":53}': {".": {}, "f:name": {}}}},
        theirs={"f:ports": {'k:{"port":53,"protocol":"TCP"}': {".": {}, "f:name": {}}}},
    )
    assert body_back({"ports": was}, now) == {"ports": [{"port": 53, "protocol": "UDP", "name": "a"}]}


def test_a_list_or_map_that_is_managed_as_a_whole_is_applied_as_a_whole_or_not_at_all() -> None:
    was = {"args": ["a", "b"], "selector": {"app": "web", "tier": "front"}}
    changed = live({"args": ["a"], "selector": {"app": "web", "tier": "back"}}, ours=fields("args", "selector"))
    assert body_back(was, changed) == was
    same = live(was, ours=fields("args", "selector"), theirs=fields("args", "selector"))
    assert body_back(was, same) == {}
