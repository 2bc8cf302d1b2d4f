"""Asks checks: yes, no, or unknown if the question could not be asked at all."""

import math
from dataclasses import dataclass

from orchestrator.adapters.expectations import CannotTell, Found, brief, hold_against
from orchestrator.adapters.sources import SourceReader
from orchestrator.errors import RolloutError
from orchestrator.ports import CheckAnswer, Scene
from stages.checks import Check, Expect, Standing

LONGEST_DETAIL = 1000


@dataclass(frozen=True, slots=True)
class CheckAsker:
    """Implements ``Asker``. What it answers is bounded, and holds no secret that the controller resolved."""

    reader: SourceReader

    async def ask(self, check: Check, scene: Scene) -> CheckAnswer:
        try:
            found = await self.reader.read(check, scene)
            answer = answer_of(check.expect, found)
        except (CannotTell, RolloutError) as error:
            answer = CheckAnswer(Standing.UNKNOWN, str(error))
        detail = self.reader.http.secrets.redactor.redact(answer.detail)
        return CheckAnswer(answer.standing, detail[:LONGEST_DETAIL])


def answer_of(expect: Expect, found: Found) -> CheckAnswer:
    """Yes if the source answered well and as expected. Raises ``CannotTell``."""
    if found.failed and found.exit_code is None:
        return CheckAnswer(Standing.NO, found.failed)
    findings = hold_against(expect, found)
    unmet = [finding.sentence for finding in findings if not finding.met]
    if unmet:
        return CheckAnswer(Standing.NO, "; ".join(unmet))
    if expect == Expect() and any(math.isnan(number.value) for number in found.numbers or ()):
        raise CannotTell(f"{found.what} is NaN, which is neither yes nor no")
    if expect == Expect() and not found.verdict:
        return CheckAnswer(Standing.NO, _says_no(found))
    met = "; ".join(finding.sentence for finding in findings)
    return CheckAnswer(Standing.YES, met or f"{found.what} is there")


def _says_no(found: Found) -> str:
    """What asks for nothing in particular must find something that is neither false nor zero."""
    if not found.rows:
        return f"{found.what} is empty, and without expect it must not be"
    return f"{found.what} is {brief(found.redact(found.text or ''))}, and without expect it must be neither 0 nor false"
