"""Programs that give credentials for a cluster, as kubeconfigs name them under ``exec``.

Each is run as kubectl runs it, but for that nobody is there to answer it: it gets no input and is told so.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import Temporary

LONGEST_REASON = 300


async def credentials_of(plugin: Mapping[str, Any], cluster: Mapping[str, Any], kubeconfig: str) -> dict[str, Any]:
    """The status of the ``ExecCredential`` that *plugin* prints: ``token``, or ``clientCertificateData`` and
    ``clientKeyData``. *cluster*: as the kubeconfig describes it. Raises ``Temporary``: somebody may log in meanwhile.
    """
    version = str(plugin.get("apiVersion") or "client.authentication.k8s.io/v1")
    printed = await _run(plugin, _asked(plugin, version, cluster), kubeconfig)
    name = plugin.get("command")
    try:
        credential = json.loads(printed)
        status = dict(credential["status"])
    except (ValueError, KeyError, TypeError) as error:
        raise Temporary(f"the plugin {name} printed no ExecCredential with a status") from error
    if credential.get("apiVersion") != version:
        raise Temporary(f"the plugin {name} speaks {credential.get('apiVersion')}, and its kubeconfig says {version}")
    if "token" not in status and not {"clientCertificateData", "clientKeyData"} <= status.keys():
        raise Temporary(f"the plugin {name} gave neither a token nor a certificate with its key")
    return status


def _asked(plugin: Mapping[str, Any], version: str, cluster: Mapping[str, Any]) -> str:
    spec: dict[str, Any] = {"interactive": False}
    if plugin.get("provideClusterInfo"):
        spec["cluster"] = {key: value for key, value in cluster.items() if key != "extensions"}
    return json.dumps({"apiVersion": version, "kind": "ExecCredential", "spec": spec})


async def _run(plugin: Mapping[str, Any], asked: str, kubeconfig: str) -> bytes:
    command = str(plugin.get("command") or "")
    program = str(Path(kubeconfig).parent / command) if "/" in command else command
    own = {str(one["name"]): str(one["value"]) for one in plugin.get("env") or ()}
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            *map(str, plugin.get("args") or ()),
            env={**os.environ, **own, "KUBERNETES_EXEC_INFO": asked},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        hint = f"; {plugin['installHint']}" if plugin.get("installHint") else ""
        raise Temporary(f"the plugin {command} can't be started: {error.strerror}{hint}") from error
    try:
        printed, said = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        lines = said.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise Temporary(f"the plugin {command} ended with {process.returncode}: {lines[-1][:LONGEST_REASON]}")
    return printed
