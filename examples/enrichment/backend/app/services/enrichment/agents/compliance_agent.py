"""Which rules hold for an asset."""

# ruff: noqa: INP001 - loaded from where it is deployed, not imported
PATTERN_TYPE = "COMPLIANCE_ANALYSIS"


def question(asset: str) -> str:
    return f"Which standards must {asset} comply with?"
