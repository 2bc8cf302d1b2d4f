"""Rules in CEL for what types can't say of a plan, by the model whose validators say it.

A rule stands at each place where its model does. It costs something there, times the entries of all the lists around
it, and the API server has a limit for the sum; so rules ask little (mostly whether a field is there), and fields that
have the same owners share one.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.actions import KINDS as ACTIONS
from stages.checks import SOURCES
from stages.criteria import KINDS as CRITERIA
from stages.problems import listed

_RESERVED = frozenset(
    {"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let"}
)
_RESERVED |= {"loop", "namespace", "null", "package", "return", "true", "var", "void", "while"}
_FIELD = re.compile(r"\bself\.(\w+)(?!\()")


@dataclass(frozen=True, slots=True)
class Rule:
    """*expression* holds of ``self``; else *message* is shown."""

    expression: str
    message: str

    @property
    def fields(self) -> frozenset[str]:
        """Of ``self``, as they are called in the document."""
        return frozenset(name.strip("_") if name.startswith("__") else name for name in _FIELD.findall(self.expression))

    def to_json(self) -> dict[str, Any]:
        return {"rule": self.expression, "message": self.message}


def of(name: str, whose: str = "self") -> str:
    """A field in CEL, which escapes its own words."""
    return f"{whose}.__{name}__" if name in _RESERVED else f"{whose}.{name}"


def has(name: str, whose: str = "self") -> str:
    return f"has({of(name, whose)})"


def any_of(names: Iterable[str], whose: str = "self") -> str:
    return " || ".join(has(name, whose) for name in names)


def number_of(names: Iterable[str]) -> str:
    return " + ".join(f"({has(name)} ? 1 : 0)" for name in names)


def exactly_one(of_what: str, names: Sequence[str]) -> Rule:
    return Rule(f"{number_of(names)} == 1", f"{of_what} has exactly one of {listed(names, 'and')}")


def needs(name: str, other: str, words: str) -> Rule:
    return Rule(f"!{has(name)} || {has(other)}", words)


def belongs(names: Sequence[str], owners: Sequence[str]) -> Rule:
    """*names* are given only with one of *owners*."""
    verb = "belong" if len(names) > 1 else "belongs"
    return Rule(f"!({any_of(names)}) || {any_of(owners)}", f"{listed(names, 'and')} {verb} to {listed(owners, 'and')}")


def stays_away(names: Sequence[str], strangers: Sequence[str]) -> Rule:
    """*names* are not given with any of *strangers*."""
    verb = "do" if len(names) > 1 else "does"
    message = f"{listed(names, 'and')} {verb} not go with {listed(strangers, 'or')}"
    return Rule(f"!({any_of(names)}) || !({any_of(strangers)})", message)


def together(names: Sequence[str]) -> Rule:
    first, *others = names
    same = " && ".join(f"{has(first)} == {has(other)}" for other in others)
    return Rule(same, f"{listed(names, 'and')} belong together; one of them is not given")


def distinct(name: str, thing: str) -> Rule:
    """The entries of a list have names of their own."""
    entries = of(name)
    once = f"{entries}.all(one, {entries}.exists_one(other, other.name == one.name))"
    return Rule(f"!{has(name)} || {once}", f"each {thing} has a name of its own; one is used twice")


def rising(name: str) -> Rule:
    return Rule(f"!{has(name)} || {of(name)}.isSorted()", f"{name} rise from step to step")


def _exposes(whose: str = "self") -> str:
    return f"{whose}.kind in ['monitoring', 'batch', 'queue']"


# --- rules of one model -----------------------------------------------------------------------------------------------

_MEASURED = tuple(name for name in SOURCES if name != "manual")
_OF_SOURCES = Rule(
    "(!has(self.source) || has(self.query) || has(self.sql) || has(self.health))"
    " && (!has(self.dir) || has(self.command) || has(self.script))",
    "source belongs to query, sql and health, dir to command and script",
)
_ONE_QUESTION = (
    Rule(
        "has(self.pass) || has(self.fail) || has(self.expect)", "pass, fail or expect says what is asked of the value"
    ),
    Rule(
        "!has(self.expect) || !(has(self.pass) || has(self.fail))",
        "expect asks for a yes or no; pass and fail are bounds for a number: use one of the two",
    ),
)
_ARMS = "a flag brings its own arms and counters: name flag, or {}, not both"
_NUMBERS = "query", "sql", "http", "command"
_COMMAND_ONLY = "probe", "name", "dir", "timeout"

RULES: dict[str, tuple[Rule, ...]] = {
    "PlanSpec": (
        distinct("stages", "stage"),
        distinct("triggers", "trigger"),
        distinct("environments", "environment"),
        distinct("success", "success criterion"),
        distinct("follow_up", "follow-up"),
    ),
    "Prometheus": (
        Rule(
            "!has(self.tls) || self.url.matches('^(https://|[$])')",
            "tls is for a url that begins with https://; without, everything would be sent in the open",
        ),
    ),
    "FlagdSystem": (
        exactly_one("flagd", ("file", "config_map", "feature_flag")),
        belongs(("key",), ("config_map",)),
        stays_away(("kubernetes",), ("file",)),
    ),
    "EnvironmentSection": (rising("percentages"),),
    "Approval": (
        Rule(
            "(has(self.any_of) && self.any_of.size() > 0) != (has(self.all_of) && self.all_of.size() > 0)",
            "an approval names either any_of or all_of, with at least one group or name",
        ),
        Rule(
            "!has(self.on_timeout) || self.on_timeout != 'rollback' || has(self.timeout)",
            "on_timeout needs a timeout, after which it happens",
        ),
    ),
    "Check": (
        exactly_one("a check", SOURCES),
        _OF_SOURCES,
        belongs(("by", "optional"), ("manual",)),
        Rule(
            "!has(self.manual) || !has(self.expect)",
            "a person answers a manual check; there is nothing else to expect",
        ),
        Rule(
            "!has(self.expect) || ("
            "(!(has(self.expect.exit) || has(self.expect.stdout)) || has(self.command) || has(self.script))"
            " && (!(has(self.expect.size) || has(self.expect.age)) || has(self.file))"
            " && (!has(self.expect.rows) || has(self.sql) || has(self.query)))",
            "of expect, exit and stdout belong to command and script, rows to sql and query, size and age to file",
        ),
    ),
    "Threshold": (exactly_one("a criterion", _MEASURED), *_ONE_QUESTION, _OF_SOURCES),
    "CompareOf": (
        Rule(
            "!has(self.flag) || !(has(self.bad) || has(self.total) || has(self.arms))",
            _ARMS.format("bad, total and arms"),
        ),
        together(("bad", "total", "arms")),
    ),
    "LatencyOf": (
        Rule("!has(self.flag) || !(has(self.histogram) || has(self.arms))", _ARMS.format("histogram and arms")),
        together(("histogram", "arms")),
    ),
    "ChangeOf": (exactly_one("a change", _NUMBERS),),
    "Trigger": (
        Rule(
            f"has(self.by_hand) && self.by_hand ? {number_of(_MEASURED)} == 0"
            " && !(has(self.pass) || has(self.fail) || has(self.expect))"
            f" : {number_of(_MEASURED)} == 1",
            f"a trigger has exactly one of {listed(_MEASURED, 'and')}; or it is by_hand, and measures nothing",
        ),
        Rule(
            f"(has(self.by_hand) && self.by_hand) || {_ONE_QUESTION[0].expression}",
            "a trigger needs fail (or pass, or expect), to say when it fires",
        ),
        _ONE_QUESTION[1],
        _OF_SOURCES,
        Rule(
            "!has(self.action) || !has(self.then)", "action: rollback is short for then: rollback; use one of the two"
        ),
        Rule(
            "!has(self.ask) || has(self.action) || (has(self.then) && self.then == 'rollback')",
            "ask is the question before a rollback; it needs then: rollback",
        ),
    ),
    "SuccessCriterion": (
        exactly_one("a success criterion", (*_NUMBERS, "manual")),
        Rule(
            "has(self.manual) ? !(has(self.improves) || has(self.is)) : has(self.improves) != has(self.is)",
            "a success criterion says either improves or is; a manual one is judged by a person, and says neither",
        ),
        needs("improves", "window", "improves compares two windows; say how long they are with window"),
        needs("better", "improves", "better says in which direction a value improves; it goes with improves"),
    ),
    "Migration": (
        exactly_one("a migration", ("up", "command")),
        Rule(
            "!has(self.command) || !has(self.down)",
            "down is a SQL file beside up; what a command did stays, so say why: irreversible or keep",
        ),
        belongs(_COMMAND_ONLY, ("command",)),
    ),
    "Replicas": (
        Rule(
            "has(self.query) == has(self.per_replica)",
            "scaling on load takes both: query (the load) and per_replica (what one worker takes of it)",
        ),
        needs("query", "max", "scaling on load needs max, the most workers there may be"),
        Rule(
            "!has(self.max) || (self.max >= (has(self.min) ? self.min : 2)"
            " && (!has(self.start) || self.max >= self.start))",
            "max is at least min (2 if none is given) and start",
        ),
    ),
}


# --- rules of unions: whose fields these are --------------------------------------------------------------------------

_STEP_TAGS = tuple(ACTIONS)
STAGES: tuple[Rule, ...] = (
    Rule(
        f"!({_exposes()}) || ((has(self.percentages) && self.percentages.size() > 0) != "
        "(has(self.steps) && self.steps.size() > 0))",
        "a stage that raises a flag has percentages or steps, one of the two, with at least one entry",
    ),
    rising("percentages"),
    Rule(
        f"!has(self.steps) || self.steps.all(step, ({any_of(_STEP_TAGS, 'step')}) == (self.kind == 'steps'))",
        "steps of a stage that raises a flag have a percentage and no action; those of kind steps are actions, each "
        f"with one of {listed(_STEP_TAGS, 'and')}",
    ),
    Rule(
        f"!({_exposes()} && has(self.steps)) || (self.steps.all(step, has(step.percentage)) && "
        "self.steps.map(step, step.percentage).isSorted())",
        "the steps of a stage that raises a flag have percentages, which rise from step to step",
    ),
    Rule(
        "self.kind != 'migration' || (has(self.migrations) && self.migrations.size() > 0) != has(self.alembic)",
        "a migration stage has migrations (a list of at least one) or alembic, one of the two",
    ),
    needs("replicas", "workload", "replicas are of a workload; name it, such as workload: deployment/workers"),
    Rule("!has(self.canary) || self.canary != self.workload", "canary is a Deployment of its own beside the workload"),
)


@dataclass(frozen=True, slots=True)
class Union:
    """Models that are told apart by a field that only one of them has; *otherwise* is meant where none is given."""

    thing: str
    tags: Mapping[str, str]
    otherwise: str | None = None
    own: tuple[Rule, ...] = ()

    @property
    def models(self) -> set[str]:
        return {*self.tags.values(), *filter(None, (self.otherwise,))}


_ACTIONS = {tag: kind.__name__ for tag, kind in ACTIONS.items()}
_CRITERIA = {tag: kind.__name__ for tag, kind in CRITERIA.items()} | {"standard": "StandardCriterion"}
_COUNTED = Rule(
    f"!({any_of(CRITERIA)}) || !({any_of((*_MEASURED, 'no_answer'))})",
    f"{listed(tuple(CRITERIA), 'and')} say themselves what is measured; leave out what else would be, and no_answer",
)
UNIONS: tuple[Union, ...] = (
    Union("an action", _ACTIONS),
    Union("an action", {"disable": "DisableAction", "set": "SetAction", **_ACTIONS}),
    Union("a step", _ACTIONS, otherwise="ExposureStep"),
    Union("a criterion", _CRITERIA, otherwise="Threshold", own=(_COUNTED,)),
)
PLAIN = ({"Freeze", "Hours"},)
"""Unions of which nothing more can be said."""


def told_apart(models: Mapping[str, Mapping[str, Any]], seen: frozenset[str]) -> tuple[Rule, ...]:
    """The rules of a union of these models. *seen*: the fields that rules can ask for."""
    if all("kind" in model["properties"] for model in models.values()):
        return (*_by_kind(models, seen), *STAGES)
    if set(models) in PLAIN:
        return ()
    for union in UNIONS:
        if union.models == set(models):
            return tuple(_by_tag(union, models, seen))
    raise LookupError(f"nobody said how {', '.join(models)} are told apart")


def _by_tag(union: Union, models: Mapping[str, Mapping[str, Any]], seen: frozenset[str]) -> Iterator[Rule]:
    tags = tuple(union.tags)
    if union.otherwise is None:
        yield exactly_one(union.thing, tags)
    else:
        yield Rule(f"{number_of(tags)} <= 1", f"{union.thing} has at most one of {listed(tags, 'and')}")
        for rule in RULES.get(union.otherwise, ()):
            yield Rule(f"{any_of(tags)} || ({rule.expression})", rule.message)
    lacking = {tag: _lacking(models[model], models.values(), seen - {tag}) for tag, model in union.tags.items()}
    for owners, names in _owned(models, seen - set(tags)).items():
        owning = tuple(tag for tag, model in union.tags.items() if model in owners)
        if union.otherwise in owners:
            yield stays_away(names, tuple(tag for tag in tags if tag not in owning))
        elif len(owning) == 1 and lacking[owning[0]] == names:
            lacking[owning[0]] = []
            yield together((*owning, *names))
        else:
            yield belongs(names, owning)
    for tag, names in lacking.items():
        if names:
            every = " && ".join(has(name) for name in names)
            yield Rule(f"!{has(tag)} || ({every})", f"{tag} needs {listed(names, 'and')}")
    yield from union.own


def _lacking(model: Mapping[str, Any], models: Collection[Mapping[str, Any]], seen: frozenset[str]) -> list[str]:
    """What this model requires and others do not."""
    required = [name for name in model.get("required", ()) if name in seen]
    return [name for name in required if not all(name in one.get("required", ()) for one in models)]


def _by_kind(models: Mapping[str, Mapping[str, Any]], seen: frozenset[str]) -> Iterator[Rule]:
    kinds = {name: _kind_of(model) for name, model in models.items()}
    for owners, names in _owned(models, seen).items():
        told = [kinds[model] for model in owners]
        verb = "belong" if len(names) > 1 else "belongs"
        message = f"{listed(names, 'and')} {verb} to stages of kind {listed(told, 'and')}"
        yield Rule(f"!({any_of(names)}) || {_is_kind(told)}", message)
    for model, schema in models.items():
        lacking = _lacking(schema, models.values(), seen)
        if lacking:
            every = " && ".join(has(name) for name in lacking)
            kind = kinds[model]
            yield Rule(f"!({_is_kind([kind])}) || ({every})", f"a stage of kind {kind} needs {listed(lacking, 'and')}")


def _kind_of(model: Mapping[str, Any]) -> str:
    kind = model["properties"]["kind"]
    return str(kind["const"])


def _is_kind(kinds: Sequence[str]) -> str:
    if len(kinds) == 1:
        return f"self.kind == '{kinds[0]}'"
    return f"self.kind in [{', '.join(repr(kind) for kind in kinds)}]"


def _owned(models: Mapping[str, Mapping[str, Any]], seen: frozenset[str]) -> dict[tuple[str, ...], list[str]]:
    """Fields that only some models have, by their owners."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name in dict.fromkeys(name for model in models.values() for name in model["properties"]):
        owners = tuple(key for key, model in models.items() if name in model["properties"])
        if len(owners) < len(models) and name in seen:
            found.setdefault(owners, []).append(name)
    return found
