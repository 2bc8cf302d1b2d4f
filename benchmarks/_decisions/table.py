"""The result of `python -m benchmarks decisions` as text."""

from collections.abc import Iterable, Mapping
from typing import Any

ACCEPTED = 0.01
_NAME, _CELL = 28, 8


def table(result: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    said = result["rules"]
    lines = [
        f"Decisions: {result['traces']:,} traces a family, one hour each, looks every 15 s ({result['seconds']:.0f} s)",
        f"{result['machine']}; {versions}",
        *_block("Healthy: % rolled back within the hour", result["healthy"], said, _percent),
        "",
        *_kept(result),
        *_block("Worse from the step on: median minutes until rolled back", result["minutes_to_fail"], said, _minutes),
        *_block("the same: % rolled back within the hour", result["failed"], said, _percent),
        *_advance(result["advance"]),
        *_block("Six metrics, five steps, healthy: % rolled back", {"": result["multiple"]}, said, _percent),
        *_missing(result["missing"], said),
        *_clustered(result["clustered"], said, result["traces_clustered"]),
        *_real(result["real"], said),
    ]
    return "\n".join(lines)


def _block(title: str, rows: Mapping[str, Mapping[str, Any]], said: Mapping[str, str], shown: Any) -> list[str]:
    rules = list(next(iter(rows.values())))
    return [
        "",
        title,
        *_header(rules, said),
        *(
            f"{name:<{_NAME}}" + "".join(f"{shown(values[rule]):>{_CELL}}" for rule in rules)
            for name, values in rows.items()
        ),
    ]


def _header(rules: Iterable[str], said: Mapping[str, str]) -> list[str]:
    """Each name over three lines, right-aligned."""
    words = [said[rule].replace(",", "").split() for rule in rules]
    lines = [_in_three(one) for one in words]
    return [" " * _NAME + "".join(f"{line[row][: _CELL - 1]:>{_CELL}}" for line in lines) for row in range(3)]


def _in_three(words: list[str]) -> tuple[str, str, str]:
    first, *rest = words
    middle, last = (rest[0], " ".join(rest[1:])) if len(rest) > 1 else ("", rest[0] if rest else "")
    return first, middle, last


def _kept(result: dict[str, Any]) -> list[str]:
    """Of each rule, in how many of the families that it was asked in it keeps to what is accepted."""
    counts = {}
    for rule, said in result["rules"].items():
        asked = [shares[rule] for shares in result["healthy"].values() if shares.get(rule) is not None]
        counts[said] = (sum(share <= ACCEPTED for share in asked), len(asked))
    best_first = sorted(counts.items(), key=lambda one: -one[1][0] / max(one[1][1], 1))
    told = ", ".join(f"{said} {kept} of {asked}" for said, (kept, asked) in best_first)
    return [f"families with at most {ACCEPTED:.0%} rolled back: {told}"]


def _advance(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        "",
        "Left early on evidence (steady): median minutes; share within the hour; wrongly, of canaries 1.5 times worse",
        *(
            f"{name:<{_NAME}}{_minutes(row['minutes']):>{_CELL}}{_percent(row['advanced']):>{_CELL}}{_percent(row['wrongly_on_1.5']):>{_CELL}}"
            for name, row in rows.items()
        ),
    ]


def _missing(faults: Mapping[str, Mapping[str, Mapping[str, float]]], said: Mapping[str, str]) -> list[str]:
    both = {
        f"{fault}: {kind}": {rule: caused[kind] for rule, caused in rules.items()}
        for fault, rules in faults.items()
        for kind in ("rollbacks", "advances")
    }
    title = "Missing data: % of healthy releases rolled back by it, and of bad ones (2 times) let through by it"
    return _block(title, _short(both), said, _percent)


def _short(rows: Mapping[str, Mapping[str, float]]) -> dict[str, Mapping[str, float]]:
    return {name.replace(": rollbacks", " (back)").replace(": advances", " (on)"): row for name, row in rows.items()}


def _clustered(rows: Mapping[str, Mapping[str, Any]], said: Mapping[str, str], traces: int) -> list[str]:
    lines = [
        "",
        f"Errors that cluster by key, {traces:,} hours a row: healthy failed; 2 and 3 times: found, median minutes",
    ]
    for row, rules in rows.items():
        lines.append(row)
        for rule in ("ours_by_flag", "ours"):
            found = rules[rule]
            sizes = "; ".join(f"{_percent(found[name][0])} %, {_minutes(found[name][1])}" for name in ("2", "3"))
            lines.append(f"  {said[rule]:<{_NAME - 2}}{_percent(found['healthy'])} %; {sizes}")
        others = {rule: found["healthy"] for rule, found in rules.items() if not rule.startswith("ours")}
        lines.append(
            "  others, healthy: " + ", ".join(f"{said[rule]} {_percent(share)}" for rule, share in others.items())
        )
    return lines


def _real(real: Mapping[str, Any], said: Mapping[str, str]) -> list[str]:
    if "unavailable" in real:
        return ["", f"Real level swings: not had here: {real['unavailable']}"]
    title = f"Real level swings ({real['source']}, {real['hours']} hours), no canary worse: % rolled back"
    return _block(title, {"": real["healthy"]}, said, _percent)


def _percent(share: float | None) -> str:
    if share is None:
        return "-"
    return "0" if share == 0 else f"{100 * share:.2f}" if share < 0.1 else f"{100 * share:.0f}"


def _minutes(minutes: float | None) -> str:
    return "-" if minutes is None else f"{minutes:.2f}"
