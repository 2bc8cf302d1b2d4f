"""What an asset needs."""

# ruff: noqa: INP001 - loaded from where it is deployed, not imported
PATTERN_TYPE = "DEPENDENCY_ANALYSIS"


def question(asset: str) -> str:
    return f"What does {asset} depend on?"
