"""How an asset survives failures."""

# ruff: noqa: INP001 - loaded from where it is deployed, not imported
PATTERN_TYPE = "RESILIENCE_ANALYSIS"


def question(asset: str) -> str:
    return f"How is {asset} kept alive?"
