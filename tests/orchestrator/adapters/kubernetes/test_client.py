"""How clusters are found and spoken to: kubeconfigs, credentials that change, answers that are none."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from orchestrator.adapters.kubernetes import client as clients
from orchestrator.adapters.kubernetes.client import Clusters
from orchestrator.adapters.kubernetes.errors import Gone, Unauthenticated
from orchestrator.errors import Permanent, Temporary
from stages.cluster import Kubernetes
from tests.support.http_server import Behaviour, Received, ScriptedServer, answer, answer_json, dead_url, say_nonsense
from tests.support.process import ROOT

POD = "/api/v1/namespaces/shop/pods/web"


class World:
    """A kubeconfig in a file, and an API server that is scripted."""

    def __init__(self, folder: Path, server: ScriptedServer) -> None:
        self.server = server
        self.path = folder / "kubeconfig"
        self.clusters = Clusters(str(self.path))

    def write(self, user: dict[str, Any] | None = None, url: str | None = None, current: str | None = "test") -> None:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": url or self.server.url}}],
            "users": [{"name": "u", "user": user or {"token": "first"}}],
            "contexts": [
                {"name": "test", "context": {"cluster": "c", "user": "u", "namespace": "shop"}},
                {"name": "prod", "context": {"cluster": "c", "user": "u"}},
            ],
            **({"current-context": current} if current else {}),
        }
        self.path.write_text(json.dumps(config))

    def accept_only(self, token: str) -> None:
        refused = answer_json({"kind": "Status", "message": "Unauthorized", "code": 401}, 401)
        welcome = answer_json({"kind": "Pod"})

        async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
            is_known = received.headers.get("authorization") == f"Bearer {token}"
            await (welcome if is_known else refused)(received, writer)

        self.server.behave(behave)

    async def get(self, place: Kubernetes | None = None) -> dict[str, Any]:
        return await (await self.clusters.open(place or Kubernetes())).get(POD)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with ScriptedServer() as server:
        made = World(tmp_path, server)
        made.write()
        yield made
        await made.clusters.close()


# --- where a cluster is -----------------------------------------------------------------------------------------------


async def test_a_namespace_is_the_plans_or_the_contexts_or_the_usual_one(world: World) -> None:
    places = (Kubernetes(), Kubernetes(context="prod"), Kubernetes(context="prod", namespace="own"))
    assert [(await world.clusters.open(place)).namespace for place in places] == ["shop", "default", "own"]


async def test_an_unknown_context_is_named_with_those_that_there_are(world: World) -> None:
    with pytest.raises(Permanent, match=r"has no context staging; it has prod, test$"):
        await world.clusters.open(Kubernetes(context="staging"))


async def test_without_a_current_context_one_must_be_named(world: World) -> None:
    world.write(current=None)
    with pytest.raises(Permanent, match="has no current context; name one of its contexts: prod, test"):
        await world.clusters.open(Kubernetes())


async def test_a_run_stays_in_the_context_it_began_in(world: World) -> None:
    assert (await world.clusters.open(Kubernetes(), "run-1")).title == "Kubernetes (test)"
    world.write(current="prod")
    assert (await world.clusters.open(Kubernetes(), "run-1")).title == "Kubernetes (test)"
    assert (await world.clusters.open(Kubernetes(), "run-2")).title == "Kubernetes (prod)"


async def test_a_kubeconfig_that_cannot_be_read_may_be_right_later(world: World) -> None:
    world.path.write_text("contexts: [")
    with pytest.raises(Temporary, match=r"kubeconfig can't be read"):
        await world.clusters.open(Kubernetes())
    world.write()
    assert (await world.clusters.open(Kubernetes())).namespace == "shop"


async def test_without_a_kubeconfig_it_is_said_where_one_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(Permanent, match=rf"there is no kubeconfig at {tmp_path}/.kube/config; set KUBECONFIG"):
        await Clusters().open(Kubernetes())


async def test_several_files_are_read_as_kubectl_reads_them(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    extra = {"contexts": [{"name": "edge", "context": {"cluster": "c", "namespace": "far"}}]}
    other.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", **extra}))
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join([str(world.path), str(other), str(tmp_path / "missing")]))
    clusters = Clusters()
    assert (await clusters.open(Kubernetes(context="edge"))).namespace == "far"
    assert (await clusters.open(Kubernetes())).title == "Kubernetes (test)"


async def test_a_pod_uses_its_own_service_account(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setattr(clients, "_ACCOUNT", tmp_path)
    (tmp_path / "namespace").write_text("ops\n")
    clusters = Clusters()
    cluster = await clusters.open(Kubernetes())
    assert (cluster.namespace, cluster.title) == ("ops", "Kubernetes (the controller's own)")
    with pytest.raises(Permanent, match="has no context prod; leave the context out, or give it a kubeconfig"):
        await clusters.open(Kubernetes(context="prod"))


# --- credentials ------------------------------------------------------------------------------------------------------


async def test_the_token_of_a_file_is_read_anew_when_it_is_refused(world: World, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("old")
    world.write({"tokenFile": str(tmp_path / "token")})
    world.accept_only("old")
    await world.get()
    (tmp_path / "token").write_text("new")
    world.accept_only("new")

    assert await world.get() == {"kind": "Pod"}


async def test_credentials_that_nobody_accepts_are_asked_for_anew_once_a_call(world: World) -> None:
    world.accept_only("another")
    with pytest.raises(Unauthenticated, match=r"does not accept the credentials .* log in again"):
        await world.get()
    assert len(world.server.requests) == 2


def plugin(tmp_path: Path, script: str, **more: object) -> dict[str, Any]:
    """A user whose credentials a program gives."""
    program = tmp_path / "login.py"
    program.write_text(
        f"#!{sys.executable}\nimport json, os, pathlib, sys\nhere = pathlib.Path(__file__).parent\n{script}"
    )
    program.chmod(0o700)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./login.py", **more}}


COUNTING = """
count = here / "count"
runs = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(runs))
info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
assert info["spec"]["interactive"] is False
status = {"token": f"token-{runs}"}
print(json.dumps({"apiVersion": info["apiVersion"], "kind": "ExecCredential", "status": status}))
"""


async def test_a_plugin_is_asked_again_only_when_its_token_is_refused(world: World, tmp_path: Path) -> None:
    world.write(plugin(tmp_path, COUNTING))
    world.accept_only("token-1")
    await world.get()
    await world.get()
    world.accept_only("token-2")

    await asyncio.gather(*(world.get() for _ in range(5)))

    assert (tmp_path / "count").read_text() == "2"


@pytest.mark.parametrize(
    ("script", "words"),
    (
        ("sys.exit('the session is over; run: cloud login')", "ended with 1: the session is over; run: cloud login"),
        ("print('hello')", "printed no ExecCredential with a status"),
        ("print(json.dumps({'apiVersion': 'v9', 'status': {}}))", "speaks v9, and its kubeconfig says client.auth"),
        (
            "print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', 'status': {}}))",
            "gave neither a token nor a certificate with its key",
        ),
    ),
)
async def test_a_plugin_that_fails_is_named_with_its_own_words(
    world: World, tmp_path: Path, script: str, words: str
) -> None:
    world.write(plugin(tmp_path, script))
    with pytest.raises(Unauthenticated, match=r"Kubernetes \(test\): the plugin \./login\.py") as raised:
        await world.get()
    assert words in str(raised.value)
    assert world.server.requests == []


async def test_a_plugin_that_is_not_there_says_how_to_get_it(world: World) -> None:
    world.write({"exec": {"command": "no-such-login", "installHint": "install it from the intranet"}})
    with pytest.raises(Unauthenticated, match=r"can't be started: No such file or directory; install it from the"):
        await world.get()


async def test_a_plugin_that_asks_a_person_is_not_waited_for(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.adapters.kubernetes.session.LOGIN_SECONDS", 0.5)
    hanging = "(here / 'pid').write_text(str(os.getpid()))\nimport time; time.sleep(600)"
    world.write(plugin(tmp_path, hanging))
    with pytest.raises(Unauthenticated, match=r"were not there after 0\.5 s"):
        await world.get()
    assert not _runs(tmp_path / "pid")


def _runs(pid: Path) -> bool:
    """Whether the process whose number is in a file still runs; it may have ended before it wrote that."""
    return pid.exists() and Path("/proc", pid.read_text()).exists()


async def test_what_is_wrong_in_a_kubeconfig_is_said_when_it_is_used(world: World) -> None:
    config = json.loads(world.path.read_text())
    config["clusters"] = []
    world.path.write_text(json.dumps(config))
    with pytest.raises(Unauthenticated, match=r"its credentials can't be had: .*clusters"):
        await world.get()


async def test_a_server_that_moved_is_found_once_the_kubeconfig_says_so(world: World) -> None:
    world.server.behave(answer_json({"kind": "Pod"}))
    world.write(url=dead_url())
    with pytest.raises(Temporary, match=r"Kubernetes \(test\) can't be reached: Connection refused"):
        await world.get()
    world.write()
    assert await world.get() == {"kind": "Pod"}


async def test_a_kubeconfig_that_several_ask_for_at_once_is_read_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reading closes the connections before it, also those that another one has just begun to use."""
    world.write()
    module = clients._session_module()
    contexts_of = Mock(side_effect=module.contexts_of)
    monkeypatch.setattr(module, "contexts_of", contexts_of)
    await asyncio.gather(*(world.clusters.open(Kubernetes()) for _ in range(3)))
    contexts_of.assert_called_once()


async def test_a_password_that_is_kept_for_other_servers_is_not_shown(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password hidden\n")
    monkeypatch.setenv("NETRC", str(netrc))
    world.accept_only("first")

    assert await world.get() == {"kind": "Pod"}


async def test_a_proxy_of_the_environment_is_used_as_kubectl_uses_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", world.server.url)
    monkeypatch.setenv("no_proxy", "near.invalid")
    world.server.behave(answer_json({"kind": "Pod"}))
    world.write(url="http://far.invalid:6443")

    assert await world.get() == {"kind": "Pod"}

    assert world.server.requests[0].target == f"http://far.invalid:6443{POD}"
    world.write(url="http://near.invalid:6443")
    with pytest.raises(Temporary, match="can't be reached"):
        await world.get()


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "words"),
    (
        (answer("<html>", headers={"Content-Type": "text/html"}), "answered with what is no JSON"),
        (answer_json([1]), "answered with JSON that is no object"),
        (answer("{}", length=10), "can't be reached"),
        (say_nonsense, "can't be reached"),
        (answer("<html>", status=502), "HTTP status 502"),
    ),
)
async def test_what_is_no_answer_of_an_api_server_may_be_one_later(
    world: World, behaviour: Behaviour, words: str
) -> None:
    world.server.behave(behaviour)
    with pytest.raises(Temporary, match=words):
        await world.get()


async def test_no_token_is_in_what_is_said(world: World) -> None:
    world.write({"token": "s3cr3t-token"})
    world.server.behave(say_nonsense)
    with pytest.raises(Temporary) as raised:
        await world.get()
    assert "s3cr3t" not in str(raised.value)


async def test_what_is_written_is_ours_by_name(world: World) -> None:
    world.server.behave(answer_json({"kind": "Pod"}))
    cluster = await world.clusters.open(Kubernetes())
    await cluster.send("PATCH", POD, {"a": 1}, clients.MERGE_PATCH)
    await cluster.send("DELETE", POD, {"preconditions": {"uid": "1"}})

    patch, delete = world.server.requests
    assert patch.parameters == {"fieldManager": "stagedrollout.io"}
    assert patch.headers["content-type"] == "application/merge-patch+json"
    assert patch.headers["user-agent"] == "staged-rollout"
    assert json.loads(patch.body) == {"a": 1}
    assert delete.parameters == {}
    assert json.loads(delete.body) == {"preconditions": {"uid": "1"}}


async def test_a_watch_gives_events_until_the_server_ends_it(world: World) -> None:
    events = [{"type": "ADDED", "object": {"n": 1}}, {"type": "BOOKMARK", "object": {}}]
    world.server.behave(answer("".join(json.dumps(event) + "\n" for event in events)))
    cluster = await world.clusters.open(Kubernetes())
    assert [event async for event in cluster.watch("/api/v1/pods", "7", labelSelector="a=b")] == events
    (asked,) = world.server.requests
    assert asked.parameters == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "7",
        "labelSelector": "a=b",
    }


async def test_a_watch_of_what_is_too_old_says_so(world: World) -> None:
    status = {"kind": "Status", "code": 410, "message": "too old resource version"}
    world.server.behave(answer(json.dumps({"type": "ERROR", "object": status}) + "\n"))
    cluster = await world.clusters.open(Kubernetes())
    with pytest.raises(Gone, match="too old resource version"):
        _ = [event async for event in cluster.watch("/api/v1/pods", "7")]


async def test_kinds_are_looked_up_once(world: World) -> None:
    listed = {
        "resources": [
            {"name": "deployments", "kind": "Deployment", "namespaced": True},
            {"name": "deployments/scale", "kind": "Scale", "namespaced": True},
        ]
    }
    world.server.behave(answer_json(listed))
    cluster = await world.clusters.open(Kubernetes())
    found = await cluster.resource("apps/v1", "Deployment")
    await cluster.resource("apps/v1", "Deployment")
    assert found.object("shop", "a b") == "/apis/apps/v1/namespaces/shop/deployments/a%20b"
    assert len(world.server.requests) == 1
    with pytest.raises(Permanent, match="has no kind Scale of apps/v1"):
        await cluster.resource("apps/v1", "Scale")


def test_the_library_is_not_imported_before_a_cluster_is_opened() -> None:
    asked = "import sys, orchestrator.adapters.kubernetes.performer; print('kubernetes' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
