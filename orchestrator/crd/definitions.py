"""The custom resource definitions themselves: names, print columns, subresources, and rules about change."""

from typing import Any

from orchestrator.core.phases import CommandName, Phase
from orchestrator.crd.objects import COMMANDS, GROUP, ROLLOUTS, VERSION, CommandSpec, CommandStatus, RolloutStatus
from orchestrator.crd.rules import Rule, has
from orchestrator.crd.structural import VALIDATIONS, structural
from stages.plan import Metadata
from stages.problems import listed
from stages.schema import json_schema
from stages.values import Part

Json = dict[str, Any]

CATEGORY = "stagedrollout"

_NOT_WHILE_ACTIVE = Rule(
    "self.spec == oldSelf.spec || !has(oldSelf.status) || !has(oldSelf.status.phase) || "
    f"oldSelf.status.phase == '{Phase.ENDED}'",
    "the plan of an active run can't be changed; stop it or roll it back first, with rollout stop or rollout rollback, "
    "or give the corrected plan another name",
)
_IMMUTABLE = Rule("self == oldSelf", "a command is given once and can't be changed; create another one")

ARGUMENTS: dict[str, tuple[CommandName, ...]] = {
    "item": (CommandName.APPROVE, CommandName.REJECT, CommandName.WITHDRAW),
    "notApplicable": (CommandName.APPROVE,),
    "flag": (CommandName.RESUME,),
    "pin": (CommandName.RESUME,),
    "stage": (CommandName.ROLLBACK,),
    "withSchema": (CommandName.ROLLBACK,),
    "target": (CommandName.RESOLVE,),
    "takenAs": (CommandName.RESOLVE,),
    "trigger": (CommandName.FIRE,),
}
"""Which commands know an argument; with another one it would be ignored, and is refused instead."""


def definitions() -> dict[str, Json]:
    """By the name of the file that holds it."""
    return {"crd-stagedrollouts.yaml": rollouts(), "crd-stagedrolloutcommands.yaml": commands()}


def rollouts() -> Json:
    plan = json_schema(brief=True)
    name = Metadata.model_json_schema()["properties"]["name"]
    spec = structural({"$ref": "#/$defs/PlanSpec", "$defs": plan["$defs"]})
    properties = {
        "metadata": {"type": "object", "properties": {"name": structural(name)}},
        "spec": {**spec, "description": "The plan."},
        "status": _of_model(RolloutStatus),
    }
    columns = (
        _column("Phase", ".status.phase"),
        _column("Stage", ".status.stage"),
        _column("Step", ".status.step"),
        _column("Gate", ".status.gate.verdict"),
        _column("Outcome", ".status.outcome"),
        _column("Run", ".status.run", priority=1),
        _column("Environment", ".status.environment", priority=1),
        _column("Holds", ".status.holds[*].reason", priority=1),
        _column("Age", ".metadata.creationTimestamp", "date"),
    )
    root = _root("A plan, and where its newest run stands.", properties, (_NOT_WHILE_ACTIVE,))
    names = {"kind": "StagedRollout", "plural": ROLLOUTS, "singular": "stagedrollout", "shortNames": ["sro"]}
    return _definition(names, root, columns)


def commands() -> Json:
    spec = _of_model(CommandSpec)
    spec[VALIDATIONS] = [rule.to_json() for rule in (_IMMUTABLE, *_rules_of_arguments())]
    properties = {"spec": spec, "status": _of_model(CommandStatus)}
    columns = (
        _column("Rollout", ".spec.rollout"),
        _column("Command", ".spec.command"),
        _column("By", ".spec.requestedBy"),
        _column("Accepted", ".status.accepted", "boolean"),
        _column("Message", ".status.message", priority=1),
        _column("Reason", ".spec.reason", priority=1),
        _column("Age", ".metadata.creationTimestamp", "date"),
    )
    root = _root("One command of a person to a rollout, and the answer.", properties, ())
    names = {
        "kind": "StagedRolloutCommand",
        "plural": COMMANDS,
        "singular": "stagedrolloutcommand",
        "shortNames": ["sroc"],
    }
    return _definition(names, root, columns)


def _rules_of_arguments() -> list[Rule]:
    """Each argument with its own commands alone, and no command without what it needs."""
    found = [
        Rule(
            f"!has(self.arguments) || !{has(name, 'self.arguments')} || "
            f"self.command in [{', '.join(repr(str(one)) for one in owners)}]",
            f"{name} belongs to {listed([str(one) for one in owners], 'and')}",
        )
        for name, owners in ARGUMENTS.items()
    ]
    fired = "self.command != 'fire' || (has(self.arguments) && has(self.arguments.trigger))"
    decided = "!has(self.arguments) || !has(self.arguments.flag) || has(self.arguments.pin)"
    return [
        *found,
        Rule(fired, "fire needs arguments.trigger, the trigger that is fired"),
        Rule(decided, "flag needs pin, keep or release"),
    ]


def _of_model(model: type[Part]) -> Json:
    return structural(model.model_json_schema(by_alias=True))


def _column(name: str, path: str, kind: str = "string", priority: int = 0) -> Json:
    return {"name": name, "type": kind, "jsonPath": path, **({"priority": priority} if priority else {})}


def _root(description: str, properties: Json, rules: tuple[Rule, ...]) -> Json:
    kept = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
    asked = {VALIDATIONS: [rule.to_json() for rule in rules]} if rules else {}
    return {
        "type": "object",
        "description": description,
        "required": ["spec"],
        "properties": {**kept, **properties},
        **asked,
    }


def _definition(names: Json, schema: Json, columns: tuple[Json, ...]) -> Json:
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
        "additionalPrinterColumns": list(columns),
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {**names, "listKind": f"{names['kind']}List", "categories": [CATEGORY]},
            "scope": "Namespaced",
            "versions": [version],
        },
    }
