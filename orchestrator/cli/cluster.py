"""Commands with ``--context``: they speak to the API server of a cluster alone, as whoever the kubeconfig says.

What is read is the status of StagedRollouts; what is asked is written down as a StagedRolloutCommand, in one's own
name, and answered in its status. RUN is the name of a StagedRollout, or of its newest run.
"""

import asyncio
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from orchestrator.cli import ask, show, standing
from orchestrator.cli.acting import to_command
from orchestrator.cli.client import Json
from orchestrator.cli.live import Screen, make_screen
from orchestrator.cli.output import clock, note, printable
from orchestrator.cli.output import show as show_value
from orchestrator.cli.watching import LEAVES, Signals, farewell
from orchestrator.errors import NotFound, Permanent, Refused, RolloutError, Temporary, UsageError

if TYPE_CHECKING:
    from orchestrator.cluster_port import Body, Objects

T = TypeVar("T")
ANSWER_SECONDS = 30.0
ANSWER_EVERY_SECONDS = 0.3
WATCH_EVERY_SECONDS = 1.0
PATIENCE_SECONDS = 600.0


def list_runs(arguments: Namespace) -> int:
    from orchestrator.cluster_port import Kind

    async def look(objects: "Objects") -> list[Json]:
        return [shown(body) for body in await objects.every(Kind.ROLLOUT)]

    found = [one for one in _in_cluster(arguments, look) if not (arguments.active and one["phase"] in (None, "ended"))]
    newest_first = sorted(found, key=lambda one: str(one["started"] or one["created"]), reverse=True)
    show_value(newest_first, arguments.output, _rollouts)
    return 0


def status(arguments: Namespace) -> int:
    async def look(objects: "Objects") -> Json:
        return shown(await _find(objects, arguments.run), await _is_driven(objects))

    show_value(_in_cluster(arguments, look), arguments.output, status_text)
    return 0


def watch(arguments: Namespace) -> int:
    """Follows the object to the end of its run. Ctrl-C ends the watching, not the run."""
    signals = Signals()
    with signals.handled():
        return follow(arguments, arguments.run, signals)


def follow(arguments: Namespace, name: str, signals: Signals) -> int:
    async def look(objects: "Objects") -> Json | None:
        return await _followed(objects, name, signals)

    found = _in_cluster(arguments, look)
    if found is None:
        note(f"{name} goes on; `rollout watch {name} --context {arguments.context}` looks at it again")
        return 128 + signals.came[0]
    return farewell(str(found["run"]), found, report=False)


def act(arguments: Namespace) -> int:
    reason = ask.reason(arguments, arguments.command)
    asked = to_command(arguments, reason)

    async def give(objects: "Objects") -> Json:
        rollout = await _find(objects, arguments.run)
        return await _given(objects, str(rollout["metadata"]["name"]), asked)

    show_value(_in_cluster(arguments, give), arguments.output, show.accepted)
    return 0


def start(arguments: Namespace) -> int:
    """Writes the plan and its files to the cluster, in one's own name, and follows the run that comes of it."""
    for option in ("supersede", "listen", "reason"):
        if getattr(arguments, option):
            raise UsageError(f"--{option} is of no use with --context: the controller in the cluster runs the plan")
    signals = Signals()
    with signals.handled():
        name, generation = _in_cluster(arguments, lambda objects: _written(objects, arguments))
        note(f"StagedRollout {name} is written (generation {generation})")
        if arguments.detach:
            print(name)
            return 0
        return follow(arguments, name, signals)


# --- the cluster ------------------------------------------------------------------------------------------------------


def _in_cluster(arguments: Namespace, look: "Callable[[Objects], Awaitable[T]]") -> T:
    async def perform() -> T:
        async with _opened(arguments) as objects:
            return await look(objects)

    return asyncio.run(perform())


@asynccontextmanager
async def _opened(arguments: Namespace) -> "AsyncIterator[Objects]":
    from orchestrator.app import cluster_objects

    async with cluster_objects(arguments.context, arguments.namespace) as objects:
        yield objects


async def _find(objects: "Objects", name: str) -> "Body":
    from orchestrator.cluster_port import Kind

    found = await objects.read(Kind.ROLLOUT, name)
    if found is not None:
        return found
    for body in await objects.every(Kind.ROLLOUT):
        if (body.get("status") or {}).get("run") == name:
            return body
    raise NotFound(
        f"there is no StagedRollout {name} in namespace {objects.namespace}, and none whose run is called so"
    )


async def _is_driven(objects: "Objects") -> bool:
    """Whether a controller renews the namespace's lease. True where we may not see it."""
    from orchestrator.cluster.lease import NAME, is_alive
    from orchestrator.cluster_port import Kind

    try:
        return is_alive(await objects.read(Kind.LEASE, NAME), time.time())
    except (Permanent, Temporary):
        return True


async def _written(objects: "Objects", arguments: Namespace) -> tuple[str, int]:
    from orchestrator.cli.bundling import bundled
    from orchestrator.cluster.rights import groups_to_name
    from orchestrator.cluster_port import Identity, Kind

    me = await objects.whoami()
    author = Identity(me.name, groups_to_name(me))
    made = bundled(arguments.plan, arguments.settings, objects.namespace, author)
    if made.files is not None:
        await objects.create(Kind.CONFIG_MAP, made.files)  # named after what is in it: one that is there is the same
    written = await objects.apply(Kind.ROLLOUT, made.rollout)
    return str(written["metadata"]["name"]), int(written["metadata"]["generation"])


async def _given(objects: "Objects", rollout: str, asked: Json) -> Json:
    """Gives a command and waits for its answer."""
    from orchestrator.cluster.commands import command_body
    from orchestrator.cluster_port import Kind

    me = await objects.whoami()
    made = await objects.create(Kind.COMMAND, command_body(rollout, asked, me))
    assert made is not None, "the API server makes up the name"
    name, until = str(made["metadata"]["name"]), time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < until:
        await asyncio.sleep(ANSWER_EVERY_SECONDS)
        found = await objects.read(Kind.COMMAND, name)
        if found is None:
            raise RolloutError(f"the command {name} was deleted before it was answered")
        answer = found.get("status") or {}
        if answer.get("accepted"):
            run = answer.get("run") or rollout
            return {"run": run, "command": asked["command"], "accepted": True, "seq": answer.get("seq"), "object": name}
        if answer.get("refused"):
            raise Refused(str(answer.get("message")))
    raise Temporary(
        f"{asked['command']} was not answered within {ANSWER_SECONDS:g} s: does a controller drive namespace "
        f"{objects.namespace}? It stays asked for until `kubectl delete sroc {name}` takes it back"
    )


async def _followed(objects: "Objects", name: str, signals: Signals) -> Json | None:
    """The status at the end of the run; None if a signal came before. A refusal that waits for a person is raised."""
    screen, told, lost_at = make_screen(LEAVES), "", None
    if not await _is_driven(objects):
        note(f"no controller drives namespace {objects.namespace} now; waiting for one")
    try:
        while not signals.came:
            try:
                found = shown(await _find(objects, name))
            except Temporary as error:
                lost_at = _lost(lost_at, error, screen)
                await asyncio.to_thread(signals.pause, WATCH_EVERY_SECONDS)
                continue
            if lost_at is not None:
                lost_at = None
                screen.clear()
            if found["message"] and found["message"] != told:
                told = found["message"]
                screen.tell({"time": _now(), "type": str(found["reason"])}, told)
            if found["is_current"] and found["phase"] == "ended":
                return found
            if found["is_current"] and found["run"] is None and found["is_stalled"]:
                raise Refused(f"{name} does not start: {told}")
            if found["run"] is not None:
                screen.show(found)
            await asyncio.to_thread(signals.pause, WATCH_EVERY_SECONDS)
    finally:
        screen.close()
    return None


def _lost(since: float | None, error: Temporary, screen: Screen) -> float:
    now = time.monotonic()
    if since is None:
        screen.say(f"{error}; waiting for it. The run goes on meanwhile", for_now=True)
        return now
    if now - since > PATIENCE_SECONDS:
        raise error
    return since


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat()


# --- how it looks -----------------------------------------------------------------------------------------------------


def shown(body: "Body", is_driven: bool = True) -> Json:
    """As ``rollout status`` of a controller shows a run, as far as the object tells it, and what it says beside.
    Without a run, ``run`` and ``phase`` are null, and ``message`` says why.
    """
    metadata, there = body["metadata"], body.get("status") or {}
    conditions = {one["type"]: one for one in there.get("conditions") or ()}
    ready, stalled = conditions.get("Ready", {}), conditions.get("Stalled", {})
    holds = [{"item": "run", "by": None, "detail": None, "since": None, **hold} for hold in there.get("holds") or ()]
    if not is_driven and there.get("phase") != "ended":
        detail = "no controller drives the namespace now; the status may be old"
        holds.append({"reason": "no_controller", "item": "run", "since": None, "by": "reader", "detail": detail})
    gate = there.get("gate")
    return {
        "run": there.get("run"),
        "plan": metadata["name"],
        **{name: there.get(name) for name in ("digest", "phase", "leg", "outcome", "environment", "stage", "step")},
        "percentages": there.get("percentages") or {},
        "holds": holds,
        "gate": None if gate is None else {"name": gate["name"], "verdict": gate["verdict"], "criteria": _worst(gate)},
        "next": there.get("next"),
        "waiting": [{"by": [], "until": None, "text": None, **one} for one in there.get("waiting") or ()],
        "exceptions": [],
        "started": there.get("started"),
        "ended": there.get("ended"),
        "object": f"{metadata['namespace']}/{metadata['name']}",
        "created": metadata["creationTimestamp"],
        "reason": ready.get("reason"),
        "message": ready.get("message"),
        "is_stalled": stalled.get("status") == "True",
        "is_current": there.get("observedGeneration") == metadata.get("generation"),
    }


def _worst(gate: Json) -> list[Json]:
    name, _, sentence = str(gate.get("sentence", "")).partition(": ")
    return [{"name": name, "verdict": gate["verdict"], "value": None, "sentence": sentence}] if sentence else []


def status_text(found: Json) -> str:
    why = (
        f"  {printable(found['reason'])}: {printable(found['message'])}" if found["message"] else "  not looked at yet"
    )
    if found["run"] is None:
        return f"{printable(found['object'])}  has no run\n{why}"
    return f"{standing.status(found)}\n  object      {printable(found['object'])}\n{why}"


def _rollouts(found: list[Json]) -> str:
    from orchestrator.cli.output import table

    heads = ("plan", "run", "phase", "outcome", "environment", "stage", "step", "started", "ended", "reason")
    rows = [[clock(one[head]) if head in ("started", "ended") else one[head] or "-" for head in heads] for one in found]
    return table(heads, rows, "no StagedRollouts")
