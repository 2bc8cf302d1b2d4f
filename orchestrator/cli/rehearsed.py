"""A rehearsal for people: as text for a terminal, or as Markdown for a change review. Both show the same sections."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from string import ascii_lowercase

from orchestrator.cli.client import Json
from orchestrator.cli.output import paint, printable, table, width

MOST_ROWS = 40  # of one section; JSON has all
MOST_PROBLEMS = 20
WIDEST_PLACE = 44
ROOM_OF_TIMES = 16
WIDEST_WORDS = 96
LIKE_IT = 3  # so many rows that say the same become one
Rows = list[tuple[str, ...]]


@dataclass
class Section:
    """*said* are sentences above the table, which has a row for each case or for several that came to the same."""

    title: str
    said: list[str] = field(default_factory=list)
    heads: tuple[str, ...] = ()
    rows: Rows = field(default_factory=list)
    is_bad: bool = False


class Notes:
    """Sentences that many rows share, by a letter each."""

    def __init__(self) -> None:
        self.letters: dict[str, str] = {}

    def of(self, sentences: Sequence[str]) -> str:
        """Letters in a row are ``a-d``."""
        for one in sentences:
            self.letters.setdefault(one, _letter(len(self.letters)))
        known = list(self.letters)
        spans: list[list[int]] = []
        for number in sorted(known.index(one) for one in set(sentences)):
            if spans and number == spans[-1][-1] + 1:
                spans[-1].append(number)
            else:
                spans.append([number])
        return " ".join(_between(span) for span in spans) or "-"


def _between(numbers: Sequence[int]) -> str:
    letters = [_letter(number) for number in numbers]
    return f"{letters[0]}-{letters[-1]}" if len(letters) > 2 else " ".join(letters)


def _letter(number: int) -> str:
    more, last = divmod(number, len(ascii_lowercase))
    return (ascii_lowercase[more - 1] if more else "") + ascii_lowercase[last]


# --- sections ---------------------------------------------------------------------------------------------------------


def sections(found: Json) -> list[Section]:
    notes = Notes()
    made = [_forward(found)]
    made += [_scenario(found, scenario, notes) for scenario in found["scenarios"] if scenario["cases"]]
    if notes.letters:
        rows: Rows = [(letter, _clip(printable(words), WIDEST_WORDS - 5)) for words, letter in notes.letters.items()]
        made.append(Section("What does not come back, and why", heads=("", "what"), rows=rows))
    made.append(_assumed(found))
    return made


def _forward(found: Json) -> Section:
    forward = found["forward"]
    said = [f"{_words(forward['end'])} after {span(forward['seconds'])}", *_needs([forward])]
    rows: Rows = [
        (
            span(step["reached_seconds"]),
            _clip(_place(found, step), WIDEST_PLACE),
            f"{step['percentage']:g} %" if step["percentage"] is not None else "-",
            span(step["left_seconds"] - step["reached_seconds"]),
        )
        for step in forward["steps"]
    ]
    heads = ("after", "step", "exposure", "stays there")
    return Section("The way forward", said, heads, rows, bool(forward["problems"]))


def _scenario(found: Json, scenario: Json, notes: Notes) -> Section:
    cases = scenario["cases"]
    made = Section(scenario["title"], is_bad=any(case["problems"] for case in cases))
    on = [case for case in cases if case["end"] == "goes on"]
    if on:
        made.said.append(_on(found, on, len(cases)))
    others = [case for case in cases if case["end"] != "goes on"]
    made.said += _needs(cases)
    if any(case["all_back_seconds"] is not None for case in others):
        made.heads = ("from", "exposure back", "all back", "end", "stays")
        made.rows = _merged([_back_row(found, case, notes) for case in others])
    elif others:
        made.heads = ("from", "end", "stays")
        made.rows = _merged([_end_row(found, case, notes) for case in others])
    return made


def _on(found: Json, cases: list[Json], of: int) -> str:
    """Where the run simply goes on: how long after, at most."""
    slowest = max(cases, key=_after)
    every = "both" if of == 2 else f"all {of}"
    which = f"{every} cases" if len(cases) == of else f"{len(cases)} of {of} cases"
    where = "in the one case" if of == 1 else f"in {which}"
    told = sorted({channel for case in cases for channel in case["told"]})
    since = "it began" if slowest["lasted_seconds"] is None else "that is over"
    words = f"goes on {where}, at most {span(_after(slowest))} after {since} ({_where(found, slowest)})"
    return words + (f"; told: {', '.join(map(printable, told))}" if told else "")


def _after(case: Json) -> float:
    return max(float(case["seconds"]) - float(case["lasted_seconds"] or 0.0), 0.0)


def _back_row(found: Json, case: Json, notes: Notes) -> tuple[str, ...]:
    return (
        _clip(_where(found, case), WIDEST_PLACE),
        span(case["exposure_back_seconds"]),
        span(case["all_back_seconds"]),
        *_ending(case, notes),
    )


def _end_row(found: Json, case: Json, notes: Notes) -> tuple[str, ...]:
    return (_clip(_where(found, case), WIDEST_PLACE + ROOM_OF_TIMES), *_ending(case, notes))


def _ending(case: Json, notes: Notes) -> tuple[str, ...]:
    return _words(case["end"]), notes.of(case["stays"])


def _merged(rows: Rows) -> Rows:
    """Rows in a row that say the same but for their place and their times become one."""
    made: Rows = []
    index = 0
    while index < len(rows):
        first = rows[index]
        same = _alike(rows[index:])
        last = _clip(rows[index + same - 1][0], 30)
        alike = [first, (f"  and {same - 1} more, to {last}", *first[1:])]
        made += alike if same > LIKE_IT else rows[index : index + same]
        index += same
    return made


def _alike(rows: Rows) -> int:
    """How many of the first rows say the same as the first one."""
    return next((number for number, row in enumerate(rows) if row[1:] != rows[0][1:]), len(rows))


def _assumed(found: Json) -> Section:
    seconds = found["assumed_seconds"]
    usual = ", ".join(f"{name.replace('_', ' ')} {span(value)}" for name, value in seconds.items())
    return Section(
        "Assumed",
        [
            f"times are virtual; each of these takes half as much to one and a half times: {usual}",
            "flags that a stage raises are not there before; what is measured lies well within its bound, or beyond it",
        ],
    )


# --- words ------------------------------------------------------------------------------------------------------------


def _words(end: str) -> str:
    return printable(end).replace("_", " ")


def _needs(cases: list[Json]) -> list[str]:
    """What a person is needed for, in how many cases, and who hears of it."""
    found: dict[tuple[str, tuple[str, ...]], list[tuple[int, float]]] = {}
    for number, case in enumerate(cases):
        for need in case["needs"]:
            key = (printable(need["hold"]).replace("_", " "), tuple(map(printable, need["told"])))
            found.setdefault(key, []).append((number, need["told_after_seconds"] or 0.0))
    lines = []
    for (hold, told), seen in found.items():
        count = len({number for number, _ in seen})
        where = "" if len(cases) == 1 else f" in {count} of {len(cases)} cases"
        first = (
            f"told: {', '.join(told)}, the first within {span(max(at for _, at in seen))}" if told else "nobody is told"
        )
        lines.append(f"a person is needed ({hold}){where}; {first}")
    return lines


def _place(found: Json, entry: Json) -> str:
    parts = [entry["environment"]] if len(found["environments"]) > 1 else []
    parts += [part for part in (entry["stage"], entry["step"]) if part]
    return printable(" / ".join(parts))


def _where(found: Json, case: Json) -> str:
    """A step; or a change or a question of a stage, which say by themselves at which step they are."""
    at = printable(case["at"])
    return f"{_place(found, {**case, 'step': ''})}: {at}" if at else _place(found, case)


def _clip(text: str, most: int) -> str:
    return text if width(text) <= most else text[: most - 1] + "…"


def span(seconds: float | None) -> str:
    """Short: ``0.4s``, ``12s``, ``3m 20s``, ``2d 4h``."""
    if seconds is None:
        return "-"
    if seconds < 9.95:
        return f"{seconds:.1f}s" if seconds >= 0.05 else "0s"
    rest, parts = round(seconds), []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


# --- the whole --------------------------------------------------------------------------------------------------------


def _head(found: Json) -> list[str]:
    cases = 1 + sum(len(one["cases"]) for one in found["scenarios"])
    return [
        f"rehearsal of {printable(found['plan'])} (digest {found['digest'][:12]}, seed {found['seed']})",
        f"{cases} scenario{'' if cases == 1 else 's'}, {span(found['virtual_seconds'])} of rollout, no system touched",
    ]


def problems(found: Json) -> Iterator[tuple[str, list[str]]]:
    """Each thing that is not as promised, with the cases in which it is not."""
    where: dict[str, list[str]] = {}
    for problem in found["forward"]["problems"]:
        where.setdefault(problem, []).append("the way forward")
    for scenario in found["scenarios"]:
        for case in scenario["cases"]:
            for problem in case["problems"]:
                where.setdefault(problem, []).append(f"{scenario['name']} at {_where(found, case)}")
    yield from where.items()


def _verdict(found: Json) -> list[str]:
    bad = list(problems(found))
    if not bad:
        return [
            "every scenario that was walked ends as promised" if found["cut"] else "every scenario ends as promised"
        ]
    lines = [f"not as promised: {len(bad)} thing{'' if len(bad) == 1 else 's'}"]
    for sentence, cases in bad[:MOST_PROBLEMS]:
        more = f" and {len(cases) - 1} more" if len(cases) > 1 else ""
        lines.append(f"  {printable(sentence)}")
        lines.append(f"    {_clip(cases[0], WIDEST_WORDS - 20)}{more}")
    if len(bad) > MOST_PROBLEMS:
        lines.append(f"  and {len(bad) - MOST_PROBLEMS} more (--output json has them)")
    return lines


def _cut(found: Json) -> list[str]:
    if not found["cut"]:
        return []
    count = len(found["cut"])
    what = f"{count} scenario{'' if count == 1 else 's'}"
    first = _clip(printable(found["cut"][0]), 50)
    return [f"cut short: {what} not walked, for {found['most']:,} steps are the most (--most); the first is {first}"]


def as_text(found: Json) -> str:
    head, *rest = _head(found)
    verdict = _verdict(found)
    colour = "red" if not found["as_promised"] else "yellow" if found["cut"] else "green"
    lines = [paint(head, "bold"), *rest, paint(verdict[0], colour), *verdict[1:]]
    lines += [paint(line, "yellow") for line in _cut(found)]
    for section in sections(found):
        lines += ["", paint(section.title, "bold" if not section.is_bad else "red")]
        lines += [f"  {part}" for line in section.said for part in _wrapped(line)]
        if section.rows:
            heads, rows = _without_empty(section)
            shown = table(heads, rows[:MOST_ROWS], "")
            lines.append("  " + shown.replace("\n", "\n  "))
        if len(section.rows) > MOST_ROWS:
            lines.append(f"  and {len(section.rows) - MOST_ROWS} more (--output json has them)")
    return "\n".join(lines)


def _without_empty(section: Section) -> tuple[tuple[str, ...], Rows]:
    """Columns in which nothing stands are left out."""
    kept = [index for index in range(len(section.heads)) if any(row[index] != "-" for row in section.rows)]
    return tuple(section.heads[index] for index in kept), [tuple(row[index] for index in kept) for row in section.rows]


def _wrapped(line: str) -> list[str]:
    from textwrap import wrap

    return wrap(line, WIDEST_WORDS, subsequent_indent="  ") or [""]


def as_markdown(found: Json) -> str:
    head, *rest = _head(found)
    verdict = _verdict(found)
    lines = [f"# {head[0].upper()}{head[1:]}", "", *rest, "", f"**{verdict[0][0].upper()}{verdict[0][1:]}**", ""]
    lines += [f"{'  ' if line.startswith('    ') else ''}- {_escaped(line.strip())}" for line in verdict[1:]]
    lines += ["", *_cut(found)]
    for section in sections(found):
        lines += ["", f"## {section.title}", "", *(f"{_escaped(line)}\n" for line in section.said)]
        if section.rows:
            heads, rows = _without_empty(section)
            lines.append("| " + " | ".join(head or " " for head in heads) + " |")
            lines.append("|" + " --- |" * len(heads))
            lines += ["| " + " | ".join(map(_escaped, row)) + " |" for row in rows]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return printable(text).replace("|", "\\|").replace("<", "&lt;")
