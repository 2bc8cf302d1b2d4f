from __future__ import annotations

import pytest

from flags import FlagDocument, InvalidFlag, Reason, Snapshot


def test_a_snapshot_knows_its_flags_and_their_parameters_in_order() -> None:
    snapshot = Snapshot([FlagDocument("b"), FlagDocument("a", parameters={"rate": 1})])
    assert snapshot.keys() == ("a", "a.parameters", "b")
    for key in ("a", "a.parameters", "b"):
        flag = snapshot.get(key)
        assert flag is not None
        assert flag.key == key
    assert snapshot.get("c") is None
    assert snapshot.get("b.parameters") is None


def test_the_parameters_flag_has_them_whole_with_the_profile_merged_in() -> None:
    document = FlagDocument(
        "batch", parameters={"rate": 1, "limits": {"low": (1,)}}, profiles={"fast": {"rate": 9}}, profile="fast"
    )
    flag = Snapshot([document]).get("batch.parameters")
    assert flag is not None
    details = flag.details({})
    assert details.value == flag.value({}) == {"rate": 9, "limits": {"low": (1,)}}
    assert (details.variant, details.reason) == ("fast", Reason.STATIC)


def test_a_profile_that_is_not_in_force_leaves_an_empty_object_and_not_nothing() -> None:
    flag = Snapshot([FlagDocument("batch", profiles={"fast": {"rate": 9}})]).get("batch.parameters")
    assert flag is not None
    assert flag.value({}) == {}


def is_on(snapshot: Snapshot, key: str) -> bool:
    flag = snapshot.get(key)
    assert flag is not None
    return flag.is_on({"targetingKey": "user-1"})


def test_the_kill_switch_holds_every_flag_but_permanent_and_lifted_ones() -> None:
    documents = [
        FlagDocument("killed", percentage=100, parameters={"rate": 1}),
        FlagDocument("lifted", percentage=100),
        FlagDocument("permanent", percentage=100, permanent=True),
    ]
    snapshot = Snapshot(documents, killed=True, lifted={"lifted"})
    assert {key: is_on(snapshot, key) for key in ("killed", "lifted", "permanent")} == {
        "killed": False,
        "lifted": True,
        "permanent": True,
    }
    parameters = snapshot.get("killed.parameters")
    assert parameters is not None
    assert parameters.value({}) == {"rate": 1}
    assert parameters.details({}).metadata == {"killed": True}


def test_of_a_document_that_is_known_the_flags_are_taken_while_the_switch_stands_as_it_did() -> None:
    same, before = FlagDocument("same", parameters={"rate": 1}), FlagDocument("written")
    known = Snapshot([same, before])
    snapshot = Snapshot([same, FlagDocument("written", percentage=100)], known=known)
    assert snapshot.get("same") is known.get("same")
    assert snapshot.get("same.parameters") is known.get("same.parameters")
    assert is_on(snapshot, "written")
    assert snapshot.keys() == known.keys()


def test_what_the_kill_switch_took_hold_of_or_let_go_is_not_taken_from_before() -> None:
    documents = [
        FlagDocument("flag", percentage=100),
        FlagDocument("lifted", percentage=100),
        FlagDocument("permanent", percentage=100, permanent=True),
    ]
    free = Snapshot(documents)
    killed = Snapshot(documents, killed=True, lifted={"lifted"}, held={"permanent"}, known=free)
    assert [is_on(killed, key) for key in ("flag", "lifted", "permanent")] == [False, True, False]
    again = Snapshot(documents, known=killed)
    assert [is_on(again, key) for key in ("flag", "lifted", "permanent")] == [True, True, True]


def test_documents_are_found_by_key() -> None:
    document = FlagDocument("a")
    snapshot = Snapshot(iter([document]))
    assert snapshot.document("a") is document
    assert snapshot.document("a.parameters") is None
    assert snapshot.documents() == (document,)


def test_two_documents_of_one_key_are_refused() -> None:
    with pytest.raises(InvalidFlag, match="flag 'a': key: expected one document per key"):
        Snapshot([FlagDocument("a"), FlagDocument("a")])


def test_a_document_of_another_environment_is_refused() -> None:
    with pytest.raises(InvalidFlag, match="environment: expected 'staging'"):
        Snapshot([FlagDocument("a")], environment="staging")
