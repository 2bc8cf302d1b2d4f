"""Names of walks and items, as they stand in journals."""


def step_walk(environment: str, stage: str, step: int) -> str:
    return f"step:{environment}/{stage}/{step}"


def before_walk(environment: str, stage: str) -> str:
    return f"before:{environment}/{stage}"


def rollback_walk(part: str, environment: str, stage: str) -> str:
    """Of a rollback's ``before`` or ``after``: a stage has these too, of its own. *stage* is empty for the plan's."""
    return f"rollback.{part}:{environment}/{stage}" if stage else f"rollback.{part}:{environment}"


def trigger_item(environment: str, trigger: str, count: int) -> str:
    """Names one firing of a trigger: its question, and the walk of its actions."""
    return f"trigger:{environment}/{trigger}#{count}"
