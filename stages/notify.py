"""Who is told what, and where: channels, news, escalation."""

from typing import Literal, Self

from pydantic import Field, model_validator

from stages.values import Duration, Json, Part, TextOrSecret


class EscalationStep(Part):
    after: Duration
    channels: tuple[str, ...] = Field(min_length=1)
    repeat: Duration | None = Field(default=None, gt=0)


NewsWord = Literal["started", "stage", "rollback_started", "promoted", "rolled_back", "stopped", "rollback_failed"]


class News(Part):
    when: tuple[NewsWord, ...] = Field(min_length=1)
    channels: tuple[str, ...] = Field(min_length=1)


class Webhook(Part):
    url: TextOrSecret
    headers: dict[str, TextOrSecret] = Field(default_factory=dict)


class Channel(Part):
    """Where news goes: exactly one service."""

    webhook: Webhook | None = None
    slack: dict[str, Json] | None = None
    teams: dict[str, Json] | None = None
    email: dict[str, Json] | None = None
    pagerduty: dict[str, Json] | None = None
    opsgenie: dict[str, Json] | None = None
    apprise: TextOrSecret | None = None

    @model_validator(mode="after")
    def _one_service(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("a channel names exactly one service, such as webhook")
        return self


class Notify(Part):
    channels: dict[str, Channel] = Field(default_factory=dict)
    escalation: tuple[EscalationStep, ...] = ()
    news: tuple[News, ...] = ()
    severity: dict[Literal["low", "medium", "high", "critical"], tuple[str, ...]] = Field(default_factory=dict)
