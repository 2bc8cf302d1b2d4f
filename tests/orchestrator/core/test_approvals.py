"""Approvals and sign-offs of several people: who counts as what, whose yes is missing, and who takes it back."""

from typing import Any

import pytest

from orchestrator.core.commands import Actor
from orchestrator.core.events import ApprovalWithdrawn, WaitingAnswered
from orchestrator.core.view import status
from orchestrator.errors import Forbidden, Refused
from stages.checks import Approval
from tests.orchestrator.core.drive import AUTHOR, Drive
from tests.orchestrator.core.test_forward import exposure

THREE = {"all_of": ["engineering", "qa", "product"]}
ENG, QA, PRODUCT = (Actor(name, "operator", (group,)) for name, group in (
    ("eve", "engineering"), ("quinn", "qa"), ("pat", "product")))  # fmt: skip
ITEM = "approval:production/stage:open"


def waiting(drive: Drive) -> dict[str, Any]:
    (item,) = status(drive.state, drive.evidence, drive.now)["waiting"]
    return dict(item)


def guarded(**approval: Any) -> Drive:
    drive = Drive(exposure(approval=approval))
    drive.run_until(lambda: bool(drive.state.waiting))
    return drive


def opens(drive: Drive) -> None:
    drive.run_until(lambda: drive.percentage("beta") == 5, limit_seconds=60)


def test_status_shows_who_has_signed_as_what_and_with_which_words_and_who_is_missing() -> None:
    drive = guarded(**THREE)
    drive.command("approve", QA, reason="all green")
    shown = waiting(drive)
    (given,) = shown["approvals"]
    assert (given["name"], given["group"], given["comment"]) == ("quinn", "qa", "all green")
    assert given["at"].startswith("2023-11-14T22:13:")
    assert (shown["approved_by"], shown["missing"]) == (["quinn"], ["engineering", "product"])
    (hold,) = drive.state.holds.values()
    assert hold.detail.endswith("; approved by quinn (qa): all green; missing: engineering, product")
    assert "rejected" not in hold.detail


def test_it_takes_all_of_them() -> None:
    drive = guarded(**THREE)
    for actor in (ENG, QA):
        drive.command("approve", actor, reason="yes")
        assert drive.holds() == {"approval"}
    drive.command("approve", PRODUCT, reason="yes")
    opens(drive)
    closed = [one for one in drive.events if isinstance(one, WaitingAnswered) and one.closes]
    assert [one.by for one in closed] == ["eve, quinn, pat"]


def test_a_person_in_two_groups_signs_for_one_of_them() -> None:
    both = Actor("bo", "operator", ("engineering", "qa"))
    drive = guarded(all_of=["engineering", "qa"])
    drive.command("approve", both, reason="for both")
    assert waiting(drive)["missing"] == ["qa"]
    drive.command("approve", both, reason="again")
    assert waiting(drive)["missing"] == ["qa"]
    drive.command("approve", ENG, reason="then bo is of qa")
    opens(drive)


@pytest.mark.parametrize(
    ("approval", "people", "missing"),
    (
        ({"any_of": ["a"]}, [], ("a",)),
        ({"any_of": ["a", "b"]}, [], ("1 of a, b",)),
        ({"any_of": ["a", "b"], "count": 2}, [("x", ("a", "b"))], ("1 of a, b",)),
        ({"any_of": ["a"], "count": 3}, [("x", ("a",))], ("2 of a",)),
        ({"any_of": ["a"], "count": 1}, [("x", ("a",))], ()),
        ({"all_of": ["a", "b"]}, [("x", ("b",))], ("a",)),
        ({"all_of": ["a", "a"]}, [("x", ("a",))], ("a",)),
        ({"all_of": ["a", "b"], "count": 3}, [("x", ("b",))], ("a", "1 of a, b")),
        ({"all_of": ["a", "b"], "count": 3}, [("x", ("a",)), ("y", ("b",))], ("1 of a, b",)),
        ({"all_of": ["a", "b"]}, [("x", ("a", "b")), ("y", ("a",))], ()),
        ({"all_of": ["eve", "qa"]}, [("eve", ("qa",)), ("quinn", ("qa",))], ()),
    ),
)
def test_whose_yes_is_missing(approval: dict[str, Any], people: list[Any], missing: tuple[str, ...]) -> None:
    wanted = Approval.model_validate(approval)
    assert wanted.missing(tuple(people)) == missing
    assert wanted.satisfied(tuple(people)) is (not missing)


def test_the_author_signs_only_where_the_plan_lets_him() -> None:
    author = Actor(AUTHOR.name, "admin", ("qa",))
    drive = guarded(any_of=["qa"])
    with pytest.raises(Forbidden, match="self_approval is not set"):
        drive.command("approve", author, reason="mine")
    own = guarded(any_of=["qa"], self_approval=True)
    own.command("approve", author, reason="mine")
    opens(own)


@pytest.mark.parametrize("on_timeout", ("hold", "rollback"))
def test_an_approval_that_nobody_gave_in_time_ends_as_the_plan_says(on_timeout: str) -> None:
    asked = {"any_of": ["qa"], "timeout": "10m", "on_timeout": on_timeout}
    stage = {**exposure()["stages"][0], "steps": [{"percentage": 5}, {"percentage": 50, "approval": asked}]}
    del stage["percentages"]
    drive = Drive({**exposure(), "stages": [stage]})
    drive.run_until(lambda: drive.holds() == {"approval"})
    drive.advance(700)
    outcome, percentage = ("rolled_back", 0) if on_timeout == "rollback" else (None, 5)
    assert (drive.state.outcome, drive.percentage("beta")) == (outcome, percentage)


@pytest.mark.parametrize("on_timeout", ("hold", "rollback"))
def test_a_sign_off_that_nobody_gave_in_time_ends_as_the_plan_says(on_timeout: str) -> None:
    sign_off = {"any_of": ["qa"], "timeout": "10m", "on_timeout": on_timeout}
    drive = Drive({**exposure(percentages=[100]), "watch": "1m", "sign_off": sign_off})
    drive.run_until(lambda: drive.holds() == {"approval"})
    drive.advance(700)
    assert drive.state.outcome == ("rolled_back" if on_timeout == "rollback" else None)


# --- taken back -------------------------------------------------------------------------------------------------------


def test_who_gave_an_approval_takes_it_back_and_then_it_is_missing() -> None:
    drive = guarded(**THREE)
    drive.command("approve", ENG, reason="yes")
    drive.command("approve", QA, reason="yes")
    drive.command("withdraw", QA, reason="found a bug")
    assert waiting(drive)["missing"] == ["qa", "product"]
    drive.command("approve", PRODUCT, reason="yes")
    assert drive.holds() == {"approval"}
    withdrawn = next(one for one in drive.events if isinstance(one, ApprovalWithdrawn))
    assert (withdrawn.item, withdrawn.by, withdrawn.reason) == (ITEM, "quinn", "found a bug")
    drive.command("approve", QA, reason="it is mended")
    opens(drive)


def test_a_sign_off_is_taken_back_alike() -> None:
    drive = Drive({**exposure(percentages=[100]), "watch": "1m", "sign_off": THREE})
    drive.run_until(lambda: drive.holds() == {"approval"})
    drive.command("approve", ENG, reason="yes")
    drive.command("withdraw", ENG, reason="not yet")
    for actor in (QA, PRODUCT):
        drive.command("approve", actor, reason="yes")
    assert not drive.state.ended
    drive.command("approve", ENG, reason="now")
    assert drive.state.outcome == "promoted"


def test_only_who_gave_it_takes_it_back() -> None:
    drive = guarded(**THREE)
    drive.command("approve", ENG, reason="yes")
    with pytest.raises(Forbidden, match=f"withdrawn by who gave it: {ITEM} is approved by eve so far"):
        drive.command("withdraw", QA, item=ITEM)
    with pytest.raises(Refused, match="quinn has approved nothing"):
        drive.command("withdraw", QA)


def test_what_has_taken_effect_is_not_taken_back_and_what_would_work_is_said() -> None:
    drive = guarded(any_of=["qa"])
    drive.command("approve", QA, reason="yes")
    words = f"{ITEM} is closed .approve by quinn.*: pause holds the run where it is, rollback takes back what it did"
    for named in ({}, {"item": ITEM}, {"item": "stage:open"}):
        with pytest.raises(Refused, match=words):
            drive.command("withdraw", QA, **named)


def test_what_is_no_approval_is_not_withdrawn() -> None:
    drive = guarded(**THREE)
    with pytest.raises(Refused, match=f"nothing named beta is an approval; what waits for one: {ITEM}"):
        drive.command("withdraw", QA, item="beta")


def test_who_says_no_after_a_yes_has_not_approved() -> None:
    drive = guarded(any_of=["qa", "product"], count=2)
    drive.command("approve", QA, reason="yes")
    drive.command("reject", QA, reason="no: a bug")
    assert (waiting(drive)["approvals"], waiting(drive)["missing"]) == ([], ["2 of qa, product"])
    (hold,) = drive.state.holds.values()
    assert "rejected by quinn: no: a bug" in hold.detail
    drive.command("approve", PRODUCT, reason="yes")
    assert drive.holds() == {"approval"}
