"""What every flag store does, whatever it is made of."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from flags.model import FlagDocument, Version
from orchestrator.errors import Conflict, Fenced
from orchestrator.ports import FlagWrite
from tests.contract.conftest import Store
from tests.support.journals import flag_write, started


async def test_a_flag_that_was_never_written_is_none(store: Store) -> None:
    assert await store.get("production", "f") is None
    assert await store.all() == []
    assert await store.history("production", "f") == []
    assert await store.version() == Version(1, 0)


async def test_the_store_numbers_what_is_written_whatever_version_the_document_bears(store: Store) -> None:
    write = flag_write(percentage=12.5)
    write = replace(write, document=replace(write.document, version=Version(9, 9)))
    record = await store.write(write, at=5)
    assert record.document == replace(write.document, version=Version(1, 1))
    assert (record.by, record.reason, record.at, record.run, record.effect) == ("ann", "raise it", 5.0, "r", "e1")
    assert await store.get("production", "f") == record


async def test_a_document_comes_back_whole(store: Store) -> None:
    document = FlagDocument(
        "f",
        variants={"old": {"model": "small", "size": 1}, "new": {"model": "groß", "size": 1.0}},
        default_variant="old",
        on_variant="new",
        targets={"team": ("a", "b")},
        percentage=0.001,
        parameters={"list": [1, 2.5, True, None], "limit": 3},
        profiles={"calm": {"limit": 1}},
        profile="calm",
        permanent=True,
    )
    await store.write(FlagWrite(document, None, "ann", ""), at=1)
    record = await store.get("production", "f")
    assert record is not None
    assert record.document == replace(document, version=record.document.version)
    assert (record.run, record.effect) == (None, None)


async def test_a_write_over_another_version_than_expected_is_a_conflict_and_changes_nothing(store: Store) -> None:
    first = (await store.write(flag_write(), at=1)).document.version
    second = await store.write(flag_write(expected=first, percentage=5), at=2)
    with pytest.raises(Conflict, match=r"has version 1\.2, not 1\.1"):
        await store.write(flag_write(expected=first, percentage=50), at=3)
    with pytest.raises(Conflict, match="exists already"):
        await store.write(flag_write(), at=3)
    with pytest.raises(Conflict, match="does not exist"):
        await store.write(flag_write("other", expected=first), at=3)
    assert await store.all() == [second]


async def test_versions_rise_over_all_flags_of_the_store_and_refused_writes_use_none(store: Store) -> None:
    versions = [(await store.write(flag_write(f"f{number}"), at=1)).document.version for number in range(3)]
    with pytest.raises(Conflict):
        await store.write(flag_write("f0"), at=1)
    versions.append((await store.write(flag_write("f0", expected=versions[0]), at=1)).document.version)
    assert versions == [Version(1, number) for number in range(1, 5)]


async def test_versions_never_go_back(store: Store, reopen: Callable[[], Awaitable[Store]]) -> None:
    before = (await store.write(flag_write(), at=1)).document.version
    again = await reopen()
    reopened = (await again.write(flag_write(expected=before), at=2)).document.version
    assert reopened == Version(1, 2)
    assert await again.version() == reopened
    assert await again.new_generation() == 2
    assert await again.version() == Version(2, 2)
    restored = (await again.write(flag_write(expected=reopened), at=3)).document.version
    assert restored == Version(2, 3)
    record = await again.get("production", "f")
    assert record is not None
    assert record.document.version == restored


async def test_environments_have_flags_of_their_own(store: Store) -> None:
    for environment, key in (("staging", "b"), ("production", "b"), ("staging", "a")):
        await store.write(flag_write(key, environment=environment), at=1)
    staging = await store.all("staging")
    assert [record.document.key for record in staging] == ["a", "b"]
    places = [(record.document.environment, record.document.key) for record in await store.all()]
    assert places == [("production", "b"), ("staging", "a"), ("staging", "b")]
    assert await store.all("nowhere") == []
    assert await store.get("production", "a") is None


async def test_history_comes_newest_first(store: Store) -> None:
    version = None
    for percentage in (1, 2, 3):
        version = (
            await store.write(flag_write(expected=version, percentage=percentage), at=percentage)
        ).document.version
    await store.write(flag_write("other"), at=9)
    history = await store.history("production", "f")
    assert [record.document.percentage for record in history] == [3, 2, 1]
    assert history[0] == await store.get("production", "f")
    assert [record.at for record in await store.history("production", "f", limit=2)] == [3, 2]


async def test_of_those_that_race_to_change_a_flag_one_wins(store: Store) -> None:
    version = (await store.write(flag_write(), at=1)).document.version
    results = await asyncio.gather(
        *(store.write(flag_write(expected=version, percentage=number), at=2) for number in range(10)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, Conflict) for result in results) == 9
    assert len(await store.history("production", "f")) == 2


async def test_who_lost_a_run_writes_no_flag_in_its_name(store: Store) -> None:
    await started(store)
    first = await store.write(replace(flag_write(), epoch=1), at=1)
    epoch = await store.take("r")
    late = replace(flag_write(expected=first.document.version, percentage=50), epoch=1)
    with pytest.raises(Fenced, match="flag 'f' was not written"):
        await store.write(late, at=2)
    assert await store.get("production", "f") == first
    assert (await store.write(replace(late, epoch=epoch), at=3)).document.percentage == 50
