"""Flags in a flagd document in a file: what is changed of it, what is refused, and who else may write it."""

import fcntl
import json
import os
from pathlib import Path

import pytest

from orchestrator.adapters.flag_systems import flagd_file
from orchestrator.adapters.flag_systems.flagd import FlagdFlags
from orchestrator.adapters.flag_systems.flagd_file import FlagdFile
from orchestrator.adapters.flag_systems.port import Moved, Wish
from orchestrator.adapters.kubernetes.marks import Author
from orchestrator.core.effect import EffectState
from orchestrator.errors import Permanent, Temporary
from stages.flag_systems import FlagdSystem
from tests.contract.flag_sites import DOCUMENT, KEY, FlagdSite, desk_at, valued


@pytest.fixture
def flagd(tmp_path: Path) -> FlagdSite:
    made = FlagdSite(tmp_path)
    made.write(False, 0)
    return made


def beside(flagd: FlagdSite) -> list[Path]:
    return list(flagd.file.parent.iterdir())


async def test_a_change_of_the_file_leaves_every_other_byte(flagd: FlagdSite) -> None:
    await desk_at(flagd.place()).raised(25)
    expected = DOCUMENT.replace("DISABLED", "ENABLED").replace('["on",0], ["off", 100]', '["on",25], ["off", 75]')
    assert flagd.file.read_text() == expected
    assert beside(flagd) == [flagd.file]


async def test_percentages_finer_than_the_weights_make_finer_weights_which_go_back(flagd: FlagdSite) -> None:
    desk = desk_at(flagd.place())
    before = (await desk.look()).value
    standing = await desk.raised(0.125)
    assert '["on",125], ["off", 99875]' in flagd.file.read_text()
    await desk.set(before, standing)
    assert flagd.file.read_text() == DOCUMENT


async def test_finer_weights_go_back_also_where_the_percentage_is_right_already(flagd: FlagdSite) -> None:
    desk = desk_at(flagd.place())
    before = (await desk.look()).value
    flagd.write(False, 0, 100_000)
    outcome = await desk.set(before, (await desk.look()).value)
    assert (outcome.state, flagd.file.read_text()) == (EffectState.DONE, DOCUMENT)


async def test_a_fraction_behind_targets_is_raised_and_the_targets_stay(flagd: FlagdSite) -> None:
    draw = '{"fractional": [ ["on",0], ["off", 100] ]}'
    targeted = DOCUMENT.replace(draw, f'{{"if": [{{"in": [{{"var": "team"}}, ["qa"]]}}, "on", {draw}]}}')
    flagd.file.write_text(targeted)
    await desk_at(flagd.place()).raised(10)
    expected = targeted.replace("DISABLED", "ENABLED").replace('["on",0], ["off", 100]', '["on",10], ["off", 90]')
    assert flagd.file.read_text() == expected


@pytest.mark.parametrize(
    "targeting",
    (
        "{}",
        "null",
        '"on"',
        '{"fractional": []}',
        '{"fractional": [["on", 100]]}',
        '{"fractional": [["off", 90], ["on", 10]]}',
        '{"fractional": [["on", 1], ["off", 2]]}',
        '{"fractional": [["on", 0.5], ["off", 0.5]]}',
        '{"fractional": [["on", -1], ["off", 101]]}',
        '{"fractional": [["on"], ["off"]]}',
        '{"fractional": [["on", 0], ["on", 5], ["off", 95]]}',
        '{"fractional": [{"var": "email"}, ["on", 10], ["off", 90]]}',
        '{"if": [{"in": [{"var": "team"}, ["qa"]]}, "on", "off"]}',
        '{"if": [{"ends_with": [{"var": "email"}, "@x"]}, "on", {"fractional": [["on", 0], ["off", 100]]}]}',
        '{"$ref": "shared"}',
        '[["on", 10]]',
        "7",
    ),
)
async def test_targeting_that_is_no_percentage_is_refused_with_its_place(flagd: FlagdSite, targeting: str) -> None:
    flagd.file.write_text(DOCUMENT.replace('{"fractional": [ ["on",0], ["off", 100] ]}', targeting))
    there = flagd.file.read_bytes()
    with pytest.raises(
        Permanent, match=rf"flags\.{KEY}\.targeting.*: .*expected|can't be taken over|leave .* out|add up"
    ):
        await desk_at(flagd.place()).look()
    outcome = await desk_at(flagd.place()).set(valued(True, 5), None)
    assert (outcome.state, flagd.file.read_bytes()) == (EffectState.REFUSED, there)


@pytest.mark.parametrize("text", ("[]", "7", '{"a": {}}', '{"flags": []}'))
async def test_a_file_of_something_else_is_refused(flagd: FlagdSite, text: str) -> None:
    flagd.file.write_text(text)
    with pytest.raises(Permanent, match=r"flags\.json is no flagd document: it has no object flags"):
        await desk_at(flagd.place()).look()


@pytest.mark.parametrize(
    ("text", "sentence"),
    (
        ("", "no flagd document"),
        ("{", "no flagd document"),
        ("\udcff", "no flagd document"),
        ('{"flags": {"a": {}, "a": {}}}', "stands twice"),
        ('{"flags": ' + "[" * 100_000, "nested too deeply"),
        ('{"flags": NaN}', "no number of JSON"),
    ),
)
async def test_a_file_that_is_no_document_now_is_looked_at_again_later(
    flagd: FlagdSite, text: str, sentence: str
) -> None:
    flagd.file.write_text(text, errors="surrogateescape")
    with pytest.raises(Temporary, match=sentence):
        await desk_at(flagd.place()).look()
    outcome = await desk_at(flagd.place()).set(valued(True, 5), None)
    assert outcome.state is EffectState.TEMPORARY


async def test_a_file_that_is_away_is_waited_for(flagd: FlagdSite) -> None:
    flagd.file.unlink()
    with pytest.raises(Temporary, match=r"flags\.json can't be read: No such file"):
        await desk_at(flagd.place()).look()


async def test_an_edit_between_look_and_write_is_seen_and_stays(flagd: FlagdSite) -> None:
    flags = FlagdFlags(FlagdFile(flagd.file))
    sight = await flags.look(KEY)
    flagd.write(True, 40)
    there = flagd.file.read_bytes()
    with pytest.raises(Moved):
        await flags.step(KEY, sight, Wish(True, 60, {"of": 100}), Author("r1-e3", "r1", 0))
    assert (flagd.file.read_bytes(), beside(flagd)) == (there, [flagd.file])


async def test_a_file_that_another_process_is_changing_is_left_alone(
    flagd: FlagdSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flagd_file, "LOCK_TRIES", 2)
    there = flagd.file.read_bytes()
    folder = os.open(flagd.file.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        outcome = await desk_at(flagd.place()).set({**valued(True, 60), "parameters": {"of": 100}}, None)
    finally:
        os.close(folder)
    assert (outcome.state, flagd.file.read_bytes()) == (EffectState.TEMPORARY, there)
    assert "holds the lock" in outcome.detail


async def test_a_link_stays_a_link_and_the_mode_stays(flagd: FlagdSite, tmp_path: Path) -> None:
    flagd.file.chmod(0o640)
    link = tmp_path / "elsewhere" / "link.json"
    link.parent.mkdir()
    link.symlink_to(flagd.file)
    await desk_at(FlagdSystem(file=str(link))).raised(5)
    assert link.is_symlink()
    assert (flagd.file.stat().st_mode & 0o777, json.loads(link.read_text())["flags"][KEY]["state"]) == (
        0o640,
        "ENABLED",
    )
