"""Whatever an Unleash, or what stands in its place, answers: an outcome, and never its token in a sentence."""

import asyncio
from typing import Any

import pytest

from orchestrator.core.effect import EffectState
from tests.contract.flag_sites import KEY, Json, desk_at, unleash_at, valued
from tests.support.http_server import (
    Behaviour,
    Received,
    ScriptedServer,
    answer,
    answer_json,
    dead_url,
    hang,
    reset,
    say_nonsense,
    talk_for_ever,
)

STRATEGY = {"id": "s1", "name": "flexibleRollout", "parameters": {"rollout": "5"}, "constraints": []}


def answered(enabled: Any = True, strategies: Any = (STRATEGY,)) -> Json:
    """As an Unleash answers."""
    return {"name": KEY, "environments": [{"name": "production", "enabled": enabled, "strategies": strategies}]}


@pytest.mark.parametrize(
    ("behaviour", "state"),
    (
        (answer("busy", 429, {"Retry-After": "7"}), EffectState.TEMPORARY),
        (answer("down", 503, {"Retry-After": "7"}), EffectState.TEMPORARY),
        (answer("bad gateway", 502), EffectState.TEMPORARY),
        (answer("<html>sign in</html>"), EffectState.TEMPORARY),
        (answer_json([1]), EffectState.TEMPORARY),
        (answer_json(answered(strategies="many")), EffectState.TEMPORARY),
        (answer_json(answered(enabled="yes")), EffectState.TEMPORARY),
        (answer("[" * 100_000), EffectState.TEMPORARY),
        (answer("half", length=400), EffectState.TEMPORARY),
        (reset, EffectState.TEMPORARY),
        (hang, EffectState.TEMPORARY),
        (say_nonsense, EffectState.TEMPORARY),
        (talk_for_ever, EffectState.TEMPORARY),
        (answer("gone", 410), EffectState.REFUSED),
        (answer("", 302, {"Location": "https://elsewhere.example.com/"}), EffectState.REFUSED),
        (answer_json(answered(strategies=[])), EffectState.REFUSED),
        (answer_json(answered(strategies=[{"name": "flexibleRollout"}])), EffectState.REFUSED),
        (answer_json({"environments": []}), EffectState.REFUSED),
    ),
)
async def test_whatever_a_server_answers_is_an_outcome(behaviour: Behaviour, state: EffectState) -> None:
    async with ScriptedServer() as server:
        server.behave(behaviour)
        outcome = await desk_at(unleash_at(server.url, timeout=0.5), "*:*.secret").set(valued(True, 50), None)
    assert (outcome.state, "secret" in outcome.detail) == (state, False)


async def test_a_server_that_puts_off_says_for_how_long() -> None:
    async with ScriptedServer() as server:
        server.behave(answer("busy", 429, {"Retry-After": "7"}))
        outcome = await desk_at(unleash_at(server.url), "*:*.secret").set(valued(True, 50), None)
    assert outcome.retry_after_seconds == 7


async def test_a_server_that_is_away_is_waited_for() -> None:
    outcome = await desk_at(unleash_at(dead_url()), "*:*.secret").set(valued(True, 50), None)
    assert outcome.state is EffectState.TEMPORARY


async def test_a_write_that_is_forbidden_after_another_one_says_that_it_was_in_part() -> None:
    """As for a token that may change strategies and not switch the environment."""
    stands = [STRATEGY]

    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        if received.method == "PATCH":
            stands[0] = {**STRATEGY, "parameters": {"rollout": "50"}}
        forbidden = received.method == "POST"
        await (answer("no", 403) if forbidden else answer_json(answered(False, stands)))(received, writer)

    async with ScriptedServer() as server:
        server.behave(behave)
        desk = desk_at(unleash_at(server.url), "*:*.secret")
        before = (await desk.look()).value
        outcome = await desk.set({**before, "state": "enabled", "percentage": 50.0}, before)
    assert outcome.state is EffectState.REFUSED
    assert "may not switch it on" in outcome.detail
    assert "what came before this was carried out" in outcome.detail
