"""Where reading commands read: a controller if there is one, else the store, without changing it."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from orchestrator.cli.settings import Address, find_controller, state_dir, store_url
from orchestrator.errors import NotFound, RolloutError, UsageError

if TYPE_CHECKING:
    from orchestrator.cli.client import Client
    from orchestrator.reading import Reading

Json = dict[str, Any]
T = TypeVar("T")

HOW_TO_START = (
    "no controller runs: `rollout serve` starts one, and so does `rollout start PLAN`; "
    "one elsewhere is named with --server URL or ROLLOUT_SERVER"
)


class Source(Protocol):
    """What can be looked at. RUN may be the beginning of a name, or a plan's name."""

    def status(self, run: str) -> Json: ...

    def runs(self, active: bool | None = None) -> list[Json]: ...

    def history(self, run: str, after: int = 0) -> list[Json]: ...

    def report(self, run: str) -> Json: ...

    def journal(self, run: str, after: int = 0) -> list[str]: ...

    def freezes(self) -> list[Json]: ...

    def flags(self, environment: str | None, full_for_seconds: float | None = None) -> list[Json]: ...

    def flag_history(self, environment: str, key: str) -> list[Json]: ...

    def flag(self, environment: str, key: str) -> Json: ...

    def evaluate(self, environment: str, key: str, context: Json) -> Json: ...


class StoreSource:
    """The store of this machine, while no controller runs. Runs that have not ended hold ``no_controller``."""

    def status(self, run: str) -> Json:
        from orchestrator.cli import snapshots

        return snapshots.find(run) or self._folded(run)

    def _folded(self, run: str) -> Json:
        async def look(reading: "Reading") -> Json:
            return await reading.status(await reading.resolve_name(run))

        return _read(look)

    def runs(self, active: bool | None = None) -> list[Json]:
        try:
            return _read(lambda reading: reading.list(active))
        except NotFound:  # no store: nothing was ever started here
            return []

    def history(self, run: str, after: int = 0) -> list[Json]:
        async def look(reading: "Reading") -> list[Json]:
            return await reading.history(await reading.resolve_name(run), after)

        return _read(look)

    def report(self, run: str) -> Json:
        async def look(reading: "Reading") -> Json:
            return await reading.report(await reading.resolve_name(run))

        return _read(look)

    def journal(self, run: str, after: int = 0) -> list[str]:
        async def look(reading: "Reading") -> list[str]:
            return list(await reading.journal_lines(await reading.resolve_name(run), after))

        return _read(look)

    def freezes(self) -> list[Json]:
        try:
            return _read(lambda reading: reading.freezes())
        except NotFound:  # no store: nothing was ever frozen here
            return []

    def flags(self, environment: str | None, full_for_seconds: float | None = None) -> list[Json]:
        try:
            return _read(lambda reading: reading.flags(environment, full_for_seconds))
        except NotFound:
            return []

    def flag_history(self, environment: str, key: str) -> list[Json]:
        return _read(lambda reading: reading.flag_history(environment, key))

    def flag(self, environment: str, key: str) -> Json:
        return _read(lambda reading: reading.flag(environment, key))

    def evaluate(self, environment: str, key: str, context: Json) -> Json:
        async def look(reading: "Reading") -> Json:
            from flags.ofrep import evaluate_single

            await reading.board.load()
            answer = evaluate_single(reading.snapshot(environment), key, {"context": context})
            body: Json = dict(answer.body or {})
            if answer.status == NotFound.http_status:
                raise NotFound(str(body.get("errorDetails")))
            if answer.status >= UsageError.http_status:
                raise UsageError(str(body.get("errorDetails")))
            return body

        return _read(look)

    def disable_all(self, asked: Json) -> Json:
        async def throw(reading: "Reading") -> Json:
            from orchestrator.reading import Kill, killed
            from orchestrator.service import local_actor

            kill = Kill(**asked)
            latches = await reading.latches_for(kill, local_actor().name)
            for latch in latches:
                reading.kill_switch.disable_all(latch)
            return killed(kill, latches)

        return _read(throw)


def _read(look: "Callable[[Reading], Awaitable[T]]") -> T:
    import asyncio

    from orchestrator.app import Settings, read_only

    async def perform() -> T:
        async with read_only(Settings(store_url(), state_dir())) as reading:
            return await look(reading)

    return asyncio.run(perform())


def open_source(server: str | None) -> Source:
    address = find_controller(server)
    return StoreSource() if address is None else _client(address)


def _client(address: Address) -> "Client":
    from orchestrator.cli.client import Client  # reading the store needs no HTTP

    return Client(address)


def open_client(server: str | None) -> "Client":
    """For commands that change something."""
    address = find_controller(server)
    if address is None:
        raise RolloutError(HOW_TO_START)
    return _client(address)


def entries(source: Source, run: str) -> list[dict[str, Any]]:
    """The whole history, each entry with its sentence."""
    from orchestrator.core.telling import Teller

    teller = Teller(source.status(run).get("stages") or ())
    return [{**entry, "sentence": teller.tell(entry)} for entry in source.history(run)]
