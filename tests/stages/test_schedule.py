"""Scheduled checks as they are written: when their rounds are due, and what is wrong with them, at its place."""

from datetime import UTC, datetime

import pytest

from stages.load_schedule import LoadedSchedule, from_raw_schedule, load_schedule
from stages.problems import InvalidPlan

HEAD = "apiVersion: stagedrollout.io/v1alpha1\nkind: ScheduledChecks\nmetadata: {name: ops}\nspec:\n"


def load(spec: str, **variables: str) -> LoadedSchedule:
    def read(path: str) -> bytes:
        if path == "./ask.sh":
            return b"echo 1\n"
        raise FileNotFoundError(path)

    return load_schedule(HEAD + spec, "ops.yaml", variables, read_file=read)


def problems(spec: str) -> list[str]:
    with pytest.raises(InvalidPlan) as caught:
        load(spec)
    return [str(one) for one in caught.value.problems]


def due(when: str, start: str, count: int, timezone: str = "Europe/Berlin") -> list[str]:
    """The next times, in UTC, of a round that is asked *when*."""
    spec = f"  timezone: {timezone}\n  rounds: [{{name: morning, {when}, checks: [{{env: HOME}}]}}]\n"
    entry, at, found = load(spec).document.spec.rounds[0], datetime.fromisoformat(start).timestamp(), []
    for _ in range(count):
        upcoming = entry.next_at(timezone, at)
        assert upcoming is not None
        at = upcoming
        found.append(datetime.fromtimestamp(at, UTC).strftime("%a %d %b %H:%M"))
    return found


def test_a_round_is_due_at_its_time_of_day_where_people_are() -> None:
    assert due('at: "09:00"', "2026-11-27T12:00+00:00", 2) == ["Sat 28 Nov 08:00", "Sun 29 Nov 08:00"]
    assert due('at: "09:00"', "2026-07-01T05:00+00:00", 1) == ["Wed 01 Jul 07:00"]
    assert due('at: "09:00", days: [mon, fri]', "2026-11-27T12:00+00:00", 2) == ["Mon 30 Nov 08:00", "Fri 04 Dec 08:00"]


def test_a_time_that_comes_twice_when_clocks_are_set_back_is_meant_once() -> None:
    assert due('at: "02:30"', "2026-10-24T12:00+00:00", 2) == ["Sun 25 Oct 00:30", "Mon 26 Oct 01:30"]


def test_a_time_that_is_left_out_when_clocks_are_set_forward_is_asked_an_hour_later() -> None:
    assert due('at: "02:30"', "2026-03-28T12:00+00:00", 2) == ["Sun 29 Mar 01:30", "Mon 30 Mar 00:30"]


def test_days_of_a_cron_expression_count_from_sunday() -> None:
    start = "2026-11-27T12:00+00:00"  # a Friday
    assert due('cron: "0 9 * * 1-5"', start, 2, "UTC") == ["Mon 30 Nov 09:00", "Tue 01 Dec 09:00"]
    assert (
        due('cron: "0 9 * * 0"', start, 1, "UTC") == due('cron: "0 9 * * 7"', start, 1, "UTC") == ["Sun 29 Nov 09:00"]
    )
    assert due('cron: "0 9 * * fri-mon"', start, 3, "UTC") == [
        "Sat 28 Nov 09:00",
        "Sun 29 Nov 09:00",
        "Mon 30 Nov 09:00",
    ]
    assert due('cron: "*/30 * * * *"', start, 2, "UTC") == ["Fri 27 Nov 12:30", "Fri 27 Nov 13:00"]
    assert due('cron: "0 9 29 2 *"', start, 1, "UTC") == ["Tue 29 Feb 09:00"]


@pytest.mark.parametrize(
    ("expression", "words"),
    (
        ("soon", "minute, hour, day, month and day of the week are meant"),
        ("60 * * * *", "is no cron expression"),
        ("0 9 31 2 *", "names no day that there is"),
        ("0 9 1 * mon", "write two rounds"),
        ("0 9 * * 8", "'8' is no day of the week"),
        ("0 9 * * mon-", "'' is no day of the week"),
        ("0 9 * * */0", "'*/0' is no day of the week"),
    ),
)
def test_a_cron_expression_that_means_nothing_is_refused_where_it_stands(expression: str, words: str) -> None:
    (found,) = problems(f'  rounds: [{{name: morning, cron: "{expression}", checks: [{{env: HOME}}]}}]\n')
    assert found.startswith("ops.yaml:5:")
    assert "spec.rounds[0].cron" in found
    assert words in found


@pytest.mark.parametrize(
    ("spec", "words"),
    (
        ("  rounds: [{name: a, checks: [{env: X}]}]\n", "a round has at"),
        ('  rounds: [{name: a, at: "09:00", cron: "* * * * *", checks: [{env: X}]}]\n', "a round has at"),
        ('  rounds: [{name: a, cron: "0 9 * * *", days: [mon], checks: [{env: X}]}]\n', "days belong to at"),
        ('  rounds: [{name: a, at: "25:00", checks: [{env: X}]}]\n', "a time such as"),
        ('  timezone: Berlin\n  rounds: [{name: a, at: "09:00", checks: [{env: X}]}]\n', "'Berlin' is no time zone"),
        ("  rounds: []\n", "spec.rounds"),
        ('  rounds: [{name: a, at: "09:00", chekcs: [{env: X}]}]\n', "did you mean 'checks'?"),
        ('  rounds: [{name: a, at: "09:00", checks: [{command: [./gone.sh]}]}]\n', "there is no file ./gone.sh"),
        ('  rounds: [{name: a, at: "09:00", checks: [{query: "up"}]}]\n', "prometheus"),
        ('  rounds: [{name: a, at: "09:00", checks: [{env: X}, {env: X}]}]\n', "is used twice"),
        (
            '  rounds: [{name: a, at: "09:00", checks: [{env: X}]}, {name: a, at: "10:00", checks: [{env: X}]}]\n',
            "the round name 'a' is used twice",
        ),
        (
            '  notify: {severity: {high: [x]}}\n  rounds: [{name: a, at: "09:00", checks: [{env: A}]}]\n',
            "unknown channel 'x'",
        ),
        ('  rounds: [{name: a, at: "${WHEN}", checks: [{env: X}]}]\n', "WHEN"),
    ),
)
def test_what_is_wrong_is_told_in_the_words_of_the_document(spec: str, words: str) -> None:
    found = problems(spec)
    assert any(words in one for one in found), found
    assert not any("spec.stages" in one for one in found)


def test_files_travel_along_and_count_in_the_digest_and_it_is_read_back_as_it_was() -> None:
    spec = '  rounds: [{name: a, at: "09:00", checks: [{command: [./ask.sh, "${WHO}"]}]}]\n'
    loaded = load(spec, WHO="me")
    assert list(loaded.plan.files) == ["./ask.sh"]
    assert load(spec, WHO="you").digest != loaded.digest
    again = from_raw_schedule(loaded.raw, loaded.plan.files)
    assert (again.digest, again.document) == (loaded.digest, loaded.document)
    entry = again.document.round("a")
    assert entry is not None
    assert entry.checks[0].command == ("./ask.sh", "me")
    assert again.document.round("b") is None
