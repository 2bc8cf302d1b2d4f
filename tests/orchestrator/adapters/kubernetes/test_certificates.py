"""Kubeconfigs with certificates: whom they trust, and what they show, over real TLS."""

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.kubernetes.client import Clusters
from orchestrator.errors import Temporary
from stages.cluster import Kubernetes
from tests.orchestrator.adapters.test_tls import TlsServer, folder, strict  # noqa: F401 - fixtures
from tests.support.http_server import answer_json

POD = "/api/v1/namespaces/shop/pods/web"


def data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def written(tmp_path: Path, server: TlsServer, cluster: dict[str, Any], user: dict[str, Any]) -> Clusters:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server.url, **cluster}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "test",
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    server.behave(answer_json({"kind": "Pod"}))
    return Clusters(str(tmp_path / "kubeconfig"))


async def get(clusters: Clusters) -> dict[str, Any]:
    try:
        return await (await clusters.open(Kubernetes())).get(POD)
    finally:
        await clusters.close()


async def test_certificates_within_a_kubeconfig_are_shown_and_leave_no_file_behind(
    tmp_path: Path,
    strict: TlsServer,  # noqa: F811
    folder: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    beside = tmp_path / "temporary"
    beside.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(beside))
    user = {"client-certificate-data": data(folder / "client.pem"), "client-key-data": data(folder / "client.key")}

    assert await get(written(tmp_path, strict, {"certificate-authority-data": data(folder / "ca.pem")}, user))

    assert list(beside.iterdir()) == []


async def test_certificates_in_files_beside_the_kubeconfig_are_shown(
    tmp_path: Path,
    strict: TlsServer,  # noqa: F811
    folder: Path,  # noqa: F811
) -> None:
    for name in ("ca.pem", "client.pem", "client.key"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    user = {"client-certificate": "client.pem", "client-key": "client.key"}

    assert await get(written(tmp_path, strict, {"certificate-authority": "ca.pem"}, user))


async def test_a_server_that_is_not_trusted_is_shown_nothing(
    tmp_path: Path,
    strict: TlsServer,  # noqa: F811
    folder: Path,  # noqa: F811
) -> None:
    clusters = written(tmp_path, strict, {"certificate-authority": str(folder / "other.pem")}, {"token": "hidden"})
    with pytest.raises(Temporary, match=r"Kubernetes \(test\) can't be reached: its certificate is not accepted"):
        await get(clusters)
    assert strict.requests == []


async def test_a_certificate_that_is_not_there_is_named(
    tmp_path: Path,
    strict: TlsServer,  # noqa: F811
) -> None:
    clusters = written(tmp_path, strict, {"certificate-authority": "gone.pem"}, {"token": "hidden"})
    with pytest.raises(Temporary, match=r"credentials can't be had: File does not exists: .*gone\.pem"):
        await get(clusters)
