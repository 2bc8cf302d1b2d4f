"""What several controllers of one store can rely on, whatever the store is made of."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

import pytest

from orchestrator.errors import Conflict, Fenced, NotFound
from orchestrator.journal.memory import MemoryReplica, MemoryStore
from orchestrator.journal.postgresql import PostgresStore
from orchestrator.ports import Member
from orchestrator.token_port import OwnerToken
from tests.support.journals import batch, flag_write, started
from tests.support.stores import PostgresSchema

Replica = MemoryReplica | PostgresStore
LONG_SECONDS, SHORT_SECONDS = 600.0, 0.05


@dataclass
class Shared:
    """One store, and time: *join* opens it once more, as the controller of that name; *lapse* lets short leases end."""

    join: Callable[[str], Awaitable[Replica]]
    lapse: Callable[[], Awaitable[None]]


@pytest.fixture(params=["memory", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def shared(request: pytest.FixtureRequest) -> AsyncIterator[Shared]:
    if request.param == "memory":
        yield _in_memory()
        return
    schema: PostgresSchema = request.getfixturevalue("postgres_schema")
    opened: list[PostgresStore] = []
    yield _on_postgresql(schema, opened)
    for one in opened:
        await one.close()


def _in_memory() -> Shared:
    store, passed = MemoryStore(), 0.0

    async def join(name: str) -> Replica:
        return MemoryReplica(store, _member(name), lambda: passed)

    async def lapse() -> None:
        nonlocal passed
        passed += 2 * SHORT_SECONDS

    return Shared(join, lapse)


def _on_postgresql(schema: PostgresSchema, opened: list[PostgresStore]) -> Shared:
    async def join(name: str) -> Replica:
        opened.append(PostgresStore(schema.url, _member(name)))
        return opened[-1]

    async def lapse() -> None:
        await asyncio.sleep(2 * SHORT_SECONDS)  # the database's own clock

    return Shared(join, lapse)


def _member(name: str) -> Member:
    return Member(name, f"http://{name}:8040")


async def _joined(shared: Shared, *names: str) -> list[Replica]:
    joined = [await shared.join(name) for name in names]
    for one in joined:
        await one.renew(LONG_SECONDS)
    return joined


async def _lapsed(shared: Shared, one: Replica) -> None:
    await one.renew(SHORT_SECONDS)
    await shared.lapse()


async def test_members_are_those_whose_lease_holds_by_name(shared: Shared) -> None:
    b, a = await _joined(shared, "b", "a")
    assert await a.members() == await b.members() == [_member("a"), _member("b")]
    await _lapsed(shared, b)
    assert await a.members() == [_member("a")]
    await a.leave()
    assert await b.members() == []


async def test_who_starts_a_run_acts_for_it_and_everybody_can_see_who(shared: Shared) -> None:
    a, b = await _joined(shared, "a", "b")
    await started(a)
    assert await a.owner("r") == await b.owner("r") == _member("a")
    assert await b.claim(10) == []
    assert await b.owner("x") is None


async def test_a_run_is_taken_by_who_has_claimed_it_alone(shared: Shared) -> None:
    a, b = await _joined(shared, "a", "b")
    await started(a)
    with pytest.raises(Fenced, match="not claimed by controller 'b'"):
        await b.take("r")
    assert await a.take("r") == 2
    with pytest.raises(NotFound):
        await a.take("x")


async def test_free_runs_are_claimed_oldest_first_up_to_so_many(shared: Shared) -> None:
    a, b = await _joined(shared, "a", "b")
    for run, at in (("young", 300.0), ("old", 100.0), ("middle", 200.0)):
        await started(a, run, at=at)
    await a.leave()
    assert await b.claim(2) == ["old", "middle"]
    assert await b.claim(2) == ["young"]
    assert await b.claim(2) == []


async def test_a_run_that_ended_is_free_only_while_something_is_left_to_do_for_it(shared: Shared) -> None:
    a, b = await _joined(shared, "a", "b")
    for run, settled in (("done", True), ("told", False)):
        await started(a, run)
        await a.append(batch(run, active=False, release=True, summary={"phase": "ended", "settled": settled}))
    await a.leave()
    assert await b.claim(10) == ["told"]


async def test_nobody_claims_what_another_has_while_its_lease_holds(shared: Shared) -> None:
    a, b = await _joined(shared, "a", "b")
    await started(a)
    await _lapsed(shared, a)
    assert await b.owner("r") is None
    await a.renew(LONG_SECONDS)
    assert await b.claim(10) == []
    assert await b.owner("r") == _member("a")


async def test_who_lost_a_claim_is_fenced_in_all_that_it_writes(shared: Shared) -> None:
    a, b = await _joined(shared, "a", "b")
    await started(a)
    epoch = await a.take("r")
    await a.append(batch(epoch=epoch))
    await _lapsed(shared, a)
    assert await b.claim(10) == ["r"]
    with pytest.raises(Fenced):
        await a.append(batch(after=2, epoch=epoch))
    with pytest.raises(Fenced):
        await a.take("r")
    await a.save_evidence({"r": (epoch, "of the old one")})
    assert await b.evidence("r") is None
    assert len(await b.read("r")) == 2


async def test_a_flag_is_written_in_the_name_of_a_run_by_who_acts_for_it_alone(shared: Shared) -> None:
    a, b = await _joined(shared, "a", "b")
    await started(a)
    epoch = await a.take("r")
    first = await a.write(replace(flag_write(), epoch=epoch), 1.0)
    await a.leave()
    await b.claim(10)
    late = replace(flag_write(expected=first.document.version, percentage=50.0), epoch=epoch)
    with pytest.raises(Fenced, match="flag 'f' was not written"):
        await a.write(late, 2.0)
    assert await b.get("production", "f") == first
    assert (await b.write(replace(late, epoch=await b.take("r")), 3.0)).document.percentage == 50.0


async def test_a_lease_that_lapsed_and_lost_a_claim_is_not_renewed_until_it_was_left(shared: Shared) -> None:
    a, b = await _joined(shared, "a", "b")
    await started(a)
    await _lapsed(shared, a)
    await b.claim(10)
    for _ in range(2):
        with pytest.raises(Fenced, match="lease of controller 'a' has lapsed"):
            await a.renew(LONG_SECONDS)
    await a.leave()
    await a.renew(LONG_SECONDS)
    assert await a.members() == [_member("a"), _member("b")]
    assert await b.owner("r") == _member("b")


async def test_a_lease_that_lapsed_and_lost_nothing_is_just_renewed(shared: Shared) -> None:
    a, b = await _joined(shared, "a", "b")
    await _lapsed(shared, a)
    assert await b.claim(10) == []
    await a.renew(LONG_SECONDS)
    assert await a.members() == [_member("a"), _member("b")]


async def test_without_a_lease_nothing_is_claimed(shared: Shared) -> None:
    (a,) = await _joined(shared, "a")
    await started(a)
    await a.leave()
    late = await shared.join("late")
    with pytest.raises(Fenced):
        await late.claim(10)
    await _lapsed(shared, late)
    with pytest.raises(Fenced):
        await late.claim(10)
    assert await late.owner("r") is None


async def test_who_leaves_gives_everything_up_at_once(shared: Shared) -> None:
    a, b = await _joined(shared, "a", "b")
    await started(a)
    epoch = await a.take("r")
    await a.leave()
    assert await b.owner("r") is None
    assert await b.claim(10) == ["r"]
    with pytest.raises(Fenced):
        await a.append(batch(epoch=epoch))


async def test_two_that_claim_at_once_never_have_the_same_run(shared: Shared) -> None:
    gone, a, b = await _joined(shared, "gone", "a", "b")
    runs = [f"r{number}" for number in range(20)]
    for run in runs:
        await started(gone, run)
    await gone.leave()
    parts = await asyncio.gather(*(one.claim(3) for one in (a, b) * 5))
    claimed = [run for part in parts for run in part]
    assert sorted(claimed) == sorted(runs)
    owners = {run: await gone.owner(run) for run in runs}
    for one, part in zip((a, b) * 5, parts, strict=True):
        assert {owners[run] for run in part} <= {one.me}


async def test_a_name_is_given_once_whoever_starts_it(shared: Shared) -> None:
    a, b = await _joined(shared, "a", "b")
    await started(a)
    with pytest.raises(Conflict):
        await started(b)
    assert await b.owner("r") == _member("a")


async def test_every_replica_reads_what_another_wrote(shared: Shared) -> None:
    a, b = await _joined(shared, "a", "b")
    records = await started(a)
    assert await b.read("r") == records
    written = await a.write(flag_write(), 1.0)
    assert await b.get("production", "f") == written
    assert await b.version() == written.document.version


async def test_the_kill_switch_is_put_there_by_one_who_knows_how_it_stood(shared: Shared) -> None:
    a, b = await _joined(shared, "a", "b")
    assert await a.switch() is None
    assert await a.put_switch("first", None)
    assert not await b.put_switch("second", None)
    assert await b.switch() == "first"
    assert await b.put_switch("second", "first")
    assert await a.switch() == "second"


async def test_the_token_of_whoever_runs_a_controller_is_known_to_the_others_while_its_lease_holds(
    shared: Shared,
) -> None:
    one, two = await shared.join("one"), await shared.join("two")
    owner = OwnerToken("one", "ann", "admin", "1" * 64)
    await one.tokens.lend(owner)
    assert await two.tokens.lent() == []  # it has not begun a lease
    await one.renew(LONG_SECONDS)
    assert await two.tokens.lent() == [owner]
    await one.tokens.lend(replace(owner, sha256="2" * 64))
    assert await two.tokens.lent() == [replace(owner, sha256="2" * 64)]
    await one.leave()
    assert await two.tokens.lent() == []


async def test_the_token_of_a_controller_whose_lease_has_lapsed_is_no_longer_known(shared: Shared) -> None:
    one, two = await shared.join("one"), await shared.join("two")
    await one.renew(SHORT_SECONDS)
    await one.tokens.lend(OwnerToken("one", "ann", "admin", "1" * 64))
    await shared.lapse()
    assert await two.tokens.lent() == []
