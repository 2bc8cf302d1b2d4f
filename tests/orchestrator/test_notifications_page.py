"""The page about notifications: its plans are read, and its way to tell who sent something works."""

import json
import re
from typing import Any, get_args

import pytest

from orchestrator.adapters.notify import signature
from stages.documents import read_document
from stages.notify import Channel, NewsWord
from tests.stages.plans import SMALL, load
from tests.support.process import ROOT

PAGE = (ROOT / "docs" / "notifications.md").read_text()
PIECES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("piece", PIECES)
def test_each_piece_fits_into_a_plan(piece: str) -> None:
    data = read_document(SMALL, "whole").data
    data["spec"]["notify"] = read_document(piece.replace("stages: [search]", "stages: [s]"), "piece").data["notify"]
    data["spec"]["stages"][0]["name"] = "s"
    load(json.dumps(data)).to_program()


def test_every_kind_of_channel_and_of_news_is_there() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE.partition("## News")[0], re.MULTILINE)) == set(Channel.model_fields)
    shown = PAGE.partition("## News")[2].partition("## Escalation")[0]
    assert all(word in shown for word in get_args(NewsWord))


def test_the_receiver_s_ten_lines_tell_the_genuine_from_the_forged_and_the_old(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    monkeypatch.setattr("time.time", lambda: 1_800_000_100.0)
    header = signature("s3cret", 1_800_000_000, b'{"title": "x"}')
    assert names["is_genuine"](header, b'{"title": "x"}', "s3cret")
    assert not names["is_genuine"](header, b'{"title": "y"}', "s3cret")
    assert not names["is_genuine"](header, b'{"title": "x"}', "other")
    assert not names["is_genuine"](signature("s3cret", 1_799_990_000, b"{}"), b"{}", "s3cret")
