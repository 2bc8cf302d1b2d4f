"""Secrets of Kubernetes that plans refer to: read by name, followed, never listed."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from orchestrator.adapters.kubernetes.client import Clusters
from orchestrator.adapters.kubernetes.secrets import ClusterSecrets
from orchestrator.adapters.secrets import Secrets
from orchestrator.errors import Permanent, RolloutError, Temporary
from stages.cluster import Kubernetes
from stages.values import SecretRef
from tests.support.cluster import Cluster, ControlPlane

PASSWORD = SecretRef(secret="database/password")


@pytest.fixture
async def secrets(control_plane: Cluster, cluster_namespace: str) -> AsyncIterator[Secrets]:
    clusters = Clusters(str(control_plane.kubeconfig))
    keeper = ClusterSecrets(clusters, Kubernetes(namespace=cluster_namespace))
    yield Secrets(cluster=keeper)
    await keeper.close()
    await clusters.close()


def create(cluster: Cluster, namespace: str, **values: str) -> None:
    literals = [f"--from-literal={key}={value}" for key, value in values.items()]
    cluster.kubectl("create", "secret", "generic", "database", "--namespace", namespace, *literals)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - nobody tells when a watch has heard of it
            await asyncio.sleep(0.05)


def failure(secrets: Secrets, reference: SecretRef = PASSWORD) -> RolloutError | None:
    try:
        secrets.resolve(reference)
    except RolloutError as error:
        return error
    return None


async def test_a_secret_is_read_by_its_name_and_never_shown(
    control_plane: Cluster, cluster_namespace: str, secrets: Secrets
) -> None:
    create(control_plane, cluster_namespace, password="correct-horse", empty="")
    await secrets.prepare([PASSWORD])
    assert secrets.resolve(PASSWORD) == "correct-horse"
    assert secrets.redactor.redact("login with correct-horse failed") == "login with *** failed"
    assert isinstance(failure(secrets, SecretRef(secret="database/empty")), Permanent)
    missing = failure(secrets, SecretRef(secret="database/user"))
    assert "has no key user; its keys are empty, password" in str(missing)


async def test_a_secret_that_changes_is_followed(
    control_plane: Cluster, cluster_namespace: str, secrets: Secrets
) -> None:
    create(control_plane, cluster_namespace, password="first-one")
    await secrets.prepare([PASSWORD])
    patch = '{"stringData": {"password": "second-one"}}'
    control_plane.kubectl("patch", "secret", "database", "--namespace", cluster_namespace, "--patch", patch)
    await until(lambda: failure(secrets) is None and secrets.resolve(PASSWORD) == "second-one")
    control_plane.kubectl("delete", "secret", "database", "--namespace", cluster_namespace)
    await until(lambda: failure(secrets) is not None)
    assert "the secret database was deleted in Kubernetes" in str(failure(secrets))
    create(control_plane, cluster_namespace, password="third-one")
    await until(lambda: failure(secrets) is None)
    assert secrets.resolve(PASSWORD) == "third-one"


async def test_a_secret_that_is_not_there_is_named_and_found_when_it_comes(
    control_plane: Cluster, cluster_namespace: str, secrets: Secrets
) -> None:
    assert isinstance(failure(secrets), Temporary)  # not asked for yet
    await secrets.prepare([PASSWORD])
    assert "there is no secret database" in str(failure(secrets))
    create(control_plane, cluster_namespace, password="came-late")
    await until(lambda: failure(secrets) is None)


async def test_only_what_is_allowed_by_name_is_needed(control_plane: Cluster, cluster_namespace: str) -> None:
    """`get` and `watch` of that one secret; who may do no more reads no other."""
    create(control_plane, cluster_namespace, password="correct-horse")
    kubectl, inside = control_plane.kubectl, ("--namespace", cluster_namespace)
    kubectl("create", "secret", "generic", "other", "--from-literal=key=hidden", *inside)
    rules = ("--verb=get,watch", "--resource=secrets", "--resource-name=database")
    kubectl("create", "role", "one-secret", *rules, *inside)
    kubectl("create", "rolebinding", "one-secret", "--role=one-secret", "--user=controller", *inside)
    clusters = Clusters(str(control_plane.kubeconfig_of("controller")))
    keeper = ClusterSecrets(clusters, Kubernetes(namespace=cluster_namespace))
    secrets = Secrets(cluster=keeper)
    try:
        await secrets.prepare([PASSWORD, SecretRef(secret="other/key")])
        assert secrets.resolve(PASSWORD) == "correct-horse"
        refused = str(failure(secrets, SecretRef(secret="other/key")))
        assert "the secret other can't be read" in refused
        assert "hidden" not in refused
        kubectl("patch", "secret", "database", *inside, "--patch", '{"stringData": {"password": "new-horse"}}')
        await until(lambda: secrets.resolve(PASSWORD) == "new-horse")
    finally:
        await keeper.close()
        await clusters.close()


async def test_while_the_cluster_is_away_the_last_known_value_holds(kubernetes_programs: "object") -> None:
    with ControlPlane(kubernetes_programs) as control_plane, control_plane.namespace() as namespace:  # type: ignore[arg-type]
        create(control_plane, namespace, password="correct-horse")
        clusters = Clusters(str(control_plane.kubeconfig))
        keeper = ClusterSecrets(clusters, Kubernetes(namespace=namespace))
        secrets = Secrets(cluster=keeper)
        try:
            await secrets.prepare([PASSWORD])
            control_plane.stop_apiserver()
            await secrets.prepare([PASSWORD, SecretRef(secret="later/key")])
            assert secrets.resolve(PASSWORD) == "correct-horse"
            assert isinstance(failure(secrets, SecretRef(secret="later/key")), Temporary)
            control_plane.start_apiserver()  # its processes end with the thread that starts them
            await until(lambda: "there is no secret later" in str(failure(secrets, SecretRef(secret="later/key"))))
            assert secrets.resolve(PASSWORD) == "correct-horse"
        finally:
            await keeper.close()
            await clusters.close()


async def test_secrets_that_nobody_has_used_for_long_make_room_and_are_read_again_when_they_are(
    control_plane: Cluster, cluster_namespace: str, secrets: Secrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.adapters.kubernetes.secrets.MOST_SECRETS", 2)
    create(control_plane, cluster_namespace, password="correct-horse")
    await secrets.prepare([PASSWORD])
    assert secrets.resolve(PASSWORD) == "correct-horse"
    await secrets.prepare([SecretRef(secret="other/key"), SecretRef(secret="third/key")])
    assert isinstance(failure(secrets), Temporary)
    await until(lambda: failure(secrets) is None)
    assert secrets.resolve(PASSWORD) == "correct-horse"
