"""Names of walks and items, as they stand in journals."""


def step_walk(environment: str, stage: str, step: int) -> str:
    return f"step:{environment}/{stage}/{step}"


def trigger_item(environment: str, trigger: str, count: int) -> str:
    """Names one firing of a trigger: its question, and the walk of its actions."""
    return f"trigger:{environment}/{trigger}#{count}"
