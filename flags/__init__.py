"""Feature flags: the document, its evaluation, and how it is asked for from afar.

Needs the standard library and the hash function only, so that applications can import it without the orchestrator.
"""

from flags.errors import ErrorCode, FlagError, InvalidFlag
from flags.evaluate import TARGETING_KEY, CompiledFlag, Details, Reason, compile_flag
from flags.model import FlagDocument, FlagState, Version, safer
from flags.snapshot import Snapshot

__all__ = [
    "TARGETING_KEY",
    "CompiledFlag",
    "Details",
    "ErrorCode",
    "FlagDocument",
    "FlagError",
    "FlagState",
    "InvalidFlag",
    "Reason",
    "Snapshot",
    "Version",
    "compile_flag",
    "safer",
]
