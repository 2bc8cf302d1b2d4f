"""What every store promises about tokens and the log about them."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from orchestrator import token_port
from orchestrator.errors import Conflict, NotFound, Refused
from orchestrator.token_port import CREATED, REFUSED, REVOKED, IssuedToken, Note, Revocation, Session
from tests.contract.conftest import Store

KIM = IssuedToken("0a", "kim", "approver", ("sre", "dba"), None, "1" * 64, 100.0, "ann", 200.0)
SHOP = IssuedToken("0b", "shop", "viewer", (), "staging", "2" * 64, 101.0, "ann")
LEAKED = Revocation(150.0, "lee", "it was in a chat")


def note(number: int, what: str = CREATED) -> Note:
    return Note(f"n{number}", 100.0 + number, what, "ann", {"token": "0a", "status": 401, "why": None})


async def test_a_token_is_kept_with_all_that_is_known_of_it(
    store: Store, reopen: Callable[[], Awaitable[Store]]
) -> None:
    await store.tokens.add(KIM, note(1))
    await store.tokens.add(SHOP, note(2))
    again = await reopen()
    assert await again.tokens.tokens() == [SHOP, KIM]  # newest first
    assert await again.tokens.tokens(1) == [SHOP]
    assert await again.tokens.notes() == [replace(note(2), seq=2), replace(note(1), seq=1)]


async def test_a_token_is_found_by_its_hash_whether_it_is_live_or_not(store: Store) -> None:
    await store.tokens.add(KIM, note(1))
    await store.tokens.revoke(KIM.id, LEAKED, note(2, REVOKED))
    assert await store.tokens.find(KIM.sha256) == replace(KIM, revoked=LEAKED)
    assert await store.tokens.find(SHOP.sha256) is None


async def test_adding_the_same_token_again_changes_nothing(store: Store) -> None:
    for _ in range(2):
        await store.tokens.add(KIM, note(1))
    assert await store.tokens.tokens() == [KIM]
    assert len(await store.tokens.notes()) == 1


@pytest.mark.parametrize("other", (replace(SHOP, id=KIM.id), replace(KIM, name="lee")))
async def test_an_id_is_one_token_s(store: Store, other: IssuedToken) -> None:
    await store.tokens.add(KIM, note(1))
    with pytest.raises(Conflict, match="another token's"):
        await store.tokens.add(other, note(2))
    assert await store.tokens.tokens() == [KIM]
    assert [one.id for one in await store.tokens.notes()] == ["n1"]


async def test_live_are_those_that_are_neither_over_nor_revoked(store: Store) -> None:
    await store.tokens.add(KIM, note(1))
    await store.tokens.add(SHOP, note(2))
    assert {one.id for one in await store.tokens.live(199.9)} == {KIM.id, SHOP.id}
    assert await store.tokens.live(200.0) == [SHOP]
    await store.tokens.revoke(SHOP.id, LEAKED, note(3, REVOKED))
    assert await store.tokens.live(150.0) == [KIM]


async def test_a_revocation_says_who_when_and_why_and_stays(
    store: Store, reopen: Callable[[], Awaitable[Store]]
) -> None:
    await store.tokens.add(KIM, note(1))
    revoked = await store.tokens.revoke(KIM.id, LEAKED, note(2, REVOKED))
    assert revoked == replace(KIM, revoked=LEAKED)
    assert await store.tokens.revoke(KIM.id, LEAKED, note(2, REVOKED)) == revoked  # tried again, its answer being lost
    again = await reopen()
    assert await again.tokens.tokens() == [revoked]
    assert [one.what for one in await again.tokens.notes()] == [REVOKED, CREATED]


async def test_a_token_is_revoked_once(store: Store) -> None:
    await store.tokens.add(KIM, note(1))
    await store.tokens.revoke(KIM.id, LEAKED, note(2, REVOKED))
    with pytest.raises(Refused, match="was revoked before, by lee"):
        await store.tokens.revoke(KIM.id, replace(LEAKED, by="ann"), note(3, REVOKED))
    assert (await store.tokens.tokens())[0].revoked == LEAKED
    assert len(await store.tokens.notes()) == 2


async def test_a_token_that_is_not_there_is_not_revoked(store: Store) -> None:
    with pytest.raises(NotFound, match="no token 'x'"):
        await store.tokens.revoke("x", LEAKED, note(1, REVOKED))
    assert await store.tokens.notes() == []


async def test_the_log_is_read_from_its_end_page_by_page(store: Store) -> None:
    await store.tokens.note([note(number, REFUSED) for number in range(5)])
    await store.tokens.note([note(4, REFUSED)])  # tried again
    newest = await store.tokens.notes(limit=2)
    assert [one.id for one in newest] == ["n4", "n3"]
    assert newest[0] == replace(note(4, REFUSED), seq=newest[0].seq)
    assert [one.id for one in await store.tokens.notes(limit=10, before=newest[-1].seq)] == ["n2", "n1", "n0"]


async def test_refusals_push_out_older_refusals_and_nothing_else(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_port, "MOST_REFUSALS", 3)
    await store.tokens.add(KIM, note(0))
    await store.tokens.note([note(number, REFUSED) for number in range(1, 6)])
    await store.tokens.note([note(6, REFUSED)])
    assert [one.id for one in await store.tokens.notes()] == ["n6", "n5", "n4", "n0"]


async def test_a_session_is_kept_until_it_is_ended(store: Store, reopen: Callable[[], Awaitable[Store]]) -> None:
    await store.tokens.begin(Session("1", "kim", 200.0), 100.0)
    await store.tokens.begin(Session("2", "lee", 200.0), 100.0)
    await store.tokens.end("2")
    again = await reopen()
    assert await again.tokens.session("1") == Session("1", "kim", 200.0)
    assert await again.tokens.session("2") is None


async def test_sessions_that_are_over_go_and_of_too_many_those_that_end_first(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_port, "MOST_SESSIONS", 2)
    for name, expires in (("over", 150.0), ("first", 160.0), ("second", 170.0)):
        await store.tokens.begin(Session(name, "kim", expires), 100.0)
    assert await store.tokens.session("over") is None
    await store.tokens.begin(Session("third", "kim", 180.0), 165.0)
    kept = [name for name in ("over", "first", "second", "third") if await store.tokens.session(name)]
    assert kept == ["second", "third"]
