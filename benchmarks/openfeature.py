"""What our OpenFeature provider adds to the OpenFeature SDK: a client over it, beside one whose provider is a constant.

The client is asked for a boolean as applications ask it (`get_boolean_value` with a context of its own), for a rule by
team and 30 % of all others. The constant provider hands out one answer that it has made once. Microseconds of the
thread's processor time for one value; the ratio is the median over rounds in which both took turns.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from benchmarks._machine import load, machine, stated, versions
from flags import FlagDocument, Snapshot
from flags.openfeature import RolloutProvider

FLAG = "new-api"
TEAMS = ("core", "beta")
USERS_AT_ONCE = 1000
LIMITS = {"ratio": 1.1}


@dataclass(frozen=True)
class Source:
    snapshot: Snapshot


class ConstantProvider(AbstractProvider):
    """The least that the SDK can be given."""

    def __init__(self) -> None:
        super().__init__()
        self._metadata = Metadata("constant")
        self._answer = FlagResolutionDetails(True, None, None, Reason.STATIC, "on", {})

    def get_metadata(self) -> Metadata:
        return self._metadata

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        return self._answer

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        return FlagResolutionDetails(default_value)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        return FlagResolutionDetails(default_value)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        return FlagResolutionDetails(default_value)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        return FlagResolutionDetails(default_value)


def run(quick: bool) -> dict[str, Any]:
    rounds = 20 if quick else 200
    snapshot = Snapshot([FlagDocument(FLAG, percentage=30, targets={"team": TEAMS})])
    providers = {"ours": RolloutProvider(Source(snapshot)), "constant": ConstantProvider()}
    clients = {}
    for name, provider in providers.items():
        api.set_provider_and_wait(provider, domain=name)
        clients[name] = api.get_client(domain=name)
    share = _share(clients["ours"])
    gc.collect()
    gc.disable()
    try:
        spans = _measure(clients, rounds)
    finally:
        gc.enable()
        api.clear_providers()
    pairs = zip(spans["ours"], spans["constant"], strict=True)
    return {
        **{f"{name}_us": round(statistics.median(measured), 3) for name, measured in spans.items()},
        "ratio": round(statistics.median(ours / constant for ours, constant in pairs), 3),
        "share": share,
        "spread_us": {name: [round(min(measured), 3), round(max(measured), 3)] for name, measured in spans.items()},
        "rounds": rounds,
        "machine": machine(),
        "load": load()[0],
        "versions": versions("openfeature-sdk"),
    }


def _share(client: OpenFeatureClient) -> float:
    contexts = _contexts("checked", 0, 4000)
    return sum(client.get_boolean_value(FLAG, False, context) for context in contexts) / len(contexts)


def _measure(clients: dict[str, OpenFeatureClient], rounds: int) -> dict[str, list[float]]:
    """The first two rounds only warm up; who goes first changes."""
    spans: dict[str, list[float]] = {name: [] for name in clients}
    for number in range(rounds + 2):
        for name in sorted(clients, reverse=number % 2 == 0):
            contexts = _contexts("user", number * USERS_AT_ONCE, USERS_AT_ONCE)
            began = time.thread_time()
            _ask(clients[name], contexts)
            if number >= 2:
                spans[name].append((time.thread_time() - began) / USERS_AT_ONCE * 1e6)
        gc.collect(0)
    return spans


def _ask(client: OpenFeatureClient, contexts: Sequence[EvaluationContext]) -> None:
    for context in contexts:
        client.get_boolean_value(FLAG, False, context)


def _contexts(prefix: str, first: int, count: int) -> list[EvaluationContext]:
    """One in 25 is of a team that has the flag."""
    teams = [*(f"team-{number}" for number in range(24)), TEAMS[0]]
    return [
        EvaluationContext(f"{prefix}-{number}", {"team": teams[number % 25]}) for number in range(first, first + count)
    ]


def table(result: dict[str, Any]) -> str:
    lines = [
        f"OpenFeature: microseconds for one `get_boolean_value` ({result['rounds']} rounds, taking turns)",
        stated(result),
        "",
        f"{'provider':<12}{'median':>9}{'least':>9}{'most':>9}",
    ]
    for name in ("ours", "constant"):
        least, most = result["spread_us"][name]
        lines.append(f"{name:<12}{result[f'{name}_us']:>9.2f}{least:>9.2f}{most:>9.2f}")
    return "\n".join([*lines, "", f"ratio: {result['ratio']:.3f} (wanted: at most {LIMITS['ratio']})"])
