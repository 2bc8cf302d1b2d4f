"""What is loaded only when it is needed, and how it is installed where it is missing."""

from importlib.util import find_spec

REQUIRED = {"sqlite3": "comes with Python", "hashlib": "comes with Python"}
OPTIONAL = {"PIL": "poetry add pillow", "matplotlib": "poetry add matplotlib", "rich": "poetry add rich"}


def is_available(module: str) -> bool:
    return find_spec(module) is not None


def is_pil_available() -> bool:
    return is_available("PIL")


def is_matplotlib_available() -> bool:
    return is_available("matplotlib")


def help_for(module: str) -> str:
    """KeyError if nobody knows it."""
    return {**REQUIRED, **OPTIONAL}[module]
