"""The text that carries all flags of an environment: whole, and the same for the same flags."""

import json
from dataclasses import replace
from typing import Any

import pytest

from flags.feed import Feed, FeedVersion, InvalidFeed, Texts, newest
from flags.model import FlagDocument, Version

DOCUMENTS = (
    FlagDocument("b", percentage=25, targets={"team": ("a", "b")}, version=Version(1, 7)),
    FlagDocument("a", variants={"on": 1.0, "off": 0.5}, parameters={"size": 3}, version=Version(1, 3)),
)
FEED = Feed("production", FeedVersion(newest(DOCUMENTS), 5), DOCUMENTS, True, ("b",))


def changed(**fields: Any) -> str:
    return json.dumps({**json.loads(FEED.encode()), **fields})


def test_a_feed_comes_back_as_it_was_in_the_order_of_its_keys() -> None:
    back = Feed.decode(FEED.encode())
    assert back.documents == tuple(sorted(DOCUMENTS, key=lambda one: one.key))
    assert (back.environment, str(back.version), back.killed, back.lifted) == ("production", "1.7.5", True, ("b",))
    assert back.encode() == FEED.encode()


def test_a_text_is_the_same_whether_its_documents_were_made_before_or_not() -> None:
    texts = Texts()
    written = replace(FEED, documents=(replace(DOCUMENTS[0], percentage=50.0), DOCUMENTS[1]))
    for feed in (FEED, FEED, written, Feed("production"), FEED):
        assert feed.encode(texts) == feed.encode()
        assert Feed.decode(feed.encode(texts)).encode() == feed.encode()


def test_a_snapshot_of_a_feed_answers_as_the_switch_stands() -> None:
    snapshot = FEED.snapshot()
    lifted, killed = snapshot.get("b"), snapshot.get("a")
    assert lifted is not None
    assert killed is not None
    assert lifted.is_on({"team": "a"})
    assert not killed.is_on({"targetingKey": "x"})


def test_versions_order_by_write_and_then_by_the_switch() -> None:
    texts = ["1.2.9", "1.3.0", "1.3.1", "2.0.0", "10.0.0"]
    assert [str(one) for one in sorted(map(FeedVersion.parse, reversed(texts)))] == texts


def test_documents_that_are_known_are_taken_as_they_are() -> None:
    written = replace(DOCUMENTS[0], percentage=50.0, version=Version(1, 8))
    back = Feed.decode(replace(FEED, documents=(written, DOCUMENTS[1])).encode(), FEED)
    assert back.documents == (DOCUMENTS[1], written)
    assert back.documents[0] is DOCUMENTS[1]


def test_a_document_that_is_another_in_the_same_version_is_not_taken_for_the_known_one() -> None:
    other = replace(DOCUMENTS[0], percentage=50.0)
    assert Feed.decode(replace(FEED, documents=(other,)).encode(), FEED).documents == (other,)


@pytest.mark.parametrize(
    ("text", "said"),
    (
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "a feed is a JSON object"),
        (changed(format=2), "format: 1 is expected, got 2"),
        (changed(killed=0), "killed: true or false"),
        (changed(lifted="b"), "lifted: a list of keys"),
        (changed(flags={}), "flags: a list of documents"),
        (changed(flags=[{"key": "a", "percentage": 101}]), "percentage"),
        (changed(flags=[{"key": "a"}, {"key": "a"}]), "'a' is there twice"),
        (changed(environment="staging"), "belongs to 'production', not to 'staging'"),
        (changed(environment=""), "environment: a name"),
        (changed(version="1.2"), "version: GENERATION.NUMBER.REVISION"),
    ),
)
def test_what_is_no_feed_is_refused_with_the_place(text: str, said: str) -> None:
    with pytest.raises(InvalidFeed) as caught:
        Feed.decode(text, FEED)
    assert said in str(caught.value)
