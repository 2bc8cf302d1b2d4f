import fcntl
import json
import multiprocessing
import os
from pathlib import Path

import pytest

from orchestrator.errors import StoreError
from orchestrator.journal import kill_switch
from orchestrator.journal.kill_switch import FileKillSwitch, MemoryKillSwitch
from orchestrator.ports import KillSwitch, Latch


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "kill-switch.json"


@pytest.fixture(params=["memory", "file"])
def switch(request: pytest.FixtureRequest, path: Path) -> KillSwitch:
    return MemoryKillSwitch() if request.param == "memory" else FileKillSwitch(path)


def kill(switch: KillSwitch, environment: str = "production", *keys: str, permanent: bool = False) -> Latch:
    latch = Latch(environment, "ann", "errors", 5.0, keys, permanent)
    switch.disable_all(latch)
    return latch


def lift(switch: KillSwitch, environment: str = "production", key: str | None = None) -> None:
    switch.lift(environment, "bob", "fixed", 6.0, key=key)


# --- what every switch does ---


def test_nothing_is_killed_before_somebody_kills(switch: KillSwitch) -> None:
    assert not switch.is_killed("production")
    assert not switch.is_killed("production", "f")
    assert switch.latches() == ()


def test_a_killed_environment_is_killed_with_all_its_flags_and_no_other(switch: KillSwitch) -> None:
    assert kill(switch) == Latch("production", "ann", "errors", 5.0)
    assert switch.is_killed("production")
    assert switch.is_killed("production", "f")
    assert not switch.is_killed("staging", "f")
    assert switch.latches() == (Latch("production", "ann", "errors", 5.0),)


def test_the_star_kills_everywhere(switch: KillSwitch) -> None:
    kill(switch, "*")
    assert switch.is_killed("production", "f")
    assert switch.is_killed("staging")


def test_what_several_people_killed_adds_up(switch: KillSwitch) -> None:
    kill(switch, "staging")
    kill(switch, "*")
    kill(switch, "production")
    assert [latch.environment for latch in switch.latches()] == ["*", "production", "staging"]
    lift(switch, "production")
    assert not switch.is_killed("production")
    assert switch.is_killed("staging")
    assert switch.is_killed("qa")


def test_lifting_the_star_lifts_everything(switch: KillSwitch) -> None:
    kill(switch, "production")
    kill(switch, "*")
    lift(switch, "*")
    assert switch.latches() == ()
    assert not switch.is_killed("production")


def test_lifting_one_flag_leaves_the_latch_for_the_others(switch: KillSwitch) -> None:
    kill(switch)
    lift(switch, key="f")
    assert not switch.is_killed("production", "f")
    assert switch.is_killed("production", "g")
    assert switch.is_killed("production")
    assert len(switch.latches()) == 1


def test_lifting_one_flag_in_one_environment_of_the_star(switch: KillSwitch) -> None:
    kill(switch, "*")
    lift(switch, "production", key="f")
    assert not switch.is_killed("production", "f")
    assert switch.is_killed("staging", "f")
    lift(switch, "*", key="g")
    assert not switch.is_killed("staging", "g")
    assert not switch.is_killed("production", "g")
    assert switch.is_killed("production", "h")


def test_a_flag_under_two_latches_is_freed_from_both(switch: KillSwitch) -> None:
    kill(switch, "production")
    kill(switch, "*")
    lift(switch, "production", key="f")
    assert not switch.is_killed("production", "f")


def test_killing_again_forgets_what_was_lifted_from_it(switch: KillSwitch) -> None:
    kill(switch, "*")
    lift(switch, "*", key="f")
    lift(switch, "production")
    kill(switch, "*")
    assert switch.is_killed("production", "f")


def test_lifting_what_is_not_killed_does_nothing(switch: KillSwitch) -> None:
    lift(switch)
    lift(switch, "*", key="f")
    kill(switch)
    lift(switch, "staging")
    assert switch.is_killed("production")


# --- the file ---


def test_the_latch_survives_a_restart(path: Path) -> None:
    kill(FileKillSwitch(path))
    lift(FileKillSwitch(path), key="f")
    again = FileKillSwitch(path)
    assert again.latches() == (Latch("production", "ann", "errors", 5.0),)
    assert again.is_killed("production", "g")
    assert not again.is_killed("production", "f")


def test_what_another_process_wrote_is_seen_at_the_next_question(path: Path) -> None:
    ours, theirs = FileKillSwitch(path), FileKillSwitch(path)
    assert not ours.is_killed("production", "f")
    kill(theirs)
    assert ours.is_killed("production", "f")
    kill(ours, "staging")
    assert theirs.is_killed("staging")
    assert theirs.is_killed("production")
    lift(theirs, "*")
    assert not ours.is_killed("production")


def test_many_processes_killing_at_once_lose_no_latch(path: Path) -> None:
    fork = multiprocessing.get_context("spawn")
    workers = [fork.Process(target=kill_many, args=(path, number)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    names = {latch.environment for latch in FileKillSwitch(path).latches()}
    assert names == {f"e{number}-{index}" for number in range(3) for index in range(10)}


def kill_many(path: Path, number: int) -> None:
    kill_switch._LOCK_SECONDS = 60  # type: ignore[misc]  # however slow the machine is
    for index in range(10):
        kill(FileKillSwitch(path), f"e{number}-{index}")


def test_asking_reads_the_file_only_when_it_changed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    switch = FileKillSwitch(path)
    kill(switch)
    monkeypatch.setattr(switch, "_read", lambda: pytest.fail("read again"))
    for _ in range(100):
        assert switch.is_killed("production", "f")


@pytest.mark.parametrize("text", ("", "{", "[]", '{"version": 2}', '{"latches": [{"environment": "x"}]}', "\0" * 50))
def test_a_damaged_file_counts_as_killed_everywhere_and_says_so(path: Path, text: str) -> None:
    kill(FileKillSwitch(path), "staging")
    path.write_text(text)
    switch = FileKillSwitch(path)
    assert switch.is_killed("production", "f")
    (latch,) = switch.latches()
    assert latch.environment == "*"
    assert "can't be read" in latch.reason
    assert str(path) in latch.reason


def test_a_damaged_file_is_written_anew_by_whoever_lifts(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("{")
    switch = FileKillSwitch(path)
    lift(switch, "production", key="f")
    assert not switch.is_killed("production", "f")
    assert FileKillSwitch(path).is_killed("production", "g")
    lift(switch, "*")
    assert FileKillSwitch(path).latches() == ()


def test_a_folder_in_place_of_the_file_counts_as_killed(path: Path) -> None:
    path.mkdir(parents=True)
    assert FileKillSwitch(path).is_killed("production")


def test_a_file_that_vanishes_lifts_nothing_in_who_has_seen_it(path: Path) -> None:
    switch = FileKillSwitch(path)
    kill(switch)
    path.unlink()
    assert switch.is_killed("production", "f")
    lift(switch)
    assert not switch.is_killed("production", "f")
    assert path.exists()


def test_a_crash_in_the_middle_of_writing_leaves_the_file_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill(FileKillSwitch(path), "staging")
    before = path.read_bytes()

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        kill(FileKillSwitch(path))
    assert path.read_bytes() == before
    assert FileKillSwitch(path).is_killed("staging")


def test_a_kill_that_cannot_be_written_is_said_and_holds_in_this_process(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = FileKillSwitch(path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match=r"kill-switch\.json can't be written \(No space left on device\)"):
            kill(switch)
        assert switch.is_killed("production", "f")
        with pytest.raises(StoreError):
            lift(switch)
        assert switch.is_killed("production", "f")
    kill(switch, "staging")
    assert FileKillSwitch(path).is_killed("production", "f")  # written with the next one
    lift(switch, "*")
    assert not switch.is_killed("production", "f")


def test_killing_waits_for_nobody_who_keeps_the_lock_and_lifting_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kill_switch, "_LOCK_SECONDS", 0.0)
    path.parent.mkdir()
    frozen = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(frozen, fcntl.LOCK_EX)
    switch = FileKillSwitch(path)
    kill(switch)
    assert FileKillSwitch(path).is_killed("production")
    with pytest.raises(StoreError, match="changed by another process: try again"):
        lift(switch)
    assert switch.is_killed("production")
    os.close(frozen)
    lift(switch)
    assert not switch.is_killed("production")


def test_the_file_says_who_did_what_and_stays_small(path: Path) -> None:
    switch = FileKillSwitch(path)
    for _ in range(60):
        kill(switch)
        lift(switch)
    position = kill_switch.Position.model_validate_json(path.read_bytes())
    assert len(position.notes) == 100
    assert [(note.what, note.by, note.reason) for note in position.notes[-2:]] == [
        ("disabled", "ann", "errors"),
        ("lifted", "bob", "fixed"),
    ]


def test_nothing_but_the_file_and_its_lock_is_left_behind(path: Path) -> None:
    switch = FileKillSwitch(path)
    kill(switch)
    lift(switch)
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["kill-switch.json", "kill-switch.json.lock"]


def test_the_revision_rises_each_time_the_switch_is_moved_whoever_moves_it(path: Path) -> None:
    ours, theirs = FileKillSwitch(path), FileKillSwitch(path)
    seen = [ours.revision()]
    kill(theirs)
    seen.append(ours.revision())
    lift(theirs, "production", key="f")
    seen.append(ours.revision())
    lift(ours)
    seen.append(theirs.revision())
    assert seen == sorted(set(seen))


def test_the_revision_rises_over_a_file_that_was_damaged_and_stays_while_it_is(path: Path) -> None:
    kill(FileKillSwitch(path))
    before = FileKillSwitch(path).revision()
    path.write_text("{")
    switch = FileKillSwitch(path)
    assert switch.revision() > before
    assert switch.revision() == switch.revision()


def test_a_latch_over_single_flags_leaves_the_others_and_the_environment_alone(switch: KillSwitch) -> None:
    kill(switch, "production", "a", "b")
    assert switch.is_killed("production", "a")
    assert not switch.is_killed("production", "c")
    assert not switch.is_killed("production")
    assert not switch.is_killed("staging", "a")
    lift(switch, key="a")
    assert not switch.is_killed("production", "a")
    assert switch.is_killed("production", "b")
    lift(switch)
    assert switch.latches() == ()


def test_latches_over_different_flags_add_up_and_the_same_one_is_set_once(switch: KillSwitch) -> None:
    kill(switch, "production", "a")
    kill(switch, "production", "b", "a")
    kill(switch, "production", "a", "b")
    kill(switch)
    assert [latch.keys for latch in switch.latches()] == [(), ("a",), ("a", "b")]


def test_a_permanent_flag_is_passed_by_unless_the_latch_says_otherwise(switch: KillSwitch) -> None:
    kill(switch)
    assert not switch.is_killed("production", "a", permanent=True)
    kill(switch, "production", "a", permanent=True)
    assert switch.is_killed("production", "a", permanent=True)
    assert not switch.is_killed("production", "b", permanent=True)


# --- switches of several controllers ---


def merge(*switches: KillSwitch, text: str | None = None) -> str | None:
    for one in switches:
        text = one.merge(text)
    return text


@pytest.fixture
def other(request: pytest.FixtureRequest, tmp_path: Path) -> KillSwitch:
    is_memory = "memory" in request.node.callspec.params.get("switch", "file")
    return MemoryKillSwitch() if is_memory else FileKillSwitch(tmp_path / "other" / "kill-switch.json")


def test_switches_that_were_never_used_have_nothing_to_tell(switch: KillSwitch, other: KillSwitch) -> None:
    assert merge(switch, other) is None
    assert switch.revision() == 0


def test_what_any_of_them_killed_all_kill(switch: KillSwitch, other: KillSwitch) -> None:
    kill(switch, "staging")
    kill(other, "production", "f")
    text = merge(switch, other, switch)
    assert switch.latches() == other.latches() == (Latch("production", "ann", "errors", 5.0, ("f",)), staging())
    assert switch.revision() == other.revision() > 5000
    assert merge(switch, other, text=text) == text


def test_of_one_moment_all_have_the_same_text(switch: KillSwitch, other: KillSwitch) -> None:
    """Whoever merges first, and whatever order a set has in its process."""
    places = [f"environment-{number}" for number in range(12)]
    for place in places:
        kill(switch, place)
        kill(other, place, "f")
    one = merge(switch, other, switch)
    assert one is not None
    notes = json.loads(one)["notes"]
    assert [note["environment"] for note in notes] == sorted(note["environment"] for note in notes)
    assert merge(other, switch, text=one) == one


def staging() -> Latch:
    return Latch("staging", "ann", "errors", 5.0)


def test_what_one_lifts_all_lift(switch: KillSwitch, other: KillSwitch) -> None:
    kill(switch)
    merge(switch, other)
    lift(other)
    assert switch.is_killed("production", "f")
    merge(other, switch)
    assert switch.latches() == other.latches() == ()
    assert switch.revision() == other.revision()


def test_a_flag_that_one_lifts_is_lifted_everywhere_and_the_rest_stays(switch: KillSwitch, other: KillSwitch) -> None:
    kill(switch)
    merge(switch, other)
    lift(switch, key="f")
    lift(other, key="g")
    merge(switch, other, switch)
    for one in (switch, other):
        assert [one.is_killed("production", key) for key in ("f", "g", "h")] == [False, False, True]


def test_what_is_set_anew_while_another_lifts_it_stays_set(switch: KillSwitch, other: KillSwitch) -> None:
    kill(switch)
    merge(switch, other)
    lift(switch)
    other.disable_all(Latch("production", "eve", "again", 7.0))
    merge(switch, other, switch)
    assert switch.latches() == other.latches() == (Latch("production", "eve", "again", 7.0),)


def test_the_revision_rises_with_every_position_and_is_the_same_for_the_same_one(
    switch: KillSwitch, other: KillSwitch
) -> None:
    kill(switch, "staging")
    kill(other, "production")  # at the same time, so with the same revision: it must not mean two things
    before = switch.revision()
    assert before == other.revision()
    merge(switch, other, switch)
    assert switch.revision() == other.revision() > before


def test_a_file_that_cannot_be_read_is_no_matter_of_the_others(path: Path, tmp_path: Path) -> None:
    broken, sound = FileKillSwitch(path), FileKillSwitch(tmp_path / "sound.json")
    kill(sound, "staging")
    text = sound.merge(None)
    path.parent.mkdir()
    path.write_text("not what was written")
    assert broken.is_killed("production")
    assert broken.merge(text) == text
    lift(broken, "*")
    assert merge(broken, sound, text=text) is not None
    assert [one.is_killed("production") for one in (broken, sound)] == [False, False]
    assert [one.is_killed("staging") for one in (broken, sound)] == [True, True]


def test_what_stands_in_the_store_and_cannot_be_read_changes_nothing(switch: KillSwitch) -> None:
    kill(switch)
    with pytest.raises(StoreError, match="newer controller"):
        switch.merge('{"version": 2}')
    assert switch.is_killed("production")
