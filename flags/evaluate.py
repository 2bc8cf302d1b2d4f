"""From a flag document to answers.

Theory of operation. A document is compiled once, when it arrives: targets become frozen sets, the percentage an integer
threshold on the hash, and every answer that the flag can ever give is built beforehand. An evaluation then only
chooses: it locks nothing, logs nothing, and makes nothing but the bytes that are hashed.

The order is fixed: killed, disabled, targets, percentage, default. A targeting key is needed only where a percentage
strictly between 0 and 100 has to be drawn; without one the default is answered with `TARGETING_KEY_MISSING`.

A context value matches a target if it is the same text. Numbers and booleans match as JSON writes them ("3", "2.5",
"true"), with a whole float like the integer, since many languages do not tell them apart; of a list any item.

`is_on` is for hot loops. To it, it is the same whether a target matched or the key was drawn, so it draws first; and
each kind of flag writes the work out in one function, for a call inside costs half as much as the hash. What is unusual
in a context (no key, a list, a mapping that fails) raises there, and is left to the slow path, which takes anything. So
`is_on` and `details` always agree, and neither ever raises.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias

from flags.bucketing import NO_HASH, TOTAL, digest, encode, prepared, threshold
from flags.errors import ErrorCode
from flags.model import KILLED, PARAMETERS_SUFFIX, FlagDocument, FlagState
from flags.values import FlagValue, Scalar

TARGETING_KEY: Final = "targetingKey"
"""Where the targeting key is found in an evaluation context."""

_NO_KEY = "a percentage is drawn by the targeting key, and the context has none: send a non-empty string 'targetingKey'"
_NO_CONTEXT = "the context cannot be read: send a mapping of attributes such as {'targetingKey': 'user-1'}"

Context: TypeAlias = Mapping[str, object]
Metadata: TypeAlias = Mapping[str, Scalar]
Rules: TypeAlias = tuple[tuple[str, frozenset[str]], ...]


class Reason(StrEnum):
    """The part of OpenFeature's standard reasons that this package answers with."""

    DEFAULT = "DEFAULT"
    DISABLED = "DISABLED"
    ERROR = "ERROR"
    SPLIT = "SPLIT"
    STATIC = "STATIC"
    TARGETING_MATCH = "TARGETING_MATCH"


@dataclass(frozen=True, slots=True)
class Details:
    """One answer and why. With an `error_code` the value is the default variant's."""

    value: FlagValue
    variant: str
    reason: Reason
    error_code: ErrorCode | None = None
    metadata: Metadata = field(default_factory=lambda: MappingProxyType({}))
    error_details: str | None = None


class CompiledFlag:
    """One flag, ready to be asked. A context may be anything: None is the empty one, what is no mapping has no key to
    draw by (`INVALID_CONTEXT` and the default variant), and an attribute that cannot be read matches no target."""

    __slots__ = ("_off_value", "_on_value", "key")

    def __init__(self, key: str, on_value: FlagValue, off_value: FlagValue) -> None:
        self.key = key
        self._on_value = on_value
        self._off_value = off_value

    def is_on(self, context: Context) -> bool:
        """Does this context get the on variant?"""
        raise NotImplementedError

    def value(self, context: Context) -> FlagValue:
        """The value of the variant that this context gets."""
        return self._on_value if self.is_on(context) else self._off_value

    def details(self, context: Context) -> Details:
        """The value, and why. The same context gets the same object, which nobody can change."""
        raise NotImplementedError

    def details_apart(self, targeting_key: str, attributes: Context) -> Details:
        """The same for a context whose key is not among its attributes, or before the one that is: as OpenFeature has
        it. The usual kinds of flags do without the copy."""
        try:
            context = {**attributes, TARGETING_KEY: targeting_key}
        except Exception:  # noqa: BLE001  # attributes that cannot be read match nothing, and the key still counts
            context = {TARGETING_KEY: targeting_key}
        return self.details(context)


def compile_flag(document: FlagDocument, killed: bool = False) -> CompiledFlag:
    """`killed`: the kill switch is thrown where this document is served; a permanent flag does not mind."""
    answers = _Answers(document, killed and not document.permanent)
    if answers.killed or document.state is FlagState.DISABLED:
        return _Constant(document.key, answers.off(Reason.DISABLED), False)
    if document.targets:
        return _targeted(answers)
    if document.weight == 0:
        return _Constant(document.key, answers.off(Reason.STATIC), False)
    if document.weight == TOTAL:
        return _Constant(document.key, answers.on(Reason.STATIC), True)
    return _Drawn(answers)


def compile_parameters(document: FlagDocument, killed: bool = False) -> CompiledFlag:
    """The object flag `<key>.parameters`: the effective parameters, also while the flag itself is off or killed."""
    is_killed = killed and not document.permanent
    answer = Details(
        document.effective_parameters,
        document.profile or "parameters",
        Reason.STATIC,
        metadata=MappingProxyType({KILLED: True} if is_killed else {}),
    )
    return _Constant(document.key + PARAMETERS_SUFFIX, answer, False)


@dataclass(frozen=True, slots=True)
class _Answers:
    """Builds what a flag can answer. They are made when it is compiled, and shared by all its evaluations."""

    document: FlagDocument
    killed: bool

    def on(self, reason: Reason) -> Details:
        return Details(self.document.on_value, self.document.on_variant, reason, metadata=self.metadata())

    def off(self, reason: Reason) -> Details:
        return Details(self.document.off_value, self.document.default_variant, reason, metadata=self.metadata())

    def failed(self, code: ErrorCode, details: str) -> Details:
        document = self.document
        return Details(document.off_value, document.default_variant, Reason.ERROR, code, self.metadata(), details)

    def metadata(self) -> Metadata:
        parameters = self.document.effective_parameters.items()
        scalars = {name: value for name, value in parameters if isinstance(value, bool | int | float | str)}
        return MappingProxyType(scalars | {KILLED: True} if self.killed else scalars)


class _Constant(CompiledFlag):
    """Answers everybody alike."""

    __slots__ = ("_answer", "_is_on")

    def __init__(self, key: str, answer: Details, is_on: bool) -> None:
        super().__init__(key, answer.value, answer.value)
        self._answer = answer
        self._is_on = is_on

    def is_on(self, context: Context) -> bool:
        return self._is_on

    def details(self, context: Context) -> Details:
        return self._answer

    def details_apart(self, targeting_key: str, attributes: Context) -> Details:
        return self._answer


class _Drawn(CompiledFlag):
    """A percentage between 0 and 100."""

    __slots__ = ("_below", "_drawn_off", "_drawn_on", "_hash_of", "_no_key", "_starts", "_unreadable")

    def __init__(self, answers: _Answers) -> None:
        document = answers.document
        super().__init__(document.key, document.on_value, document.off_value)
        self._below = threshold(document.weight)
        self._hash_of, self._starts = prepared(self.key)
        self._drawn_on, self._drawn_off = answers.on(Reason.SPLIT), answers.off(Reason.SPLIT)
        self._no_key = answers.failed(ErrorCode.TARGETING_KEY_MISSING, _NO_KEY)
        self._unreadable = answers.failed(ErrorCode.INVALID_CONTEXT, _NO_CONTEXT)

    def is_on(self, context: Context) -> bool:
        try:
            encoded = encode(context[TARGETING_KEY])
            return digest(self._starts[len(encoded)] + encoded) < self._below
        except Exception:  # noqa: BLE001  # the unusual: see the theory of operation
            return self._is_on_slowly(context)

    def details(self, context: Context) -> Details:
        try:
            encoded = encode(context[TARGETING_KEY])
            is_below = digest(self._starts[len(encoded)] + encoded) < self._below
        except Exception:  # noqa: BLE001  # the unusual: see the theory of operation
            return self._slowly(context)
        return self._drawn_on if is_below else self._drawn_off

    def _slowly(self, context: Context | None) -> Details:
        try:
            place = NO_HASH if context is None else self._hash_of(context[TARGETING_KEY])
        except KeyError:
            return self._no_key
        except Exception:  # noqa: BLE001  # whatever an application's mapping raises, its flags have an answer
            return self._unreadable
        if place == NO_HASH:
            return self._no_key
        return self._drawn_on if place < self._below else self._drawn_off

    def _is_on_slowly(self, context: Context) -> bool:
        return self._slowly(context).variant == self._drawn_on.variant


class _TargetedAndDrawn(_Drawn):
    """Targets, and a percentage between 0 and 100 of all others."""

    __slots__ = ("_matched", "_rules")

    def __init__(self, answers: _Answers) -> None:
        super().__init__(answers)
        self._rules = _rules(answers.document.targets)
        self._matched = answers.on(Reason.TARGETING_MATCH)

    def is_on(self, context: Context) -> bool:
        try:
            encoded = encode(context[TARGETING_KEY])
            if digest(self._starts[len(encoded)] + encoded) < self._below:
                return True
        except Exception:  # noqa: BLE001  # the unusual: see the theory of operation
            return self._is_on_slowly(context)
        return _match(self._rules, context)

    def details(self, context: Context) -> Details:
        return self._matched if _match(self._rules, context) else super().details(context)

    def _slowly(self, context: Context | None) -> Details:
        return self._matched if context is not None and _match(self._rules, context) else super()._slowly(context)


class _OneTargetedAndDrawn(_TargetedAndDrawn):
    """The same with one attribute other than the key, the usual case: it does without the loop."""

    __slots__ = ("_attribute", "_values")

    def __init__(self, answers: _Answers) -> None:
        super().__init__(answers)
        ((self._attribute, self._values),) = self._rules

    def is_on(self, context: Context) -> bool:
        try:
            encoded = encode(context[TARGETING_KEY])
            if digest(self._starts[len(encoded)] + encoded) < self._below:
                return True
            if self._attribute in context:
                value = context[self._attribute]
                return value in self._values if type(value) is str else _has(value, self._values)
        except Exception:  # noqa: BLE001  # the unusual: see the theory of operation
            return self._is_on_slowly(context)
        return False

    def details(self, context: Context) -> Details:
        try:
            if self._attribute in context:
                value = context[self._attribute]
                if value in self._values if type(value) is str else _has(value, self._values):
                    return self._matched
            encoded = encode(context[TARGETING_KEY])
            if digest(self._starts[len(encoded)] + encoded) < self._below:
                return self._drawn_on
        except Exception:  # noqa: BLE001  # the unusual: see the theory of operation
            return self._slowly(context)
        return self._drawn_off

    def details_apart(self, targeting_key: str, attributes: Context) -> Details:
        try:
            if self._attribute in attributes:
                value = attributes[self._attribute]
                if value in self._values if type(value) is str else _has(value, self._values):
                    return self._matched
            encoded = encode(targeting_key)
            if digest(self._starts[len(encoded)] + encoded) < self._below:
                return self._drawn_on
        except Exception:  # noqa: BLE001  # the unusual: see the theory of operation
            return super().details_apart(targeting_key, attributes)
        return self._drawn_off


class _Targeted(CompiledFlag):
    """Targets, and one answer for all others: the default, or at 100 the same by a split that has no other side."""

    __slots__ = ("_matched", "_others_on", "_otherwise", "_rules")

    def __init__(self, answers: _Answers) -> None:
        document = answers.document
        super().__init__(document.key, document.on_value, document.off_value)
        self._rules = _rules(document.targets)
        self._others_on = document.weight == TOTAL
        self._matched = answers.on(Reason.TARGETING_MATCH)
        self._otherwise = answers.on(Reason.SPLIT) if self._others_on else answers.off(Reason.DEFAULT)

    def is_on(self, context: Context) -> bool:
        return self._others_on or _match(self._rules, context)

    def details(self, context: Context) -> Details:
        return self._matched if _match(self._rules, context) else self._otherwise


def _targeted(answers: _Answers) -> CompiledFlag:
    if answers.document.weight in (0, TOTAL):
        return _Targeted(answers)
    targets = answers.document.targets
    is_usual = len(targets) == 1 and TARGETING_KEY not in targets
    return _OneTargetedAndDrawn(answers) if is_usual else _TargetedAndDrawn(answers)


def _rules(targets: Mapping[str, Iterable[str]]) -> Rules:
    """Interned, an attribute is mostly the very string that the application wrote, and found without comparing."""
    return tuple((sys.intern(attribute), frozenset(values)) for attribute, values in targets.items())


def _match(rules: Rules, context: Context) -> bool:
    """Does any attribute of the context have one of its values?"""
    for attribute, values in rules:
        try:
            if attribute in context:
                value = context[attribute]
                if value in values if type(value) is str else _has(value, values):
                    return True
        except Exception:  # noqa: BLE001, S112  # what cannot be read matches nothing, and the others still count
            continue
    return False


def _has(value: object, values: frozenset[str]) -> bool:
    if value is None:
        return False
    if isinstance(value, list | tuple | set | frozenset):
        return any((item if type(item) is str else text_of(item)) in values for item in value)
    return text_of(value) in values


def text_of(value: object) -> str | None:
    """A context value as a target writes it; None for what no target can name. Subclasses (of an enumeration, say) are
    taken for what they are, whatever they print."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        whole = int.__int__(value)
        return str(whole) if -(2**63) <= whole < 2**64 else None
    if isinstance(value, float):
        number = float.__float__(value)
        return str(int(number)) if number.is_integer() and abs(number) < 2**63 else repr(number)
    return None
