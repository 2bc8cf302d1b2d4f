"""A real control plane of Kubernetes for tests: etcd, API server, controller manager, scheduler, and one node whose
kubelet is kwok, which runs nothing and says that everything runs (the words that make it say otherwise are in
`kwok/pods.yaml` and `kwok/jobs.yaml`).

The programs are those of `.ci/provide/kubernetes`. Everything listens on loopback or on a Unix socket in a folder of
its own, and RBAC holds for everybody but admin. `python -m tests.support.cluster` starts one for a person.
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from tests.support.ports import free_port
from tests.support.process import ROOT, Child, Result, wait_until

PROVIDER = ROOT / ".ci" / "provide" / "kubernetes"
STAGES = Path(__file__).with_name("kwok")
CRDS = Path(__file__).with_name("crds")
"""Definitions whose modules can't be had everywhere."""
START_DEADLINE_SECONDS = 120.0
COMMAND_DEADLINE_SECONDS = 90.0
NODE = "node-1"
USERS: dict[str, tuple[str, ...]] = {
    "admin": ("system:masters",),
    "controller": (),
    "alice": ("developers",),
    "bob": ("developers",),
    "viewer": ("viewers",),
}
CONTAINER_LOG = ("begun", "half of it done", "ended")
"""What `kubectl logs` shows of any container, but for that of a command."""
COMMAND_LOG = ("42",)
PARTS = ("system:kube-controller-manager", "system:kube-scheduler", "kwok")
BY_ADMIN = (
    {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": {"kubernetes.io/hostname": NODE}}},
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "viewers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "viewers"}],
    },
)


DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_GET = argparse.ArgumentParser("get")
_GET.add_argument("what", nargs="+")
_GET.add_argument("--namespace")
_GET.add_argument("--selector")


def _prefixes(root: str, group: Any) -> Iterator[tuple[str, tuple[str, str, bool]]]:
    """Names of a group's kinds, in its preferred version: where they are, their plural, whether in a namespace."""
    named, version = group["metadata"].get("name", ""), group["versions"][0]
    prefix = "/".join(filter(None, (root, named, version["version"])))
    for one in version["resources"]:
        plural = one["resource"]
        names = (plural, f"{plural}.{named}", one.get("singularResource"), *one.get("shortNames", ()))
        place = (prefix, plural, one["scope"] == "Namespaced")
        yield from ((word, place) for word in names if word)


class Cluster:
    """A control plane as its clients see it. All of it is in its folder, so every process that knows the folder may be
    a client.
    """

    def __init__(self, folder: Path, programs: Path, port: int) -> None:
        self.folder = folder
        self.programs = programs
        self.port = port
        self.url = f"https://127.0.0.1:{port}"
        self.authority = folder / "certificates" / "apiserver.crt"
        """The file of the certificate authority."""
        self.audit_log = folder / "audit.log"
        """One JSON object a line for each request: who, what, and whether it was allowed and why."""
        self._prefixes: dict[str, tuple[str, str, bool]] = {}

    @property
    def kubeconfig(self) -> Path:
        return self.kubeconfig_of("admin")

    def kubeconfig_of(self, user: str) -> Path:
        """The kubeconfig of one of USERS; its context is called `test`."""
        return self.folder / f"{user}.kubeconfig"

    def token(self, user: str) -> str:
        """The bearer token of one of USERS."""
        for line in (self.folder / "tokens.csv").read_text().splitlines():
            token, name, _ = line.split(",", 2)
            if name == user:
                return token
        raise KeyError(user)

    def service_account_token(self, namespace: str, name: str) -> str:
        """A token as a pod of this service account gets it; good for an hour."""
        return self.kubectl("create", "token", name, "--namespace", namespace).strip()

    def kubectl(self, *arguments: str | Path, user: str = "admin", given: str | None = None) -> str:
        """What kubectl prints, with *given* on its standard input; AssertionError if it fails."""
        result = self.try_kubectl(*arguments, user=user, given=given)
        assert result.code == 0, f"kubectl {arguments} ended with {result.code}: {result.errors or result.output}"
        return result.output

    def try_kubectl(self, *arguments: str | Path, user: str = "admin", given: str | None = None) -> Result:
        """A kubectl to its end, whatever its exit code."""
        done = subprocess.run(
            [self.programs / "kubectl", "--cache-dir", self.folder / "kubectl-cache", *arguments],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig_of(user)), "KUBERC": "off"},
            input=given or "",
            capture_output=True,
            text=True,
            timeout=COMMAND_DEADLINE_SECONDS,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def request(self, method: str, path: str, body: object = None, *, user: str = "admin") -> Any:
        """One request, without the tenth of a second that a kubectl takes to start; urllib.error.HTTPError if it is
        refused."""
        headers = {"Authorization": f"Bearer {self.token(user)}", "Content-Type": "application/json"}
        if path in {"/apis", "/api"}:
            headers["Accept"] = DISCOVERY
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, content, headers, method=method)
        deadline = time.monotonic() + COMMAND_DEADLINE_SECONDS
        while True:
            try:
                with urllib.request.urlopen(request, timeout=COMMAND_DEADLINE_SECONDS, context=self._trust) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as refused:
                if refused.code != HTTPStatus.TOO_MANY_REQUESTS or time.monotonic() > deadline:
                    raise
                # the storage of a definition is made when it is first asked for; kubectl comes again too
                time.sleep(float(refused.headers.get("Retry-After") or 1.0))

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority))

    def get(self, *arguments: str, user: str = "admin") -> Any:
        """What `kubectl get ... --output json` says of one object or one kind, with `--namespace` and `--selector`."""
        asked = _GET.parse_args(arguments)
        kind, _, name = "/".join(asked.what).partition("/")
        path = self._path_of(kind.lower(), asked.namespace) + (f"/{name}" if name else "")
        query = f"?labelSelector={quote(asked.selector)}" if asked.selector else ""
        return self.request("GET", path + query, user=user)

    def _path_of(self, kind: str, namespace: str | None) -> str:
        """*kind* as kubectl takes it, in the version that the API server prefers."""
        # a definition that was just established is not known at once
        wait_until(partial(self._knows, kind), what=f"the API server to have {kind}", every_seconds=0.2)
        prefix, plural, is_namespaced = self._prefixes[kind]
        return f"{prefix}/namespaces/{namespace or 'default'}/{plural}" if is_namespaced else f"{prefix}/{plural}"

    def _knows(self, kind: str) -> bool:
        if kind not in self._prefixes:
            for root in ("/apis", "/api"):  # of two of one name kubectl takes that of the core
                for group in self.request("GET", root)["items"]:
                    self._prefixes.update(_prefixes(root, group))
        return kind in self._prefixes

    def apply(self, *manifests: object, user: str = "admin") -> None:
        """`kubectl apply` of objects, as they would stand in YAML, with strict validation."""
        items = {"apiVersion": "v1", "kind": "List", "items": manifests}
        self.kubectl("apply", "--validate=strict", "--filename", "-", user=user, given=json.dumps(items))

    def apply_crds(self, *names: str) -> None:
        """Custom resource definitions of others by plural and group, such as `scaledobjects.keda.sh`, ready to use."""
        for name in names:
            plural, group = name.split(".", 1)
            file = f"{group}_{plural}.yaml"
            ours, theirs = CRDS / file, self.programs / "crds" / file
            # too large for the annotation that a client-side apply leaves
            self.kubectl("apply", "--server-side", "--filename", ours if ours.exists() else theirs)
            self.wait_established(name)

    def wait_established(self, name: str) -> None:
        """Until objects of the definition may be made."""
        wait_until(partial(self._is_established, name), what=f"the definition {name} to be established")

    def _is_established(self, name: str) -> bool:
        """kubectl fails at once, rather than wait, while the definition has no conditions yet."""
        wait = self.try_kubectl("wait", "--for", "condition=Established", f"crd/{name}", "--timeout", "1s")
        return wait.code == 0

    @contextmanager
    def namespace(self) -> Iterator[str]:
        """A new namespace in which pods may be made. It is deleted afterwards, and nobody waits for that."""
        name = f"test-{secrets.token_hex(4)}"
        self.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        try:
            # without it the API server refuses pods
            wait_until(partial(self._has_service_account, name), what=f"the service account of {name}")
            yield name
        finally:
            self.request("DELETE", f"/api/v1/namespaces/{name}")

    def _has_service_account(self, namespace: str) -> bool:
        try:
            self.request("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts/default")
        except urllib.error.HTTPError as refused:
            if refused.code != HTTPStatus.NOT_FOUND:
                raise
            return False
        return True


class ControlPlane(Cluster):
    """The processes of one. They keep their port, and the API server its objects, over `stop_apiserver` and
    `start_apiserver`.
    """

    def __init__(self, programs: Path) -> None:
        super().__init__(Path(tempfile.mkdtemp(prefix="rollout-cluster-")), programs, free_port())
        self._kubelet_port = free_port()
        self._write_files()
        self._etcd = self._child("etcd", *self._etcd_flags())
        self._apiserver = self._child("kube-apiserver", *self._apiserver_flags())
        self._clients = [
            self._child(
                "kube-controller-manager",
                *self._client_flags("system:kube-controller-manager"),
                f"--root-ca-file={self.authority}",
                "--node-monitor-grace-period=60s",
            ),
            self._child("kube-scheduler", *self._client_flags("system:kube-scheduler")),
            self._child("kwok", *self._kwok_flags()),
        ]

    @property
    def parts(self) -> dict[str, int]:
        """The process id of each program that runs."""
        return {Path(child.command[0]).name: child.pid for child in self._children if child.running}

    def start(self) -> Self:
        self._etcd.start()
        self.start_apiserver()
        return self

    def stop(self) -> None:
        """Kills all of it and removes its folder: nobody needs what was in it."""
        for child in reversed(self._children):
            child.kill()
        shutil.rmtree(self.folder)

    def stop_apiserver(self) -> None:
        """Ends it as an administrator does."""
        self._apiserver.stop(deadline_seconds=START_DEADLINE_SECONDS)

    def kill_apiserver(self) -> None:
        self._apiserver.kill()

    def start_apiserver(self) -> None:
        """The other parts are started too, or again: by themselves they would wait up to a minute before they look for
        it again.
        """
        self._apiserver.start()
        self._wait(self._is_ready, "the API server to be ready")
        self.apply(*BY_ADMIN)
        for child in self._clients:
            child.kill()
            child.start()
        self._wait(self._works, "the node to be ready and service accounts to be made")

    def restart_apiserver(self) -> None:
        self.stop_apiserver()
        self.start_apiserver()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _children(self) -> list[Child]:
        return [self._etcd, self._apiserver, *self._clients]

    def _child(self, program: str, *flags: str) -> Child:
        return Child([self.programs / program, *flags], self.folder)

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        """AssertionError with the last lines of the log of the part that ended, or of each if nothing comes of it."""
        started = [child for child in self._children if child.exit_code is not None or child.running]

        def met() -> bool:
            for child in started:
                assert child.running, f"{child.command[0]} ended with code {child.exit_code}"
            return condition()

        try:
            wait_until(met, what=what, deadline_seconds=START_DEADLINE_SECONDS, every_seconds=0.1)
        except AssertionError as error:
            ended = [child for child in started if not child.running]
            raise AssertionError("\n".join([str(error), *map(_tail, ended or started)])) from None

    def _is_ready(self) -> bool:
        if not self.authority.exists():
            return False
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5, context=self._trust) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False

    def _works(self) -> bool:
        node = self.try_kubectl("wait", "--for", "condition=Ready", f"node/{NODE}", "--timeout", "1s")
        account = self.try_kubectl("get", "serviceaccount/default", "--namespace", "default")
        return node.code == account.code == 0

    def _write_files(self) -> None:
        users = USERS | dict.fromkeys(PARTS, ("system:masters",))
        tokens = {user: secrets.token_hex(16) for user in users}
        rows = [f'{tokens[user]},{user},{user},"{",".join(groups)}"\n' for user, groups in users.items()]
        self._write("tokens.csv", "".join(rows))
        for user, token in tokens.items():
            self._write(f"{user}.kubeconfig", json.dumps(self._kubeconfig(user, token), indent=2))
        policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"]}
        self._write("audit-policy.json", json.dumps(policy | {"rules": [{"level": "Metadata"}]}))
        logs = {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "ClusterLogs", "metadata": {"name": "all"}}
        command = {"containers": ["command"], "logsFile": self._log("command.log", COMMAND_LOG)}
        spec = {"logs": [command, {"logsFile": self._log("container.log", CONTAINER_LOG)}]}
        self._write("kwok-logs.json", json.dumps(logs | {"spec": spec}))

    def _log(self, name: str, said: Sequence[str]) -> str:
        """The path of a log as container runtimes write them."""
        lines = [f"2026-01-01T00:00:0{second}Z stdout F {line}\n" for second, line in enumerate(said)]
        self._write(name, "".join(lines))
        return str(self.folder / name)

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def _kubeconfig(self, user: str, token: str) -> dict[str, object]:
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "test", "cluster": {"server": self.url, "certificate-authority": str(self.authority)}}
            ],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "current-context": "test",
        }

    def _etcd_flags(self) -> list[str]:
        nobody = "http://127.0.0.1:0"  # it refuses to tell other members, which it has none of, the path of a socket
        return [
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls=unix://{self.folder / 'etcd.sock'}",
            f"--listen-peer-urls=unix://{self.folder / 'etcd-peers.sock'}",
            f"--advertise-client-urls={nobody}",
            f"--initial-advertise-peer-urls={nobody}",
            f"--initial-cluster=default={nobody}",
            "--unsafe-no-fsync",  # nobody pulls the plug in a test
            "--log-level=warn",
        ]

    def _apiserver_flags(self) -> list[str]:
        # it makes this at its first start, before it looks for the key of service accounts
        key = self.authority.with_suffix(".key")
        return [
            f"--etcd-servers=unix://{self.folder / 'etcd.sock'}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",  # a loopback address is not allowed as an endpoint
            f"--secure-port={self.port}",
            f"--cert-dir={self.authority.parent}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/24",
            f"--audit-policy-file={self.folder / 'audit-policy.json'}",
            f"--audit-log-path={self.audit_log}",
            "--shutdown-watch-termination-grace-period=2s",  # else its end takes a minute
            "--kubelet-preferred-address-types=InternalIP",
        ]

    def _client_flags(self, user: str) -> list[str]:
        return [f"--kubeconfig={self.kubeconfig_of(user)}", "--leader-elect=false", "--secure-port=0"]

    def _kwok_flags(self) -> list[str]:
        files = [*sorted(STAGES.glob("*.yaml")), self.folder / "kwok-logs.json"]
        return [
            f"--kubeconfig={self.kubeconfig_of('kwok')}",
            *(f"--config={path}" for path in files),
            "--node-ip=127.0.0.1",
            f"--node-port={self._kubelet_port}",
            f"--server-address=127.0.0.1:{self._kubelet_port}",
            "--manage-all-nodes",
            "--node-lease-duration-seconds=40",  # without it the node is lost after a minute
        ]


def is_built() -> bool:
    return subprocess.run([sys.executable, PROVIDER, "--no-build"], capture_output=True, check=False).returncode == 0


def provide_programs(*, show_progress: bool = False) -> Path:
    """The folder of the programs, built the first time; RuntimeError with the reason where they can't be had."""
    progress = None if show_progress else subprocess.PIPE
    done = subprocess.run([sys.executable, PROVIDER], stdout=subprocess.PIPE, stderr=progress, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError((done.stderr or "no control plane of Kubernetes").strip().splitlines()[-1])
    return Path(done.stdout.strip().splitlines()[-1])


def _tail(child: Child) -> str:
    lines = (child.errors + child.output).splitlines()[-15:]
    return "\n".join([f"--- {Path(child.command[0]).name}, last lines of its log:", *lines])


def main() -> None:
    """Runs one in the foreground until it is interrupted."""
    try:
        programs = provide_programs(show_progress=True)
    except RuntimeError:
        sys.exit(1)  # the reason was shown
    interrupted = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: interrupted.set())
    print("cluster: starting", file=sys.stderr, flush=True)
    with ControlPlane(programs) as plane:
        running = plane.parts
        print(f"export KUBECONFIG={plane.kubeconfig}")
        print(f"export PATH={programs}:$PATH", flush=True)
        for name, pid in running.items():
            print(f"cluster: {name} runs, process {pid}", file=sys.stderr)
        print(
            f"cluster: {plane.url}, one node, audit log {plane.audit_log}; kubeconfigs of {', '.join(USERS)} beside the"
            " first. Ctrl-C ends it and removes all of it.",
            file=sys.stderr,
            flush=True,
        )
        while not interrupted.wait(1):
            if ended := running.keys() - plane.parts.keys():
                print(f"cluster: {', '.join(sorted(ended))} ended by itself", file=sys.stderr)
                sys.exit(1)


if __name__ == "__main__":
    main()
