"""The systems in which a flag may be, each with a flag of the test's own, and the core's view of it."""

from pathlib import Path
from typing import Any, Protocol

from flags.model import FlagDocument, FlagState
from orchestrator.adapters.flag_store import FlagPerformer
from orchestrator.adapters.flag_systems.performer import PlacedFlagPerformer
from orchestrator.adapters.flag_systems.systems import FlagSystems
from orchestrator.adapters.http_client import HttpClient
from orchestrator.adapters.secrets import Secrets
from orchestrator.core.effect import Effect, EffectState, Outcome
from orchestrator.journal.memory import MemoryStore
from orchestrator.ports import FlagWrite, Performer, Scene, Seen
from stages.effects import ObserveFlag, SetFlag, TargetKind
from stages.flag_spec import ABSENT, FlagChange, FlagSpec, raise_value, to_document, to_value
from stages.flag_systems import AnyFlagSystem, FlagdSystem, FlagPlace, PlacedFlag, UnleashSystem
from stages.values import SecretRef
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
        text = DOCUMENT.replace('["on",0], ["off", 100]', f'["on",{on}], ["off", {total - on}]')
        self.file.write_text(text.replace("DISABLED", "ENABLED") if enabled else text)

    async def put(self, enabled: bool, percentage: int) -> None:
        self.write(enabled, percentage)

    async def edit(self, percentage: int) -> None:
        self.write(True, percentage)

    async def exactly(self) -> Any:
        return self.file.read_bytes()


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

    async def set(self, value: Json, before: Json | None) -> Outcome:
        effect = Effect(
            id="r1-e3",
            target=f"flag:production/{self.key}",
            target_kind=TargetKind.FLAG,
            label="batches",
            operation=SetFlag(environment="production", key=self.key, value=value),
            before=before,
            environment="production",
        )
        return await self.performer.perform(effect, self.scene, resumed=False)

    async def raised(self, percentage: float) -> Json:
        """As a step of a stage raises it, from what stands; what stands then."""
        before = (await self.look()).value
        outcome = await self.set(raise_value(before, FlagChange(percentage=percentage), FlagSpec()), before)
        assert outcome.state is EffectState.DONE, outcome.detail
        observed: Json = outcome.observed
        return observed


def desk_at(place: AnyFlagSystem | None, token: str = "", store: MemoryStore | None = None, key: str = KEY) -> Desk:
    http = HttpClient(Secrets(environ={"UNLEASH_TOKEN": token} if token else {}))
    own = FlagPerformer(store or MemoryStore(), StandingClock())
    return Desk(PlacedFlagPerformer(own, FlagSystems(http)), place, key)


def desk_for(feature: Feature, url: str | None = None, **more: Any) -> Desk:
    return desk_at(unleash_at(url or feature.server.url, **more), feature.server.token, key=feature.name)
