"""flagd's `targeting`, in the few words of it that a flag document can say: targets, a percentage, and what is left.

Both ways. What we write ourselves is recognised by writing it again. Of what others write we take `if`, `or`, `in`
with a list, `==`, `===` and a `fractional` of the default variant and one other; anything else is `Unsayable`, for a
rule that is taken over must mean what it meant.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from flags.bucketing import TOTAL
from flags.errors import shown
from flags.evaluate import text_of
from flags.model import FlagDocument
from flags.values import same

Json = dict[str, object]

_ITEM: Final[Json] = {"var": ""}
_BOOLEANS: Final = {"true": True, "false": False}
_DEEPEST: Final = 50


class Unsayable(Exception):
    """`place` inside the targeting; the sentence says what would do instead."""

    def __init__(self, place: str, sentence: str) -> None:
        self.place = place
        super().__init__(sentence)


def listed(names: Iterable[str]) -> str:
    """The first ten: a sentence is to be read."""
    first = list(islice(names, 11))
    return ", ".join([*map(shown, first[:10]), *(["and more"] if len(first) > 10 else [])])


# --- written ----------------------------------------------------------------------------------------------------------


def targeting_of(document: FlagDocument) -> Json | None:
    """None where everybody gets the default variant that goes out."""
    rules = [_attribute_rule(name, values) for name, values in document.targets.items() if "." not in name]
    draw = _draw(document)
    if not rules:
        return draw
    chosen: list[object] = [rules[0] if len(rules) == 1 else {"or": rules}, document.on_variant]
    return {"if": chosen if draw is None else [*chosen, draw]}


def _draw(document: FlagDocument) -> Json | None:
    weight = document.weight
    if weight in (0, TOTAL):
        return None
    return {"fractional": [[document.on_variant, weight], [document.default_variant, TOTAL - weight]]}


def _attribute_rule(attribute: str, values: tuple[str, ...]) -> Json:
    """Does the attribute, or an item of it, have one of these values?

    Booleans are compared one by one and strictly: the JSON Logic of Go gives up on a list with a boolean in it.
    """
    haystack: list[object] = []
    for value in values:
        haystack.append(value)
        number = _number(value)
        if number is not None:
            haystack.append(number)
    item: Json = {"in": [_ITEM, haystack]}
    booleans = [{"===": [_ITEM, _BOOLEANS[value]]} for value in values if value in _BOOLEANS]
    return {"some": [{"merge": [{"var": attribute}]}, {"or": [item, *booleans]} if booleans else item]}


def _number(text: str) -> int | float | None:
    """The number that a target with this text matches too."""
    try:
        number = int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and text_of(number) == text else None


# --- read -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rule:
    """`base` is what nobody's target and no draw decides about; `on` is the other variant, None if none is named."""

    base: str
    on: str | None = None
    targets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    weight: int = 0
    notes: tuple[str, ...] = ()


def read_targeting(logic: object, default: str, variants: Mapping[str, object], place: str, depth: int = 0) -> Rule:
    """Raises `Unsayable`."""
    if depth > _DEEPEST:
        raise Unsayable(place, f"at most {_DEEPEST} levels of 'if' are taken over")
    if logic is None or logic == {}:
        return Rule(default)
    if isinstance(logic, str) and depth:  # flagd takes none that is a text as a whole
        return Rule(_variant(logic, variants, place))
    operator, arguments = _operation(logic, place)
    match operator:
        case "if":
            return _read_if(arguments, default, variants, f"{place}.if", depth)
        case "fractional":
            return _read_fractional(arguments, default, variants, f"{place}.fractional")
        case _ if default == "false" and "true" in variants:  # the answer of a comparison names a variant
            return Rule("false", "true", _targets(logic, place))
        case _:
            raise Unsayable(
                place, f"the operator {shown(operator)} can't be taken over: only 'if' and 'fractional' can"
            )


def _operation(logic: object, place: str) -> tuple[str, list[object]]:
    if not isinstance(logic, Mapping) or len(logic) != 1:
        raise Unsayable(place, f"an object with one operator is expected, got {shown(logic)}")
    ((operator, arguments),) = logic.items()
    return str(operator), arguments if isinstance(arguments, list) else [arguments]


def _variant(value: object, variants: Mapping[str, object], place: str) -> str:
    if not isinstance(value, str) or value not in variants:
        raise Unsayable(place, f"one of the variants {listed(variants)} is expected, got {shown(value)}")
    return value


def _read_if(arguments: list[object], default: str, variants: Mapping[str, object], place: str, depth: int) -> Rule:
    """Conditions and variants in turn, and at the end what the others get. All conditions must lead to one variant."""
    last = len(arguments) - 1 if len(arguments) % 2 else len(arguments)
    if not last:
        raise Unsayable(place, "a condition and a variant are expected")
    rest = read_targeting(
        arguments[last] if last < len(arguments) else None, default, variants, f"{place}[{last}]", depth + 1
    )
    on = _variant(arguments[1], variants, f"{place}[1]")
    targets: dict[str, tuple[str, ...]] = {}
    for index in range(0, last, 2):
        if arguments[index + 1] != on:
            raise Unsayable(f"{place}[{index + 1}]", f"all targets must get one variant, which is {on!r} before")
        _add(targets, _targets(arguments[index], f"{place}[{index}]"))
    if rest.on not in (None, on) or (on == rest.base and (rest.weight or rest.targets)):
        raise Unsayable(f"{place}[{last}]", f"the targets get {on!r}, so the others must get it by a fraction, or not")
    _add(targets, rest.targets)
    return Rule(rest.base, on, targets, rest.weight, rest.notes)


def _read_fractional(arguments: list[object], default: str, variants: Mapping[str, object], place: str) -> Rule:
    """[on, w] and [default, n - w] in this order: the order says who has the flag."""
    shares: list[tuple[str, int]] = []
    for index, share in enumerate(arguments):
        shares.append(_share(share, variants, f"{place}[{index}]"))
    drawn = [(variant, weight) for variant, weight in shares if weight]
    named = [variant for variant, _ in shares if variant != default]
    if not drawn or [variant for variant, _ in drawn] == [default]:
        return Rule(default, named[0] if named else None)
    on = drawn[0][0]
    if len(drawn) == 1:
        note = f"{on!r} goes to everybody now, also to contexts without a targetingKey, which got {default!r}"
        return Rule(default, on, {}, TOTAL, (note,))
    if on == default or [variant for variant, _ in drawn[1:]] != [default]:
        wanted = f"one other variant first and then {default!r}, the default variant"
        raise Unsayable(place, f"{wanted} is expected, got {listed(variant for variant, _ in drawn)}")
    total = drawn[0][1] + drawn[1][1]
    weight, over = divmod(drawn[0][1] * TOTAL, total)
    if over:
        wanted = f"a share in steps of 0.001 % (weights that add up to {TOTAL}, for example)"
        raise Unsayable(place, f"{wanted} is expected, got {drawn[0][1]} of {total}")
    return Rule(default, on, {}, weight)


def _share(share: object, variants: Mapping[str, object], place: str) -> tuple[str, int]:
    if not isinstance(share, list):
        raise Unsayable(place, "keys are drawn by flag key and targetingKey only: leave this expression out")
    if not 1 <= len(share) <= 2:
        raise Unsayable(place, f"a variant and its weight are expected, got {shown(share)}")
    weight = share[1] if len(share) == 2 else 1
    if isinstance(weight, bool) or not isinstance(weight, int):
        raise Unsayable(f"{place}[1]", f"an integer is expected as weight, got {shown(weight)}")
    return _variant(share[0], variants, f"{place}[0]"), max(weight, 0)


def _add(targets: dict[str, tuple[str, ...]], more: Mapping[str, tuple[str, ...]]) -> None:
    for attribute, values in more.items():
        targets[attribute] = tuple(dict.fromkeys((*targets.get(attribute, ()), *values)))


def _targets(logic: object, place: str) -> dict[str, tuple[str, ...]]:
    """Attribute -> values, any of which suffices."""
    operator, arguments = _operation(logic, place)
    match operator:
        case "some":
            return _ours(logic, place)
        case "or":
            found: dict[str, tuple[str, ...]] = {}
            for index, one in enumerate(arguments):
                if isinstance(one, Mapping) and "or" in one:
                    raise Unsayable(
                        f"{place}.or[{index}]", "an 'or' inside an 'or' can't be taken over: write one list"
                    )
                _add(found, _targets(one, f"{place}.or[{index}]"))
            return found
        case "in" if len(arguments) == 2 and isinstance(arguments[1], list):
            return {_attribute(arguments[0], f"{place}.in[0]"): _values(arguments[1], f"{place}.in[1]")}
        case "in":
            raise Unsayable(
                f"{place}.in", "an attribute and a list of values are expected; parts of texts can't be said"
            )
        case "==" | "===" if len(arguments) == 2:
            left, right = sorted(arguments, key=lambda one: not isinstance(one, Mapping))
            return {_attribute(left, f"{place}.{operator}"): _values([right], f"{place}.{operator}")}
        case _:
            raise Unsayable(
                place, f"the operator {shown(operator)} can't be taken over: targets are 'in', '==' and 'or'"
            )


def _ours(logic: object, place: str) -> dict[str, tuple[str, ...]]:
    match logic:
        case {"some": [{"merge": [{"var": str(attribute)}]}, {"in": [_, list(haystack)]}]}:
            pass
        case {"some": [{"merge": [{"var": str(attribute)}]}, {"or": [{"in": [_, list(haystack)]}, *_]}]}:
            pass
        case _:
            raise Unsayable(place, "this 'some' can't be taken over: say it as 'in' with the attribute and a list")
    values = tuple(value for value in haystack if isinstance(value, str))
    if not same(_attribute_rule(attribute, values), logic):
        raise Unsayable(place, "this 'some' can't be taken over: say it as 'in' with the attribute and a list")
    return {attribute: values}


def _attribute(logic: object, place: str) -> str:
    match logic:
        case {"var": str(attribute) | [str(attribute)], **more} if not more and attribute:
            pass
        case _:
            raise Unsayable(place, f"an attribute is expected, such as {{'var': 'team'}}, got {shown(logic)}")
    if "." in attribute:
        raise Unsayable(
            place, f"{shown(attribute)} looks inside another attribute: targets are by attributes of the context"
        )
    return attribute


def _values(values: list[object], place: str) -> tuple[str, ...]:
    texts = []
    for index, value in enumerate(values):
        text = text_of(value)
        if text is None:
            raise Unsayable(f"{place}[{index}]", f"a text, number or boolean is expected, got {shown(value)}")
        texts.append(text)
    return tuple(dict.fromkeys(texts))
