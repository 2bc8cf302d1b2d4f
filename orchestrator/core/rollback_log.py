"""The log of a rollback, as a team files it: when, why, whom it met, what was done, what was verified, what is next.

Made of the same entries as the rest of the report. What only people know, the impact in their words, the root cause and
how it is prevented, they say in answer to the plan's follow-ups of these names (``when: rolled_back``).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from orchestrator.core.telling import Teller, time_words
from orchestrator.core.times import iso
from stages.effects import flag_of
from stages.flag_spec import percentage_of

Json = Mapping[str, Any]

IMPACT, ROOT_CAUSE, FIX_PLAN = "impact", "root cause", "fix plan"
TOLD_BY_PEOPLE: Final = (IMPACT, ROOT_CAUSE, FIX_PLAN)
FOLLOW_UP: Final = "follow_up:"
_VERIFIED: Final = "rollback:verify:"
_DONE: Final = frozenset({"EffectFinished", "EffectFailed", "NodeFinished", "TargetResolved"})
_STANDING: Final = {"yes": True, "no": False}


def build(status: Json, history: Sequence[Json]) -> dict[str, Any] | None:
    """None of a run that took nothing back; of several ways back the last one's."""
    begun = next((entry for entry in reversed(history) if entry["type"] == "RollbackStarted"), None)
    if begun is None:
        return None
    seq = int(begun["seq"])
    before = [entry for entry in history if int(entry["seq"]) < seq]
    since = [entry for entry in history if int(entry["seq"]) > seq]
    follow_ups = _follow_ups(since)
    return {
        "date": begun["time"],
        "reason": _reason(begun, before),
        "by": begun.get("by"),
        "exposed": _exposed(before, begun["time"]),
        **{name.replace(" ", "_"): follow_ups[name]["note"] for name in TOLD_BY_PEOPLE if name in follow_ups},
        "steps": list(_steps(status, history, seq)),
        "verification": list(_verified(since)),
        "next_steps": [one for name, one in follow_ups.items() if name not in TOLD_BY_PEOPLE],
        "ended": next((entry["time"] for entry in since if entry["type"] in ("RunEnded", "RollbackFinished")), None),
    }


def rows(log: Json) -> list[tuple[str, ...]]:
    """What is written where, for a table; what only people know and have not said says so."""
    found: list[tuple[str, ...]] = [
        ("date", f"{time_words(log['date'])} to {time_words(log['ended'])}"),
        ("reason", f"{log['reason']} ({log['by']})"),
        ("exposed", ", ".join(_exposure(one) for one in log["exposed"]) or "nobody, as far as flags tell"),
    ]
    found += [(name, str(log.get(name.replace(" ", "_")) or "nobody has said")) for name in TOLD_BY_PEOPLE]
    found += [(f"step {number}", str(one["what"])) for number, one in enumerate(log["steps"], start=1)]
    words = {True: "holds", False: "does not hold", None: "could not be asked"}
    found += [("verified", f"{one['name']}: {words[one['holds']]}") for one in log["verification"]]
    return found + [("next step", _next(one)) for one in log["next_steps"]]


def _exposure(one: Json) -> str:
    return f"{one['percentage']:g} % with {one['flag']} since {time_words(one['since'])}"


def _next(one: Json) -> str:
    if one["by"] is not None:
        note = f": {one['note']}" if one["note"] else ""
        return f"{one['text']} ({'done' if one['done'] else 'not done'}, {one['by']}{note})"
    due = f", due {time_words(one['due'])}" if one["due"] else ""
    return f"{one['text']} (open, {', '.join(one['for']) or 'for anybody'}{due})"


def _reason(begun: Json, before: Sequence[Json]) -> str:
    """A person's words; of a gate or a trigger, what it had seen, which stands in the entry before."""
    data = begun.get("data") or {}
    cause = str(data.get("cause"))
    if cause in ("gate", "trigger"):
        seen = next((entry for entry in reversed(before) if entry["type"] in ("GateFailed", "TriggerFired")), None)
        evidence = ((seen or {}).get("data") or {}).get("evidence") or {}
        criteria = evidence.get("criteria") or [evidence]
        sentences = [str(one["sentence"]) for one in criteria if one.get("verdict") == "fail" and one.get("sentence")]
        if sentences:
            return "; ".join(sentences)
    return str(begun.get("reason") or cause.replace("_", " "))


def _exposed(before: Iterable[Json], until: Any) -> list[dict[str, Any]]:
    """Which share of users had each flag when the way back began, and since when."""
    stood: dict[tuple[str, str], tuple[float, Any]] = {}
    for entry in before:
        data = entry.get("data") or {}
        flag = flag_of(str(data.get("target")))
        if entry["type"] == "EffectFinished" and flag is not None and isinstance(data.get("observed"), Mapping):
            share = percentage_of(data["observed"])
            if stood.get(flag, (0.0, ""))[0] != share:
                stood[flag] = (share, entry["time"])
    return [
        {"flag": "/".join(flag), "percentage": share, "since": since, "until": until}
        for flag, (share, since) in stood.items()
        if share > 0
    ]


def _steps(status: Json, history: Iterable[Json], seq: int) -> Iterator[dict[str, Any]]:
    teller = Teller(status.get("stages") or ())
    questions: dict[str, str] = {}
    for entry in history:
        data, sentence = entry.get("data") or {}, teller.tell(entry)
        item = str(data.get("item") or data.get("node") or "")
        if entry["type"] == "WaitingOpened" and data.get("kind") == "question":
            questions[item] = str(data.get("text"))
        if int(entry["seq"]) <= seq or sentence is None or entry["type"] not in _DONE:
            continue
        if item in questions:
            sentence = (
                f"{questions[item]} {data.get('result')} ({entry.get('by')}: {data.get('detail') or 'no reason'})"
            )
        yield {"seq": entry["seq"], "time": entry["time"], "what": sentence}


def _verified(since: Iterable[Json]) -> Iterator[dict[str, Any]]:
    """The last answer of each check, in the order in which they were asked first."""
    answers: dict[str, Json] = {}
    for entry in since:
        data = entry.get("data") or {}
        if entry["type"] == "CheckAnswered" and str(data.get("item", "")).startswith(_VERIFIED):
            answers[str(data["name"])] = data
    for name, data in answers.items():
        yield {"name": name, "holds": _STANDING.get(str(data.get("standing"))), "detail": data.get("detail") or ""}


def _follow_ups(since: Iterable[Json]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for entry in since:
        data = entry.get("data") or {}
        name = str(data.get("item", "")).removeprefix(FOLLOW_UP)
        if entry["type"] == "WaitingOpened" and data.get("kind") == "follow_up":
            found[name] = {"name": name, "text": data.get("text"), "for": list(data.get("who") or ()),
                           "due": iso(data.get("until")), "done": False, "by": None, "note": ""}  # fmt: skip
        elif entry["type"] == "WaitingAnswered" and name in found:
            answered = {
                "done": data.get("answer") != "reject",
                "by": entry.get("by"),
                "note": entry.get("reason") or "",
            }
            found[name] |= answered
    return found
