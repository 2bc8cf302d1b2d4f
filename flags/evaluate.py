"""From a flag document to answers.

Theory of operation. A document is compiled once, when it arrives, to closures: targets become frozen sets, the
percentage an integer threshold on the hash, and every answer that the flag can ever give is built beforehand. An
evaluation then only chooses: it locks nothing, logs nothing, and makes nothing but the bytes that are hashed.

The order is fixed: killed, disabled, targets, percentage, default. A targeting key is needed only where a percentage
strictly between 0 and 100 has to be drawn; without one the default is answered with `TARGETING_KEY_MISSING`.

A context value matches a target if it is the same text. Numbers and booleans match as JSON writes them ("3", "2.5",
"true"), with a whole float like the integer, since many languages do not tell them apart; of a list any item.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias

from flags.bucketing import NO_HASH, TOTAL, hasher, threshold
from flags.errors import ErrorCode
from flags.model import KILLED, PARAMETERS_SUFFIX, FlagDocument, FlagState
from flags.values import FlagValue, Scalar

TARGETING_KEY: Final = "targetingKey"
"""Where the targeting key is found in an evaluation context."""

_NO_KEY = "a percentage is drawn by the targeting key, and the context has none: send a non-empty string 'targetingKey'"

Context: TypeAlias = Mapping[str, object]
Metadata: TypeAlias = Mapping[str, Scalar]
Matcher: TypeAlias = Callable[[Context], bool]


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


@dataclass(frozen=True, slots=True, eq=False)
class CompiledFlag:
    """`is_on`: does this context get the on variant? `value`: the value of the variant it gets; `details`: and why."""

    key: str
    is_on: Matcher
    value: Callable[[Context], FlagValue]
    details: Callable[[Context], Details]


def compile_flag(document: FlagDocument, killed: bool = False) -> CompiledFlag:
    """`killed`: the kill switch is thrown where this document is served; a permanent flag does not mind."""
    answers = _Answers(document, killed and not document.permanent)
    if answers.killed or document.state is FlagState.DISABLED:
        return _constant(document, False, answers.off(Reason.DISABLED))
    if document.targets:
        return _targeted(document, answers)
    if document.weight == 0:
        return _constant(document, False, answers.off(Reason.STATIC))
    if document.weight == TOTAL:
        return _constant(document, True, answers.on(Reason.STATIC))
    hash_of, below = hasher(document.key), threshold(document.weight)
    return _flag(document, _draw(hash_of, below), _drawn_details(answers, hash_of, below))


def compile_parameters(document: FlagDocument, killed: bool = False) -> CompiledFlag:
    """The object flag `<key>.parameters`: the effective parameters, also while the flag itself is off or killed."""
    is_killed = killed and not document.permanent
    answer = Details(
        document.effective_parameters,
        document.profile or "parameters",
        Reason.STATIC,
        metadata=MappingProxyType({KILLED: True} if is_killed else {}),
    )
    key = document.key + PARAMETERS_SUFFIX
    return CompiledFlag(key, _never, lambda _context: answer.value, lambda _context: answer)


@dataclass(frozen=True, slots=True)
class _Answers:
    """Builds what a flag can answer. They are made when it is compiled, and shared by all its evaluations."""

    document: FlagDocument
    killed: bool

    def on(self, reason: Reason) -> Details:
        return Details(self.document.on_value, self.document.on_variant, reason, metadata=self.metadata())

    def off(self, reason: Reason) -> Details:
        return Details(self.document.off_value, self.document.default_variant, reason, metadata=self.metadata())

    def no_key(self) -> Details:
        return Details(
            self.document.off_value,
            self.document.default_variant,
            Reason.ERROR,
            ErrorCode.TARGETING_KEY_MISSING,
            self.metadata(),
            _NO_KEY,
        )

    def metadata(self) -> Metadata:
        parameters = self.document.effective_parameters.items()
        scalars = {name: value for name, value in parameters if isinstance(value, bool | int | float | str)}
        return MappingProxyType(scalars | {KILLED: True} if self.killed else scalars)


def _flag(document: FlagDocument, is_on: Matcher, details: Callable[[Context], Details]) -> CompiledFlag:
    on_value, off_value = document.on_value, document.off_value
    return CompiledFlag(document.key, is_on, lambda context: on_value if is_on(context) else off_value, details)


def _constant(document: FlagDocument, on: bool, answer: Details) -> CompiledFlag:
    return _flag(document, _always if on else _never, lambda _context: answer)


def _targeted(document: FlagDocument, answers: _Answers) -> CompiledFlag:
    """Without a match it is the percentage's turn. At 100 all others have the flag as well, by a split that has no
    other side; at 0 they get the default."""
    matches = _matcher(document.targets)
    if document.weight == 0:
        return _flag(document, matches, _match_details(answers, matches, answers.off(Reason.DEFAULT)))
    if document.weight == TOTAL:
        return _flag(document, _always, _match_details(answers, matches, answers.on(Reason.SPLIT)))
    hash_of, below = hasher(document.key), threshold(document.weight)
    matched, drawn = answers.on(Reason.TARGETING_MATCH), _drawn_details(answers, hash_of, below)

    def is_on(context: Context) -> bool:
        return matches(context) or hash_of(context.get(TARGETING_KEY)) < below

    return _flag(document, is_on, lambda context: matched if matches(context) else drawn(context))


def _match_details(answers: _Answers, matches: Matcher, otherwise: Details) -> Callable[[Context], Details]:
    matched = answers.on(Reason.TARGETING_MATCH)
    return lambda context: matched if matches(context) else otherwise


def _draw(hash_of: Callable[[object], int], below: int) -> Matcher:
    return lambda context: hash_of(context.get(TARGETING_KEY)) < below


def _drawn_details(answers: _Answers, hash_of: Callable[[object], int], below: int) -> Callable[[Context], Details]:
    on, off, no_key = answers.on(Reason.SPLIT), answers.off(Reason.SPLIT), answers.no_key()

    def details(context: Context) -> Details:
        place = hash_of(context.get(TARGETING_KEY))
        if place == NO_HASH:
            return no_key
        return on if place < below else off

    return details


def _always(_context: Context) -> bool:
    return True


def _never(_context: Context) -> bool:
    return False


def _matcher(targets: Mapping[str, Iterable[str]]) -> Matcher:
    """Does any attribute of the context have one of its values? One attribute, the usual case, does without a loop."""
    rules = tuple((attribute, frozenset(values)) for attribute, values in targets.items())
    if len(rules) > 1:
        return lambda context: any(_has(context.get(attribute), values) for attribute, values in rules)
    ((attribute, values),) = rules

    def matches(context: Context) -> bool:
        value = context.get(attribute)
        return value in values if isinstance(value, str) else _has(value, values)

    return matches


def _has(value: object, values: frozenset[str]) -> bool:
    if value is None:
        return False
    if isinstance(value, list | tuple | set | frozenset):
        return any(_text(item) in values for item in value)
    return _text(value) in values


def _text(value: object) -> str | None:
    """A context value as a target writes it; None for what no target can name."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if -(2**63) <= value < 2**64 else None
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**63 else repr(value)
    return None
