"""What an operation is when a person does it: lines for a shell, beginning in the plan's folder.

Secrets stay references: a variable of the shell, a file, a secret of the cluster. What no command can do is a comment.
"""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import singledispatch

from stages.checks import Check, HttpRequest, Source
from stages.cluster import (
    ApplyManifest,
    InCluster,
    Kubernetes,
    RestartWorkload,
    RunJob,
    ScaleWorkload,
    SetImage,
    SetVersion,
    VersionArm,
)
from stages.effects import AnyOperation, CallHttp, RunAlembic, RunBackfill, RunCommand, RunSql, SetFlag
from stages.flag_spec import percentage_of
from stages.flag_systems import FlagPlace, UnleashSystem
from stages.values import Json, SecretRef, TextOrSecret

FIELD_MANAGER = "stagedrollout.io"


@singledispatch
def lines(operation: AnyOperation) -> list[str]:
    raise AssertionError(f"{type(operation).__name__} has no words for a person")


# --- flags ------------------------------------------------------------------------------------------------------------


@lines.register
def _(operation: SetFlag) -> list[str]:
    """Of our own store. Those of other systems are where *place* says, see ``flag_elsewhere``."""
    value = operation.value
    words = ["rollout", "flag", "--environment", operation.environment, "set", operation.key]
    words += ["--state", str(value["state"]), "--percentage", f"{float(value['percentage']):g}"]
    for name, entry in sorted((value.get("parameters") or {}).items()):
        words += ["--parameter", f"{name}={json.dumps(entry)}"]
    for name, entries in sorted((value.get("targets") or {}).items()):
        words += ["--target", f"{name}={','.join(entries)}"]
    if value.get("profile"):
        words += ["--profile", str(value["profile"])]
    return [shlex.join([*words, "--reason", "taken back by hand"])]


def flag_elsewhere(place: FlagPlace, key: str, value: Mapping[str, Json]) -> list[str]:
    """In a system that a team already has."""
    level = f"{percentage_of(value):g} %"
    system = place.system
    if isinstance(system, UnleashSystem):
        where = f"project {system.project}, environment {system.environment}, at {system.url}"
        return [f"# in Unleash ({where}): feature {key} to {value['state']}, {level}"]
    if system.object is None:
        return [f"# in {system.file}: flag {key} to {value['state']}, {level}"]
    edit = [*_kubectl(system.cluster), "edit", f"{system.object.kind.lower()}/{system.object.name}"]
    return [f"{shlex.join(edit)}  # flag {key} to {value['state']}, {level}"]


# --- databases, commands, requests ------------------------------------------------------------------------------------


@lines.register
def _(operation: RunSql) -> list[str]:
    return [sql_file(operation.database, operation.name)]


def sql_file(database: TextOrSecret, name: str) -> str:
    if isinstance(database, str) and database.startswith("sqlite:"):
        return f"sqlite3 {shlex.quote(database.removeprefix('sqlite:///'))} < {shlex.quote(name)}"
    return f"psql {_text(database)} --single-transaction --set ON_ERROR_STOP=1 --file {shlex.quote(name)}"


@lines.register
def _(operation: RunBackfill) -> list[str]:
    return [f"# backfill {operation.name} of {operation.table}: what it filled stays"]


@lines.register
def _(operation: RunAlembic) -> list[str]:
    wanted = operation.revision if operation.direction == "up" else operation.to or "base"
    verb = "upgrade" if operation.direction == "up" else "downgrade"
    return [_command([*operation.argv, "-c", operation.config, verb, wanted], operation.dir, operation.vars)]


@lines.register
def _(operation: RunCommand) -> list[str]:
    return [_command(operation.argv, operation.dir, operation.vars)]


def _command(argv: Sequence[str], folder: str | None, given: Mapping[str, TextOrSecret]) -> str:
    values = "".join(f"{name}={_text(value)} " for name, value in sorted(given.items()))
    line = f"{values}{shlex.join(argv)}"
    return f"(cd {shlex.quote(folder)} && {line})" if folder not in (None, ".") else line


@lines.register
def _(operation: CallHttp) -> list[str]:
    return [_curl(operation.request)]


def _curl(request: HttpRequest) -> str:
    words = ["curl", "--fail-with-body", "--request", request.method]
    for name, value in sorted(request.headers.items()):
        words += ["--header", _within(f"{name}: ", value)]
    if request.bearer is not None:
        words += ["--header", _within("Authorization: Bearer ", request.bearer)]
    if request.json_ is not None:
        words += ["--json", shlex.quote(json.dumps(request.json_, ensure_ascii=False))]
    elif request.body is not None:
        words += ["--data-binary", shlex.quote(request.body)]
    return " ".join([*words, shlex.quote(request.url)])


def _within(before: str, value: TextOrSecret) -> str:
    return shlex.quote(before + value) if isinstance(value, str) else f'"{before}{_reference(value)}"'


def _text(value: TextOrSecret) -> str:
    return shlex.quote(value) if isinstance(value, str) else f'"{_reference(value)}"'


def _reference(secret: SecretRef) -> str:
    if secret.env is not None:
        return f"${secret.env}"
    if secret.file is not None:
        return f"$(cat {shlex.quote(secret.file)})"
    name, _, key = str(secret.secret).partition("/")
    path = "{.data." + key.replace(".", r"\.") + "}"
    return f"$(kubectl get secret {name} --output jsonpath={shlex.quote(path)} | base64 --decode)"


# --- Kubernetes -------------------------------------------------------------------------------------------------------


def _kubectl(place: Kubernetes) -> list[str]:
    words = ["kubectl"]
    if place.context is not None:
        words += ["--context", place.context]
    if place.namespace is not None:
        words += ["--namespace", place.namespace]
    return words


@lines.register
def _(operation: ScaleWorkload) -> list[str]:
    return _scaled(operation, operation.workload, operation.replicas)


def _scaled(operation: InCluster, workload: str, replicas: int) -> list[str]:
    scale = [*_kubectl(operation.kubernetes), "scale", workload, f"--replicas={replicas}"]
    return [shlex.join(scale), _rolled_out(operation, workload)]


def _rolled_out(operation: InCluster, workload: str) -> str:
    limit = f"--timeout={operation.timeout_seconds:g}s"
    return shlex.join([*_kubectl(operation.kubernetes), "rollout", "status", workload, limit])


@lines.register
def _(operation: SetImage) -> list[str]:
    image = f"{operation.container}={operation.image}"
    return [
        shlex.join([*_kubectl(operation.kubernetes), "set", "image", operation.workload, image]),
        _rolled_out(operation, operation.workload),
    ]


@lines.register
def _(operation: RestartWorkload) -> list[str]:
    restart = [*_kubectl(operation.kubernetes), "rollout", "restart", operation.workload]
    return [shlex.join(restart), _rolled_out(operation, operation.workload)]


@lines.register
def _(operation: SetVersion) -> list[str]:
    """The first Deployment has its image and all its pods before the other one loses any."""
    found = _arm(operation, operation.workload, operation.stable)
    if operation.canary is not None:
        return found + _arm(operation, operation.canary_workload, operation.canary)
    if operation.is_made:
        gone = [*_kubectl(operation.kubernetes), "delete", operation.canary_workload, "--ignore-not-found"]
        return [*found, shlex.join(gone)]
    return found


def _arm(operation: SetVersion, workload: str, arm: VersionArm) -> list[str]:
    container = operation.container or "*"
    image = [*_kubectl(operation.kubernetes), "set", "image", workload, f"{container}={arm.image}"]
    return [shlex.join(image), *_scaled(operation, workload, arm.replicas)]


@lines.register
def _(operation: ApplyManifest) -> list[str]:
    before = operation.restore.get("objects") if isinstance(operation.restore, dict) else None
    if not isinstance(before, list):
        return [shlex.join([*_apply(operation.kubernetes), "--filename", operation.manifest])]
    return [line for one in before if isinstance(one, dict) for line in _restored(operation, one)]


def _apply(place: Kubernetes) -> list[str]:
    return [*_kubectl(place), "apply", "--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}"]


def _restored(operation: ApplyManifest, before: Mapping[str, Json]) -> Iterator[str]:
    name = str(before.get("name"))
    if not before.get("exists"):
        yield shlex.join([*_kubectl(operation.kubernetes), "delete", name, "--ignore-not-found"])
        return
    patch = json.dumps(before.get("fields") or {}, ensure_ascii=False)
    yield shlex.join([*_kubectl(operation.kubernetes), "patch", name, "--type=merge", "--patch", patch])


@lines.register
def _(operation: RunJob) -> list[str]:
    return [shlex.join([*_kubectl(operation.kubernetes), "create", "--filename", operation.manifest])]


# --- checks -----------------------------------------------------------------------------------------------------------


def check_lines(check: Check, database: TextOrSecret | None) -> list[str]:
    """How a person asks what a check asks."""
    source: Source = check
    if source.command is not None:
        return [_command(source.command, source.dir, source.vars)]
    if source.script is not None:
        return [*source.script.strip().splitlines()]
    if source.http is not None:
        return [_curl(source.http)]
    asked = source.database if source.database is not None else database
    if source.sql is not None and asked is not None:
        return [f"psql {_text(asked)} --command {shlex.quote(source.sql)}"]
    return [f"# look: {source.query or source.sql or source.file or source.env or check.name}"]
