"""Which product an asset is."""

# ruff: noqa: INP001 - loaded from where it is deployed, not imported
PATTERN_TYPE = "PRODUCT_MATCHING"


def question(asset: str) -> str:
    return f"Which vendor's product is {asset}?"
