"""flagd's JSON as flag documents: what others wrote, and what `flags.flagd.export` wrote.

Something that flagd can say and a flag document cannot is refused with its place. What decides no answer is left
behind with a note.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from flags.errors import FlagError, shown
from flags.flagd_rules import Rule, Unsayable, listed, read_targeting
from flags.model import KILLED, PARAMETERS_SUFFIX, FlagDocument, FlagState
from flags.values import name

FORMAT: Final = 1
"""Of the object `rollout` in an exported file."""

_STATES: Final = {"ENABLED": FlagState.ENABLED, "DISABLED": FlagState.DISABLED}
_OF_A_SET: Final = ("flagSetId", "version")
_FIELDS: Final = ("state", "variants", "defaultVariant", "targeting", "metadata")
_PARTS: Final = ("flags", "metadata", "rollout", "$evaluators", "$schema")
_IDENTITY: Final = ("key", "environment", "version")

Json = Mapping[str, object]


class InvalidFlagd(FlagError):
    """A text that is no flagd document, or has something in it that can't be taken over; says where."""

    http_status = 422
    exit_code = 2


@dataclass(frozen=True, slots=True)
class Read:
    """`notes` are sentences about what was left behind, or had to be chosen."""

    environment: str
    documents: tuple[FlagDocument, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReadFlag:
    document: FlagDocument
    notes: tuple[str, ...] = ()


def read(text: bytes | str, environment: str | None = None) -> Read:
    """Documents for `environment`, else for the one that the file names, else for production.

    Raises `InvalidFlagd`, or `InvalidFlag` for what no flag document may have.
    """
    return read_data(_parsed(text), environment)


def read_data(data: object, environment: str | None = None) -> Read:
    """The same from parsed JSON."""
    if not isinstance(data, Mapping):
        raise InvalidFlagd(f"a flagd document is a JSON object, got {shown(data)}")
    flags = data.get("flags")
    if not isinstance(flags, Mapping):
        raise InvalidFlagd(f"flags: an object of flags by their keys is expected, got {shown(flags)}")
    shared = _object(data.get("metadata"), "metadata")
    named, more = _ours(data.get("rollout"), flags)
    where = environment or named or "production"
    documents: list[FlagDocument] = []
    notes = [f"{shown(part)} is not taken over" for part in data if part not in _PARTS]
    if data.get("$evaluators"):
        notes.append("$evaluators is not taken over; no flag here refers to it")
    for key in flags:
        name(key, "flags")
        if key.endswith(PARAMETERS_SUFFIX) and key.removesuffix(PARAMETERS_SUFFIX) in flags:
            continue
        found = read_flag(key, flags, where, shared)
        if key in more:
            documents.append(_with(found.document, more[key]))
        else:
            documents.append(found.document)
            notes += found.notes
    return Read(where, tuple(documents), tuple(notes))


def read_flag(key: str, flags: Json, environment: str, shared: Json | None = None) -> ReadFlag:
    """The flag and its parameters. `shared`: metadata of the whole set."""
    place = f"flags.{key}"
    flag = _object(flags[key], place)
    state, variants, default = _state(flag, place), _variants(flag, place), _default(flag, place)
    try:
        rule = read_targeting(flag.get("targeting"), default, variants, "targeting")
    except Unsayable as problem:
        raise InvalidFlagd(f"flag {key!r}: {problem.place}: {problem}") from None
    notes = [f"{shown(field)} is not taken over" for field in flag if field not in _FIELDS]
    notes += rule.notes
    if state is FlagState.DISABLED:
        notes.append("it is disabled and answers its default variant, where flagd's clients answered their own default")
    on, base, percentage = _sides(rule, variants, notes, key)
    document = FlagDocument(
        key,
        environment,
        state,
        variants,  # type: ignore[arg-type]  # the document checks them
        default_variant=base,
        on_variant=on,
        targets=rule.targets,
        percentage=percentage,
        parameters=_parameters(key, flags, flag, shared or {}),  # type: ignore[arg-type]  # likewise
    )
    return ReadFlag(document, tuple(f"flag {key!r}: {note}" for note in notes))


def _sides(rule: Rule, variants: Json, notes: list[str], key: str) -> tuple[str, str, float]:
    """The on variant, the off variant, and the percentage that gets on."""
    on, base = rule.on, rule.base
    if on is not None and on != base:
        return on, base, rule.weight / 1000
    others = [variant for variant in variants if variant != base]
    if not others:
        raise InvalidFlagd(f"flag {key!r}: variants: a second variant is expected, to be the other one of {base!r}")
    other = others[0]
    if len(others) > 1:
        notes.append(f"{other!r} was chosen as the other variant of {base!r}, of {listed(others)}")
    is_on_for_all = on is not None or (variants[base] is True and variants[other] is False)
    return (base, other, 100.0) if is_on_for_all else (other, base, 0.0)


# --- the parts of a flag ----------------------------------------------------------------------------------------------


def _state(flag: Json, place: str) -> FlagState:
    state = flag.get("state")
    if not isinstance(state, str) or state not in _STATES:
        raise InvalidFlagd(f"{place}.state: 'ENABLED' or 'DISABLED' is expected, got {shown(state)}")
    return _STATES[state]


def _variants(flag: Json, place: str) -> Json:
    """flagd has one kind of number: where some have a point and some have none, all are floats."""
    variants = _object(flag.get("variants"), f"{place}.variants")
    for variant in variants:
        name(variant, f"{place}.variants")
    kinds = {type(value) for value in variants.values()}
    if kinds == {int, float}:
        return {variant: float(value) for variant, value in variants.items()}  # type: ignore[arg-type]
    return variants


def _default(flag: Json, place: str) -> str:
    default = flag.get("defaultVariant")
    if not isinstance(default, str) or default not in _object(flag.get("variants"), f"{place}.variants"):
        raise InvalidFlagd(f"{place}.defaultVariant: the name of a variant is expected, got {shown(default)}")
    return default


def _parameters(key: str, flags: Json, flag: Json, shared: Json) -> Json:
    place = f"flags.{key}.metadata"
    own = _object(flag.get("metadata"), place)
    if KILLED in own:
        raise InvalidFlagd(
            f"{place}.{KILLED}: a kill switch holds this flag, so this text does not say what it is; take an export"
        )
    everything = {**shared, **own}.items()
    metadata = {parameter: value for parameter, value in everything if parameter in own or parameter not in _OF_A_SET}
    for parameter, value in metadata.items():
        if not isinstance(value, bool | int | float | str):
            raise InvalidFlagd(
                f"{place}: {shown(parameter)}: a text, number or boolean is expected, got {shown(value)}"
            )
    whole = flags.get(key + PARAMETERS_SUFFIX)
    return {**metadata, **_whole(whole, f"flags.{key}{PARAMETERS_SUFFIX}")} if whole is not None else metadata


def _whole(flag: object, place: str) -> Json:
    """The parameters as their object flag has them."""
    variants = _object(_object(flag, place).get("variants"), f"{place}.variants")
    if len(variants) != 1:
        raise InvalidFlagd(f"{place}.variants: one variant is expected, the parameters of the flag")
    return _object(next(iter(variants.values())), f"{place}.variants")


# --- what flagd has no words for --------------------------------------------------------------------------------------


def _ours(part: object, flags: Json) -> tuple[str | None, Json]:
    """The environment, and by key the fields that are not in the flag."""
    if part is None:
        return None, {}
    ours = _object(part, "rollout")
    if ours.get("format") != FORMAT:
        got = shown(ours.get("format"))
        raise InvalidFlagd(f"rollout.format: {FORMAT} is expected, got {got}; update this package, or remove 'rollout'")
    environment = ours.get("environment")
    if environment is not None and not isinstance(environment, str):
        raise InvalidFlagd(f"rollout.environment: a name is expected, got {shown(environment)}")
    more = _object(ours.get("flags"), "rollout.flags")
    for key, fields in more.items():
        if key not in flags:
            raise InvalidFlagd(f"rollout.flags: there is no flag {shown(key)} in 'flags'; remove it here too")
        for field in _object(fields, f"rollout.flags.{key}"):
            if field in _IDENTITY:
                raise InvalidFlagd(f"rollout.flags.{key}.{field}: this can't be set here; remove it")
    return environment, more


def _with(document: FlagDocument, more: object) -> FlagDocument:
    assert isinstance(more, Mapping), "checked where it was read"
    return FlagDocument.from_json({**document.to_json(), **more})


# --- JSON -------------------------------------------------------------------------------------------------------------


def _object(value: object, place: str) -> Json:
    """An object; nothing is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidFlagd(f"{place}: an object is expected, got {shown(value)}")
    return value


def _parsed(text: bytes | str) -> object:
    try:
        parsed: object = json.loads(text, object_pairs_hook=_once, parse_constant=_no_json)
    except (ValueError, RecursionError) as problem:
        reason = "it is nested too deeply" if isinstance(problem, RecursionError) else str(problem)
        raise InvalidFlagd(f"a flagd document is a JSON object; this is not JSON: {reason}") from None
    return parsed


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"{shown(twice)} is there twice in one object")
    return found


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")
