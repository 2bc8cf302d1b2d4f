"""What an enrichment that was asked for tells."""

# ruff: noqa: INP001 - loaded from where it is deployed, not imported


def told(assets: int, batch_seconds: list[float]) -> dict[str, float]:
    return {
        "assets": assets,
        "seconds": round(sum(batch_seconds), 2),
        "batches": len(batch_seconds),
        "batch_seconds": round(sum(batch_seconds) / len(batch_seconds), 2),
    }
