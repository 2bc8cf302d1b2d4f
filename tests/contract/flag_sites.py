"""The systems in which a flag may be, each with a flag of the test's own, and the core's view of it."""

import asyncio
import json
from pathlib import Path
from typing import Any, Protocol

from flags.model import FlagDocument, FlagState
from orchestrator.adapters.flag_store import FlagPerformer
from orchestrator.adapters.flag_systems.performer import PlacedFlagPerformer
from orchestrator.adapters.flag_systems.systems import FlagSystems
from orchestrator.adapters.http_client import HttpClient
from orchestrator.adapters.kubernetes.client import Clusters
from orchestrator.adapters.secrets import Secrets
from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.journal.memory import MemoryStore
from orchestrator.ports import FlagWrite, Performer, Scene, Seen
from stages.cluster import Kubernetes
from stages.effects import ObserveFlag, SetFlag, TargetKind
from stages.flag_spec import ABSENT, FlagChange, FlagSpec, raise_value, to_document, to_value
from stages.flag_systems import AnyFlagSystem, FlagdSystem, FlagPlace, PlacedFlag, UnleashSystem
from stages.values import SecretRef
from tests.support.cluster import Cluster
from tests.support.unleash import PERSON, Feature

KEY = "batchOptimization"
TOKEN = SecretRef(env="UNLEASH_TOKEN")
Json = dict[str, Any]

DOCUMENT = """\
{
  "$schema": "https://flagd.dev/schema/v0/flags.json",
  "flags": {
    "other" : {"state": "ENABLED", "variants": {"a": 1.50, "b": 2e3}, "defaultVariant": "a"},
    "batchOptimization": {
      "variants": {"on": true, "off": false},
      "state": "DISABLED", "defaultVariant": "off",
      "x-owner": "caf\\u00e9", "targeting": {"fractional": [ ["on",0], ["off", 100] ]}
    }
  },
  "metadata": {"flagSetId": "batches"}
}
"""


PATCHER = "kubectl-patch"


def document(enabled: bool, on: int, total: int = 100) -> str:
    text = DOCUMENT.replace('["on",0], ["off", 100]', f'["on",{on}], ["off", {total - on}]')
    return text.replace("DISABLED", "ENABLED") if enabled else text


class StandingClock:
    def now(self) -> float:
        return 100.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here sleeps")


class Site(Protocol):
    """One system with the flag `batchOptimization`, as its owners see it."""

    who: str | None  # as whom an edit is told, if it can be told

    def place(self) -> AnyFlagSystem | None: ...
    async def put(self, enabled: bool, percentage: int) -> None: ...
    async def edit(self, percentage: int) -> None: ...
    async def exactly(self) -> Any:
        """Everything that the system holds, to be compared."""
        ...


class OwnSite:
    who: str | None = "ann"

    def __init__(self) -> None:
        self.store = MemoryStore()

    def place(self) -> AnyFlagSystem | None:
        return None

    async def _write(self, value: Json) -> None:
        known = await self.store.get("production", KEY)
        document = to_document(value, KEY, "production")
        expected = known.document.version if known is not None else None
        await self.store.write(FlagWrite(document, expected, "ann", "by hand"), 1.0)

    async def put(self, enabled: bool, percentage: int) -> None:
        await self._write(valued(enabled, percentage))

    async def edit(self, percentage: int) -> None:
        await self._write(valued(True, percentage))

    async def exactly(self) -> Any:
        known = await self.store.get("production", KEY)
        return to_value(known.document) if known is not None else ABSENT


class FlagdSite:
    who: str | None = None

    def __init__(self, folder: Path) -> None:
        self.file = folder / "flags.json"
        self.file.write_text(DOCUMENT.replace(KEY, "unrelated"))

    def place(self) -> AnyFlagSystem | None:
        return FlagdSystem(file=str(self.file))

    def write(self, enabled: bool, on: int, total: int = 100) -> None:
        self.file.write_text(document(enabled, on, total))

    async def put(self, enabled: bool, percentage: int) -> None:
        self.write(enabled, percentage)

    async def edit(self, percentage: int) -> None:
        self.write(True, percentage)

    async def exactly(self) -> Any:
        return self.file.read_bytes()


class ObjectSite:
    """An object called `flags` in a namespace of the test's own. What holds it open has to be closed."""

    who: str | None = PATCHER
    kind: str

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.clusters = Clusters(str(cluster.kubeconfig))
        self.create(DOCUMENT.replace(KEY, "unrelated"))

    def place(self) -> FlagdSystem:
        raise NotImplementedError

    def create(self, text: str) -> None:
        raise NotImplementedError

    def flags(self, text: str) -> Json:
        """What a patch says to put the flags of this document there."""
        raise NotImplementedError

    def apply(self, content: Json) -> None:
        self.cluster.apply({"metadata": {"name": "flags", "namespace": self.namespace}, "kind": self.kind, **content})

    def patch(self, content: Json) -> None:
        self.kubectl("patch", self.kind, "flags", "--type=merge", "--patch", json.dumps(content))

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl("--namespace", self.namespace, *arguments)

    def content(self) -> Json:
        found: Json = self.cluster.get(self.kind, "flags", "--namespace", self.namespace)
        return found

    async def put(self, enabled: bool, percentage: int) -> None:
        await asyncio.to_thread(self.patch, self.flags(document(enabled, percentage)))

    async def edit(self, percentage: int) -> None:
        await self.put(True, percentage)

    async def exactly(self) -> Any:
        content = await asyncio.to_thread(self.content)
        return {name: content[name] for name in ("data", "spec") if name in content}


class ConfigMapSite(ObjectSite):
    """The document under one of its keys."""

    kind = "ConfigMap"

    def place(self) -> FlagdSystem:
        return FlagdSystem(config_map="flags", kubernetes=Kubernetes(namespace=self.namespace))

    def create(self, text: str) -> None:
        self.apply({"apiVersion": "v1", "data": {"flags.json": text, "other": "kept"}})

    def flags(self, text: str) -> Json:
        return {"data": {"flags.json": text}}


class FeatureFlagSite(ObjectSite):
    """A resource of the OpenFeature operator."""

    kind = "FeatureFlag"

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        cluster.apply_crds("featureflags.core.openfeature.dev")
        super().__init__(cluster, namespace)

    def place(self) -> FlagdSystem:
        return FlagdSystem(feature_flag="flags", kubernetes=Kubernetes(namespace=self.namespace))

    def create(self, text: str) -> None:
        self.apply({"apiVersion": "core.openfeature.dev/v1beta1", **self.flags(text)})

    def flags(self, text: str) -> Json:
        return {"spec": {"flagSpec": {"flags": operators(text)}}}


def operators(text: str) -> Json:
    """The flags of a document, without what the operator's resource has no place for."""
    flags: Json = json.loads(text)["flags"]
    return {key: {name: flag[name] for name in flag if name != "x-owner"} for key, flag in flags.items()}


class UnleashSite:
    """A feature of the test's own in the server that all tests share."""

    who: str | None = PERSON

    def __init__(self, feature: Feature) -> None:
        self.feature = feature

    def place(self) -> AnyFlagSystem | None:
        return unleash_at(self.feature.server.url)

    async def put(self, enabled: bool, percentage: int) -> None:
        self.feature.create()
        self.feature.strategy(percentage)
        if enabled:
            self.feature.switch(True)

    async def edit(self, percentage: int) -> None:
        self.feature.roll(percentage)

    async def exactly(self) -> Any:
        return self.feature.stands()


def unleash_at(url: str, **more: Any) -> UnleashSystem:
    return UnleashSystem(url=url, token=TOKEN, environment="production", **more)


def valued(enabled: bool, percentage: float) -> Json:
    state = FlagState.ENABLED if enabled else FlagState.DISABLED
    return to_value(FlagDocument(key="-", state=state, percentage=percentage))


class Desk:
    """A flag as the core sees it: looked at, and set to what follows from what stands."""

    def __init__(self, performer: Performer, place: AnyFlagSystem | None, key: str) -> None:
        self.performer = performer
        self.key = key
        flags = {key: PlacedFlag(place=FlagPlace("main", place))} if place is not None else {key: FlagSpec()}
        self.scene = Scene("r1", "production", flags=flags)

    async def look(self) -> Seen:
        return await self.performer.observe(ObserveFlag(environment="production", key=self.key), self.scene)

    async def set(self, value: Json, before: Json | None, *, node: str | None = None, resumed: bool = False) -> Outcome:
        """*node*: of the rollback, on the way back."""
        effect = Effect(
            id="r1-e3",
            target=f"flag:production/{self.key}",
            target_kind=TargetKind.FLAG,
            label="batches",
            operation=SetFlag(environment="production", key=self.key, value=value),
            before=before,
            environment="production",
            node=node,
        )
        return await self.performer.perform(effect, self.scene, resumed)

    async def raised(self, percentage: float) -> Json:
        """As a step of a stage raises it, from what stands; what stands then."""
        before = (await self.look()).value
        outcome = await self.set(raise_value(before, FlagChange(percentage=percentage), FlagSpec()), before)
        assert outcome.state is EffectState.DONE, outcome.detail
        observed: Json = outcome.observed
        return observed


def desk_at(
    place: AnyFlagSystem | None,
    token: str = "",
    *,
    store: MemoryStore | None = None,
    clusters: Clusters | None = None,
    key: str = KEY,
) -> Desk:
    http = HttpClient(Secrets(environ={"UNLEASH_TOKEN": token} if token else {}))
    own = FlagPerformer(store or MemoryStore(), StandingClock())
    return Desk(PlacedFlagPerformer(own, FlagSystems(http, clusters or Clusters())), place, key)


def desk_for(feature: Feature, url: str | None = None, **more: Any) -> Desk:
    return desk_at(unleash_at(url or feature.server.url, **more), feature.server.token, key=feature.name)
