"""What somebody could ask of a run now: the very answer that the command would get."""

from typing import Any

import pytest

from orchestrator.core.commands import Actor
from orchestrator.core.moment import Moment
from orchestrator.core.offers import Offer, offers
from orchestrator.core.phases import CommandName, Phase
from orchestrator.errors import Refused
from tests.orchestrator.core.drive import AUTHOR, OTHER, Drive

FLAG: dict[str, Any] = {"flags": {"beta": {}}}
OPEN = {"name": "open", "kind": "monitoring", "flag": "beta", "percentages": [5, 50], "bake": "1m"}
GUARDED: dict[str, Any] = {**FLAG, "stages": [{**OPEN, "approval": {"any_of": ["on-call"]}}]}
TWO: dict[str, Any] = {
    "flags": {"beta": {}, "gamma": {}},
    "stages": [OPEN, {**OPEN, "name": "wider", "flag": "gamma"}],
    "watch": "10m",
}
SCHEMA: dict[str, Any] = {
    **FLAG,
    "database": {"env": "DB"},
    "stages": [
        {"name": "tables", "kind": "migration", "migrations": [{"up": "up.sql", "down": "down.sql"}]},
        OPEN,
    ],
    "watch": "10m",
}
FILES = {"up.sql": "CREATE TABLE t (a int);", "down.sql": "DROP TABLE t;"}


def offered(drive: Drive, actor: Actor = OTHER) -> list[Offer]:
    return offers(Moment(drive.state, drive.evidence, drive.now), actor)


def one(drive: Drive, command: str, actor: Actor = OTHER, **fields: object) -> Offer:
    found = [
        offer
        for offer in offered(drive, actor)
        if offer.command.command == command
        and all(getattr(offer.command, name) == value for name, value in fields.items())
    ]
    assert found, [offer.command for offer in offered(drive, actor)]
    return found[0]


def names(drive: Drive, actor: Actor = OTHER) -> set[str]:
    return {offer.command.command.value for offer in offered(drive, actor)}


def test_what_a_role_never_gives_is_left_out() -> None:
    drive = Drive({**FLAG, "stages": [OPEN]})
    drive.run_until(lambda: drive.percentage("beta") == 5)
    assert names(drive, Actor("eve", "viewer")) == set()
    assert "advance" not in names(drive, Actor("olga", "operator"))
    assert {"advance", "pause", "rollback", "stop"} <= names(drive, Actor("amy", "approver"))


def test_what_is_refused_now_says_why_in_the_words_of_the_command() -> None:
    drive = Drive({**FLAG, "stages": [OPEN]})
    drive.run_until(lambda: drive.percentage("beta") == 5)
    refused = one(drive, "resume").refused
    assert refused is not None
    with pytest.raises(Refused) as caught:
        drive.command("resume", OTHER)
    assert str(caught.value) == refused
    assert one(drive, "pause").refused is None


def test_an_offer_that_is_not_refused_is_accepted_wherever_a_run_stands() -> None:
    """Every phase of a run with an approval, a schema and a watch; each offer is tried on a run of its own."""
    for seconds in range(0, 400, 40):
        drive = _at(seconds)
        for offer in offered(drive):
            again = _at(seconds)
            if again.state.ended and offer.command.command is CommandName.ROLLBACK:
                continue  # carried out by the service, as a run of its own
            if offer.refused is None:
                again.command(offer.command.command, OTHER, **_fields(offer))


def _fields(offer: Offer) -> dict[str, Any]:
    return offer.command.model_dump(exclude={"command", "key"}, exclude_defaults=True)


def _at(seconds: float) -> Drive:
    drive = Drive({**SCHEMA, "watch": "1m"}, FILES)
    begun = drive.now
    drive.run_until(lambda: drive.now - begun >= seconds or drive.state.ended)
    return drive


def test_each_waiting_item_is_offered_with_yes_and_no_and_says_who_may_not() -> None:
    drive = Drive(GUARDED)
    drive.run_until(lambda: bool(drive.state.waiting))
    item = next(iter(drive.state.waiting))
    assert one(drive, "approve", item=item).refused is None
    assert one(drive, "reject", item=item).refused is None
    assert "on-call" in str(one(drive, "approve", Actor("zoe", "operator"), item=item).refused)
    assert one(drive, "approve", AUTHOR, item=item).refused is not None


def test_who_approved_while_others_are_missing_is_offered_to_take_it_back() -> None:
    drive = Drive({**FLAG, "stages": [{**OPEN, "approval": {"any_of": ["on-call"], "count": 2}}]})
    drive.run_until(lambda: bool(drive.state.waiting))
    item = next(iter(drive.state.waiting))
    assert "withdraw" not in names(drive)
    drive.command("approve", reason="fine")
    assert one(drive, "withdraw", item=item).refused is None
    assert "withdraw" not in names(drive, Actor("zoe", "operator", ("on-call",)))


def test_a_rollback_says_what_comes_back_and_what_stays() -> None:
    drive = Drive(SCHEMA, FILES)
    drive.run_until(lambda: drive.percentage("beta") == 5)
    plain, whole = one(drive, "rollback", with_schema=False), one(drive, "rollback", with_schema=True)
    assert plain.returns == (drive.state.targets["flag:production/beta"].title,)
    assert any("schema stays" in sentence for sentence in plain.stays)
    assert len(whole.returns) == 2
    assert not any("schema stays" in sentence for sentence in whole.stays)


def test_later_stages_can_be_brought_back_alone() -> None:
    drive = Drive(TWO)
    drive.run_until(lambda: drive.state.phase is Phase.WATCHING)
    later = one(drive, "rollback", stage="wider")
    assert later.refused is None
    assert later.returns == (drive.state.targets["flag:production/gamma"].title,)
    stages = {offer.command.stage for offer in offered(drive) if offer.command.command is CommandName.ROLLBACK}
    assert stages == {None, "wider"}


def test_a_promoted_run_can_be_taken_back_and_one_that_came_back_can_not() -> None:
    promoted = Drive({**FLAG, "stages": [OPEN]})
    promoted.run_until(lambda: promoted.state.ended)
    assert one(promoted, "rollback").refused is None
    assert one(promoted, "rollback").returns
    back = Drive({**FLAG, "stages": [OPEN]})
    back.run_until(lambda: back.percentage("beta") == 5)
    back.command("rollback", OTHER, reason="bad")
    back.run_until(lambda: back.state.ended)
    assert "rollback" not in names(back)


def test_ack_is_offered_only_while_something_escalates() -> None:
    drive = Drive({**FLAG, "stages": [OPEN]})
    drive.run_until(lambda: drive.percentage("beta") == 5)
    assert "ack" not in names(drive)
    drive.command("pause", OTHER, reason="look")
    assert "ack" in names(drive)
