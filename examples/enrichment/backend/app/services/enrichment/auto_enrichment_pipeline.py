"""How assets are divided: a batch at a time goes to the agents."""

# ruff: noqa: INP001 - loaded from where it is deployed, not imported
BATCH_SIZE = 10
RUNS_BY_ITSELF = True  # new assets are enriched without being asked for


def batches(assets: list[str], size: int) -> list[list[str]]:
    return [assets[first : first + size] for first in range(0, len(assets), size)]
