"""References to secrets, resolved where the controller runs and within what it allows; and their redaction.

Whatever is resolved here is told to the ``Redactor``, through which every text of ours passes that may repeat what the
world said: no secret in an event, a log, a page or an error.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from orchestrator.allowance import Allowance, refuse
from orchestrator.errors import Permanent
from orchestrator.redaction import Redactor
from stages.values import SecretRef, TextOrSecret

LONGEST_SECRET_BYTES = 64 * 1024


class Keeper(Protocol):
    """Secrets that are kept elsewhere."""

    async def prepare(self, references: Iterable[SecretRef]) -> None: ...

    def get(self, reference: str) -> str: ...


class Secrets:
    """Resolves ``TextOrSecret``. A refusal names the reference, never the value; it is ``Permanent``, unless *cluster*,
    which keeps the secrets of Kubernetes, is out of reach."""

    def __init__(
        self,
        allowance: Allowance | None = None,
        redactor: Redactor | None = None,
        environ: Mapping[str, str] | None = None,
        cluster: Keeper | None = None,
    ) -> None:
        """*allowance*: what plans may refer to; None: everything."""
        self.allowance = allowance
        self.redactor = redactor or Redactor()
        self._environ = os.environ if environ is None else environ
        self._cluster = cluster

    async def prepare(self, references: Iterable[SecretRef]) -> None:
        """To be called with what will be resolved, before that: some secrets take time to be read."""
        if self._cluster is not None:
            await self._cluster.prepare(references)

    def resolve(self, value: TextOrSecret, directory: str | None = None) -> str:
        """The text itself, or what the reference leads to. *directory* is what relative files are relative to."""
        if isinstance(value, str):
            return value
        found = self._found(value, directory)
        if not found:
            raise Permanent(f"the secret at {value} is empty where the controller runs")
        self.redactor.add(found)
        return found

    def _found(self, reference: SecretRef, directory: str | None) -> str:
        if reference.env is not None:
            return self._from_env(reference.env)
        if reference.secret is None:
            return self._from_file(reference, directory)
        if self.allowance is not None:
            refuse(self.allowance.secret(reference.secret))
        if self._cluster is None:
            raise Permanent(f"the secret {reference.secret} is in Kubernetes, which is not asked here")
        return self._cluster.get(reference.secret)

    def environment_variable(self, name: str) -> str | None:
        """A variable of the controller's own environment (None: not set), if plans may ask for it."""
        if self.allowance is not None:
            refuse(self.allowance.variable(name))
        return self._environ.get(name)

    def allowed_path(self, file: str, directory: str | None = None) -> Path:
        """Where a plan's *file* is, if plans may read it."""
        path = Path(directory or ".") / Path(file).expanduser()
        if self.allowance is not None:
            refuse(self.allowance.file(file, path))
        return path

    def _from_env(self, name: str) -> str:
        found = self.environment_variable(name)
        if found is None:
            raise Permanent(f"the environment variable {name} is not set where the controller runs")
        return found

    def _from_file(self, reference: SecretRef, directory: str | None) -> str:
        assert reference.file is not None
        path = self.allowed_path(reference.file, directory)
        try:
            if path.exists() and not path.is_file():
                raise Permanent(f"the secret at {reference} is not a plain file")
            with path.open("rb") as file:
                content = file.read(LONGEST_SECRET_BYTES + 1)
        except OSError as error:
            raise Permanent(f"the secret at {reference} can't be read: {error.strerror}") from error
        if len(content) > LONGEST_SECRET_BYTES:
            raise Permanent(f"the secret at {reference} is longer than {LONGEST_SECRET_BYTES // 1024} KiB")
        try:
            return content.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise Permanent(f"the secret at {reference} is not UTF-8 text") from error
