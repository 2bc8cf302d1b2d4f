"""Journals as they lie in a store, held against what must always be true of them."""

import asyncio
from collections import Counter

from orchestrator.core.events import EffectFinished, EffectRequested
from orchestrator.journal import chain, open_reading
from orchestrator.ports import Recorded
from tests.acceptance.worlds.host import Host


def records_of(host: Host, run: str) -> list[Recorded]:
    async def read() -> list[Recorded]:
        store = open_reading(f"sqlite:///{host.store}")
        try:
            return list(await store.read(run))
        finally:
            await store.close()

    return asyncio.run(read())


def assert_sound(host: Host, run: str) -> list[Recorded]:
    """The chain verifies, no number is missing, and each effect was finished once at most and asked for before."""
    records = records_of(host, run)
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    assert chain.verify(records) is None
    asked = Counter(record.event.effect.id for record in records if isinstance(record.event, EffectRequested))
    finished = Counter(record.event.effect for record in records if isinstance(record.event, EffectFinished))
    assert set(asked.values()) <= {1}
    assert set(finished.values()) <= {1}
    assert set(finished) <= set(asked)
    return records


def assert_never_falls(host: Host, flag: str) -> None:
    """Of a run that only goes forward: every percentage that the flag ever had, in order, each once."""
    rows = host.query(
        "SELECT json_extract(document, '$.percentage') FROM flag_history WHERE key = ? ORDER BY number", flag
    )
    seen = [row[0] for row in rows]
    assert seen == sorted(set(seen)), f"{flag} had the percentages {seen}"
