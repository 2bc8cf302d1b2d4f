"""How an asset is licensed."""

# ruff: noqa: INP001 - loaded from where it is deployed, not imported
PATTERN_TYPE = "LICENSING_ANALYSIS"


def question(asset: str) -> str:
    return f"Which licences does {asset} need?"
