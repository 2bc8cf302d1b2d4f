"""One tree of errors. The docstring says what happened; ``exit_code`` and ``http_status`` say what becomes of it."""


class RolloutError(Exception):
    """Something went wrong."""

    exit_code = 1
    http_status = 500

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or (type(self).__doc__ or "").strip().splitlines()[0])


class InvalidPlan(RolloutError):
    """The plan is not valid."""

    exit_code = 2
    http_status = 422


class UsageError(RolloutError):
    """The command was not given as it must be."""

    exit_code = 2
    http_status = 400


class NotFound(RolloutError):
    """There is no such thing."""

    http_status = 404


class Refused(RolloutError):
    """The command makes no sense here; the message says why and what would work."""

    http_status = 409


class KeptAsReport(RolloutError):
    """Of this run only its report is kept."""

    http_status = 410


class Forbidden(RolloutError):
    """Not allowed for this token or person."""

    http_status = 403


class TargetBusy(Refused):
    """An active run holds one of the targets."""


class Conflict(RolloutError):
    """Somebody else wrote first."""

    http_status = 409


class Fenced(RolloutError):
    """This controller no longer owns the run."""

    http_status = 503


class StoreError(RolloutError):
    """The store can't be used: too new, corrupted, full, or held by another controller."""

    http_status = 503


class StoreHeld(StoreError):
    """Another controller holds the store."""


class Unreadable(StoreError):
    """What the store has there can't be read: a newer version wrote it, or somebody changed it by hand."""


class Tampered(RolloutError):
    """A journal is not what was written."""


class Temporary(RolloutError):
    """It did not work now and may work later."""

    http_status = 503

    def __init__(self, detail: str = "", retry_after_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class Permanent(RolloutError):
    """It will not work, however often it is tried."""

    http_status = 502
