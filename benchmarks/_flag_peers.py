"""One rule in the form of each flag system: on for the teams core and beta, and for 30 % of all others.

Each runs offline, from a document that is given to it; what it would send home (exposures, metrics) is switched off.
`prepare` makes what an application hands over with each question, outside of the time that is taken.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any, Protocol

TEAMS = ["core", "beta"]
PERCENTAGE = 30

User = tuple[str, str]
"""Targeting key and team."""


class Contestant(Protocol):
    def prepare(self, user: User) -> Any: ...

    def run(self, flag: str, arguments: Sequence[Any]) -> None:
        """Asks one flag for each of the arguments."""

    def run_many(self, questions: Sequence[tuple[str, Any]]) -> None:
        """Asks for flag and argument of each question."""

    def is_on(self, flag: str, argument: Any) -> bool: ...

    def close(self) -> None: ...


class Eppo:
    distributions = ("eppo-server-sdk",)

    def __init__(self, flags: Iterable[str]) -> None:
        eppo = import_module("eppo_client")
        document = {
            "createdAt": "2026-01-01T00:00:00.000Z",
            "format": "SERVER",
            "environment": {"name": "production"},
            "flags": {flag: self._flag(flag) for flag in flags},
        }
        configuration = eppo.Configuration(flags_configuration=json.dumps(document).encode())
        self._client = eppo.init(
            eppo.ClientConfig(
                api_key="offline",
                base_url="http://127.0.0.1:9",
                assignment_logger=eppo.AssignmentLogger(),
                initial_configuration=configuration,
                poll_interval_seconds=None,
            )
        )

    @staticmethod
    def _flag(key: str) -> dict[str, Any]:
        in_teams = {"conditions": [{"attribute": "team", "operator": "ONE_OF", "value": TEAMS}]}
        share = {"salt": key, "ranges": [{"start": 0, "end": PERCENTAGE * 1000}]}
        return {
            "key": key,
            "enabled": True,
            "variationType": "BOOLEAN",
            "variations": {"on": {"key": "on", "value": True}, "off": {"key": "off", "value": False}},
            "totalShards": 100_000,
            "allocations": [
                {"key": "teams", "rules": [in_teams], "splits": [{"variationKey": "on", "shards": []}], "doLog": False},
                {
                    "key": "share",
                    "splits": [{"variationKey": "on", "shards": [share]}, {"variationKey": "off", "shards": []}],
                    "doLog": False,
                },
            ],
        }

    def prepare(self, user: User) -> Any:
        return user[0], {"team": user[1]}

    def run(self, flag: str, arguments: Sequence[Any]) -> None:
        client = self._client
        for key, attributes in arguments:
            client.get_boolean_assignment(flag, key, attributes, False)

    def run_many(self, questions: Sequence[tuple[str, Any]]) -> None:
        client = self._client
        for flag, (key, attributes) in questions:
            client.get_boolean_assignment(flag, key, attributes, False)

    def is_on(self, flag: str, argument: Any) -> bool:
        return bool(self._client.get_boolean_assignment(flag, *argument, False))

    def close(self) -> None:
        self._client.shutdown()


class Statsig:
    distributions = ("statsig-python-core",)

    def __init__(self, flags: Iterable[str]) -> None:
        statsig = import_module("statsig_python_core")
        document = json.dumps(
            {
                "has_updates": True,
                "time": 1,
                "feature_gates": {flag: self._gate(flag) for flag in flags},
                "dynamic_configs": {},
                "layer_configs": {},
                "experiment_to_layer": {},
                "condition_map": {
                    "in teams": self._condition(type="user_field", field="team", operator="any", targetValue=TEAMS),
                    "everybody": self._condition(type="public"),
                },
            }
        )

        class Document(statsig.DataStore):  # type: ignore[misc, name-defined]
            def get(self, key: str) -> Any:
                return statsig.DataStoreResponse(result=document, time=1)

        options = statsig.StatsigOptions(
            data_store=Document(), disable_network=True, disable_all_logging=True, output_log_level="none"
        )
        self._user = statsig.StatsigUser
        self._options = statsig.FeatureGateEvaluationOptions(disable_exposure_logging=True)
        self._client = statsig.Statsig("secret-offline", options)
        self._client.initialize().wait()

    @staticmethod
    def _condition(**fields: Any) -> dict[str, Any]:
        return {"additionalValues": {}, "isDeviceBased": False, "idType": "userID", **fields}

    @staticmethod
    def _gate(key: str) -> dict[str, Any]:
        rules = (("teams", 100, "in teams"), ("share", PERCENTAGE, "everybody"))
        common = {"salt": key, "idType": "userID", "isDeviceBased": False}
        return {
            **common,
            "name": key,
            "type": "feature_gate",
            "entity": "feature_gate",
            "enabled": True,
            "defaultValue": False,
            "rules": [
                {
                    **common,
                    "name": name,
                    "id": name,
                    "passPercentage": percentage,
                    "conditions": [condition],
                    "returnValue": True,
                }
                for name, percentage, condition in rules
            ],
        }

    def prepare(self, user: User) -> Any:
        return self._user(user_id=user[0], custom={"team": user[1]})

    def run(self, flag: str, arguments: Sequence[Any]) -> None:
        client, options = self._client, self._options
        for user in arguments:
            client.check_gate(user, flag, options)

    def run_many(self, questions: Sequence[tuple[str, Any]]) -> None:
        client, options = self._client, self._options
        for flag, user in questions:
            client.check_gate(user, flag, options)

    def is_on(self, flag: str, argument: Any) -> bool:
        return bool(self._client.check_gate(argument, flag, self._options))

    def close(self) -> None:
        self._client.shutdown().wait()


class GrowthBook:
    """By its core, with a context of each user's own made beforehand, which is kinder than its client."""

    distributions = ("growthbook",)

    def __init__(self, flags: Iterable[str]) -> None:
        types = import_module("growthbook.common_types")
        self._types = types
        self._evaluate = import_module("growthbook.core").eval_feature
        features = {flag: types.Feature(False, self._rules(flag)) for flag in flags}
        self._everybody = types.GlobalContext(types.Options(), features)

    @staticmethod
    def _rules(key: str) -> list[dict[str, Any]]:
        return [
            {"condition": {"team": {"$in": TEAMS}}, "force": True},
            {"force": True, "coverage": PERCENTAGE / 100, "hashAttribute": "id", "seed": key, "hashVersion": 2},
        ]

    def prepare(self, user: User) -> Any:
        types = self._types
        who = types.UserContext(attributes={"id": user[0], "team": user[1]})
        return types.EvaluationContext(who, self._everybody, types.StackContext(evaluated_features=set()))

    def run(self, flag: str, arguments: Sequence[Any]) -> None:
        evaluate = self._evaluate
        for context in arguments:
            evaluate(flag, context)

    def run_many(self, questions: Sequence[tuple[str, Any]]) -> None:
        evaluate = self._evaluate
        for flag, context in questions:
            evaluate(flag, context)

    def is_on(self, flag: str, argument: Any) -> bool:
        return bool(self._evaluate(flag, argument).value)

    def close(self) -> None:
        pass


class Flagd:
    distributions = ("openfeature-flagd-core",)

    def __init__(self, flags: Iterable[str]) -> None:
        core = import_module("openfeature.contrib.tools.flagd.core").FlagdCore()
        core.set_flags({"flags": {flag: self._flag() for flag in flags}})
        self._client = core
        self._context = import_module("openfeature.evaluation_context").EvaluationContext

    @staticmethod
    def _flag() -> dict[str, Any]:
        share = {"fractional": [["on", PERCENTAGE], ["off", 100 - PERCENTAGE]]}
        return {
            "state": "ENABLED",
            "variants": {"on": True, "off": False},
            "defaultVariant": "off",
            "targeting": {"if": [{"in": [{"var": "team"}, TEAMS]}, "on", share]},
        }

    def prepare(self, user: User) -> Any:
        return self._context(user[0], {"team": user[1]})

    def run(self, flag: str, arguments: Sequence[Any]) -> None:
        client = self._client
        for context in arguments:
            client.resolve_boolean_value(flag, False, context)

    def run_many(self, questions: Sequence[tuple[str, Any]]) -> None:
        client = self._client
        for flag, context in questions:
            client.resolve_boolean_value(flag, False, context)

    def is_on(self, flag: str, argument: Any) -> bool:
        return bool(self._client.resolve_boolean_value(flag, False, argument).value)

    def close(self) -> None:
        pass


class LaunchDarkly:
    distributions = ("launchdarkly-server-sdk",)

    def __init__(self, flags: Iterable[str]) -> None:
        ldclient = import_module("ldclient")
        config = import_module("ldclient.config").Config
        test_data = import_module("ldclient.integrations.test_data").TestData
        self._context = ldclient.Context
        source = test_data.data_source()
        versions = import_module("ldclient.versioned_data_kind")
        self._client = ldclient.LDClient(
            config("offline", update_processor_class=source, send_events=False, diagnostic_opt_out=True)
        )
        store = self._client._config.feature_store  # noqa: SLF001  # its test data cannot say a percentage
        for flag in flags:
            store.upsert(versions.FEATURES, self._flag(flag))

    @staticmethod
    def _flag(key: str) -> dict[str, Any]:
        in_teams = {"contextKind": "user", "attribute": "team", "op": "in", "values": TEAMS, "negate": False}
        share = [{"variation": 0, "weight": PERCENTAGE * 1000}, {"variation": 1, "weight": (100 - PERCENTAGE) * 1000}]
        return {
            "key": key,
            "version": 1,
            "on": True,
            "variations": [True, False],
            "offVariation": 1,
            "fallthrough": {"rollout": {"contextKind": "user", "variations": share}},
            "rules": [{"id": "teams", "variation": 0, "clauses": [in_teams]}],
            "targets": [],
            "prerequisites": [],
            "salt": key,
        }

    def prepare(self, user: User) -> Any:
        return self._context.builder(user[0]).set("team", user[1]).build()

    def run(self, flag: str, arguments: Sequence[Any]) -> None:
        client = self._client
        for context in arguments:
            client.variation(flag, context, False)

    def run_many(self, questions: Sequence[tuple[str, Any]]) -> None:
        client = self._client
        for flag, context in questions:
            client.variation(flag, context, False)

    def is_on(self, flag: str, argument: Any) -> bool:
        return bool(self._client.variation(flag, argument, False))

    def close(self) -> None:
        self._client.close()


class Unleash:
    distributions = ("UnleashClient", "yggdrasil-engine")

    def __init__(self, flags: Iterable[str]) -> None:
        unleash = import_module("UnleashClient")
        self._folder = tempfile.TemporaryDirectory(prefix="bench-unleash-")
        cache = import_module("UnleashClient.cache").FileCache("bench", directory=self._folder.name)
        cache.bootstrap_from_dict({"version": 2, "features": [self._feature(flag) for flag in flags]})
        self._client = unleash.UnleashClient(
            "http://127.0.0.1:9/api", "bench", cache=cache, disable_metrics=True, disable_registration=True
        )
        self._client.initialize_client(fetch_toggles=False)

    @staticmethod
    def _feature(name: str) -> dict[str, Any]:
        in_teams = {"contextName": "team", "operator": "IN", "values": TEAMS}
        share = {"rollout": str(PERCENTAGE), "stickiness": "default", "groupId": name}
        return {
            "name": name,
            "type": "release",
            "enabled": True,
            "strategies": [
                {"name": "default", "parameters": {}, "constraints": [in_teams]},
                {"name": "flexibleRollout", "parameters": share, "constraints": []},
            ],
        }

    def prepare(self, user: User) -> Any:
        return {"userId": user[0], "properties": {"team": user[1]}}

    def run(self, flag: str, arguments: Sequence[Any]) -> None:
        client = self._client
        for context in arguments:
            client.is_enabled(flag, context)

    def run_many(self, questions: Sequence[tuple[str, Any]]) -> None:
        client = self._client
        for flag, context in questions:
            client.is_enabled(flag, context)

    def is_on(self, flag: str, argument: Any) -> bool:
        return bool(self._client.is_enabled(flag, argument))

    def close(self) -> None:
        self._client.destroy()
        self._folder.cleanup()


PEERS: dict[str, Callable[[Iterable[str]], Contestant]] = {
    "eppo": Eppo,
    "statsig": Statsig,
    "growthbook": GrowthBook,
    "flagd": Flagd,
    "launchdarkly": LaunchDarkly,
    "unleash": Unleash,
}
