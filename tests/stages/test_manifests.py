"""Manifests: which objects there are in a text, and what is said of one that is none."""

import re

import pytest

from stages.manifests import MOST_OBJECTS, job_of, objects_of

LIMITS = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: limits}\ndata: {most: '5'}\n"
WORKERS = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: workers, namespace: queue}\n"
JOB = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: fill}\nspec: {template: {}}\n"


def titles(text: str) -> list[str]:
    return [one.title for one in objects_of(text)]


def test_a_manifest_has_one_object_for_each_document_in_their_order() -> None:
    assert titles(f"{WORKERS}---\n{LIMITS}") == ["deployment/workers", "configmap/limits"]


def test_an_object_says_what_it_is_and_where_unless_it_leaves_that_to_the_plan() -> None:
    workers, limits = objects_of(f"{WORKERS}---\n{LIMITS}")
    assert (workers.api_version, workers.kind, workers.name, workers.namespace) == (
        "apps/v1",
        "Deployment",
        "workers",
        "queue",
    )
    assert limits.namespace is None
    assert limits.content["data"] == {"most": "5"}


@pytest.mark.parametrize(
    "text",
    (
        f"---\n{LIMITS}",
        f"# how much there may be\n---\n{LIMITS}---\n",
        f"--- # from a chart\n{LIMITS}\n---\n# nothing else\n",
        f"%YAML 1.1\n---\n{LIMITS}...\n",
        f"\ufeff{LIMITS}",
        '--- {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "limits"}}\n',
        "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: ConfigMap, metadata: {name: limits}}]\n",
    ),
)
def test_separators_comments_and_lists_are_no_objects(text: str) -> None:
    assert titles(text) == ["configmap/limits"]


def test_a_line_of_dashes_inside_a_text_separates_nothing() -> None:
    (one,) = objects_of(LIMITS.replace("{most: '5'}", "\n  head: |\n    ---\n    a: b"))
    assert one.content["data"] == {"head": "---\na: b\n"}


@pytest.mark.parametrize(
    ("written", "meant"),
    (
        ("0644", 420),
        ("0o644", 420),
        ("'0644'", "0644"),
        ("-012", -10),
        ("089", 89),
        ("0", 0),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0.5e3", 500),
        ("0.5", 0.5),
        ("12:30:10", "12:30:10"),
        ("yes", True),
        ("OFF", False),
        ("'on'", "on"),
        ("2024-01-01", "2024-01-01"),
    ),
)
def test_values_mean_what_kubectl_takes_them_to_mean(written: str, meant: object) -> None:
    (one,) = objects_of(f"{LIMITS}x: {written}\n")
    assert one.content["x"] == meant
    assert type(one.content["x"]) is type(meant)


@pytest.mark.parametrize(
    ("text", "sentence"),
    (
        ("", "there is no object in it; write one, or take the file out of the plan"),
        ("# nothing\n---\n", "there is no object in it; write one, or take the file out of the plan"),
        ("just words", "object 1 is no mapping with apiVersion, kind and metadata"),
        (f"{LIMITS}---\n[]\n", "object 2 is no mapping with apiVersion, kind and metadata"),
        ("kind: ConfigMap\n", "object 1: a text is expected as apiVersion"),
        ("apiVersion: 1\nkind: ConfigMap\n", "object 1: a text is expected as apiVersion"),
        ("apiVersion: v1\nkind: ConfigMap\n", "object 1 (ConfigMap) has no metadata.name"),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: a-}\n",
            "object 1 (ConfigMap), metadata: a text is expected as name",
        ),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: 5}\n",
            "object 1 (ConfigMap): its metadata.namespace is no text",
        ),
        (f"{LIMITS}---\na: [\n", "line 7: "),
        (f"{LIMITS}---\na: 1\na: 2\n", "line 7: the key 'a' is already on line 6"),
        (f"{LIMITS}---\n{LIMITS}", "object 2 is configmap/limits once more, after object 1"),
        (
            "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n",
            (
                "object 1 (Secret): what is secret would stand in the plan and in the journal of its runs; "
                "bring it into the cluster by other means"
            ),
        ),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, resourceVersion: '5'}\n",
            "object 1 (ConfigMap): metadata.resourceVersion is of one object in one cluster; leave it out",
        ),
        (
            "---\n".join(LIMITS.replace("limits", f"limits-{index}") for index in range(MOST_OBJECTS + 1)),
            f"it has {MOST_OBJECTS + 1} objects, and {MOST_OBJECTS} are the most; split it",
        ),
    ),
)
def test_what_is_no_manifest_is_told_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}"):
        objects_of(text)


def test_one_name_in_two_namespaces_or_of_two_groups_is_two_objects() -> None:
    elsewhere = LIMITS.replace("{name: limits}", "{name: limits, namespace: b}")
    assert len(objects_of(f"{LIMITS}---\n{elsewhere}")) == 2
    assert len(objects_of(f"{LIMITS}---\n{LIMITS.replace('v1', 'example.org/v1', 1)}")) == 2


def test_a_job_stands_alone_in_its_manifest() -> None:
    assert job_of(JOB).title == "job/fill"
    with pytest.raises(ValueError, match="one Job of batch/v1 is expected, and there is batch/v1 Job, v1 ConfigMap"):
        job_of(f"{JOB}---\n{LIMITS}")
    with pytest.raises(ValueError, match="one Job of batch/v1 is expected, and there is v1 ConfigMap"):
        job_of(LIMITS)
