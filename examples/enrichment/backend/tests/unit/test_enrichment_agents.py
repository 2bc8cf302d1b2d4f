"""Each agent asks about its asset, and finds patterns of its own type."""

# ruff: noqa: INP001 - tests of the backend
from pathlib import Path

import pytest

from examples.enrichment.release import Agent, load

AGENTS = {agent.name: agent for agent in load(Path(__file__).parents[2]).agents}
TYPES = {
    "product_matching": "PRODUCT_MATCHING",
    "compliance": "COMPLIANCE_ANALYSIS",
    "licensing": "LICENSING_ANALYSIS",
    "vulnerability": "VULNERABILITY_ANALYSIS",
    "resilience": "RESILIENCE_ANALYSIS",
    "dependency": "DEPENDENCY_ANALYSIS",
}


def test_there_are_six() -> None:
    assert AGENTS.keys() == TYPES.keys()


@pytest.mark.parametrize("name", sorted(TYPES))
def test_an_agent_asks_about_its_asset_and_finds_patterns_of_its_type(name: str) -> None:
    agent: Agent = AGENTS[name]
    assert agent.pattern_type == TYPES[name]
    assert "mainframe" in agent.question("mainframe")
