"""Who is told what, and where: channels, news, escalation, and the sign of life."""

from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from stages.values import Duration, Part, SecretRef, TextOrSecret

SHORTEST_REPEAT_SECONDS = 60.0
SHORTEST_BEAT_SECONDS = 10.0


def _no_text(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError(
            "whoever has this can write to the channel, and a plan is read by many; name where it is kept, "
            "such as {env: PLAN_CHANNEL} or {secret: NAME/KEY}"
        )
    return value


Secret = Annotated[SecretRef, BeforeValidator(_no_text)]


class EscalationStep(Part):
    after: Duration
    channels: tuple[str, ...] = Field(min_length=1)
    repeat: Duration | None = Field(default=None, gt=0)

    @field_validator("repeat")
    @classmethod
    def _no_flood(cls, value: float | None, info: ValidationInfo) -> float | None:
        """Of what is written now: a run that began when this was allowed goes on."""
        is_written = info.context is not None and info.context.get("written")
        if is_written and value is not None and value < SHORTEST_REPEAT_SECONDS:
            raise ValueError(
                f"repeat is at least {SHORTEST_REPEAT_SECONDS:g}s: who is called more often mutes the channel"
            )
        return value


NewsWord = Literal[
    "started", "step", "stage", "rollback_started", "promoted", "rolled_back", "stopped", "rollback_failed"
]


class News(Part):
    """*stages*: which ones ``step`` and ``stage`` are about (all, if none is named); *message*: what is said first."""

    when: tuple[NewsWord, ...] = Field(min_length=1)
    channels: tuple[str, ...] = Field(min_length=1)
    stages: tuple[str, ...] = ()
    message: str = Field(default="", max_length=2000)

    @model_validator(mode="after")
    def _stages_of_stage(self) -> Self:
        if self.stages and not {"step", "stage"} & set(self.when):
            raise ValueError("stages says which stages are told of; it needs `step` or `stage` in when")
        return self


class Webhook(Part):
    """*secret*: what each request is signed with."""

    url: TextOrSecret
    headers: dict[str, TextOrSecret] = Field(default_factory=dict)
    secret: Secret | None = None


class Grafana(Part):
    """Annotations on its graphs. *url*: its base address; *tags* go beside ``staged-rollout`` and the run's name."""

    url: TextOrSecret
    token: Secret
    tags: tuple[Annotated[str, Field(min_length=1, max_length=100)], ...] = Field(default=(), max_length=20)


class Slack(Part):
    """An incoming webhook's *url*; or a bot's *token*, and the *channel* that it writes to."""

    url: Secret | None = None
    token: Secret | None = None
    channel: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.url is None) == (self.token is None):
            raise ValueError("Slack takes either the url of an incoming webhook or the token of a bot")
        if (self.token is None) != (self.channel is None):
            raise ValueError("channel goes with the token of a bot; an incoming webhook has its own channel")
        return self


class Teams(Part):
    """The *url* of a workflow that posts to a channel when a webhook request is received."""

    url: Secret


MailAddress = Annotated[str, Field(pattern=r"^[^\s@<>,;]+@[^\s@<>,;]+$", max_length=254)]


class Email(Part):
    """Through the *server* of a mail provider or of one's own. *port*: 587 with starttls, 465 with tls, else 25."""

    server: str = Field(pattern=r"^[A-Za-z0-9._-]+$|^\[?[0-9a-fA-F:]+\]?$")
    port: int | None = Field(default=None, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    from_: MailAddress = Field(alias="from")
    to: tuple[MailAddress, ...] = Field(min_length=1, max_length=50)
    user: TextOrSecret | None = None
    password: Secret | None = None

    @model_validator(mode="after")
    def _whole_login(self) -> Self:
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password go together")
        if self.password is not None and self.security == "none":
            raise ValueError("a password is not sent unencrypted; use security: starttls or tls")
        return self


Region = Literal["us", "eu"]


class PagerDuty(Part):
    """An integration of the kind Events API v2. Everything about one thing is one incident."""

    routing_key: Secret
    region: Region = "us"

    @property
    def host(self) -> str:
        return "events.pagerduty.com" if self.region == "us" else "events.eu.pagerduty.com"


class Opsgenie(Part):
    """An integration of the kind API. *responders*: ``@user``, ``#team``, ``*schedule``, ``^escalation``."""

    api_key: Secret
    region: Region = "us"
    responders: tuple[Annotated[str, Field(pattern=r"^[@#*^][^,\s][^,]*$")], ...] = ()

    @property
    def host(self) -> str:
        return "api.opsgenie.com" if self.region == "us" else "api.eu.opsgenie.com"


class Channel(Part):
    """Where news goes: exactly one service."""

    webhook: Webhook | None = None
    grafana: Grafana | None = None
    slack: Slack | None = None
    teams: Teams | None = None
    email: Email | None = None
    pagerduty: PagerDuty | None = None
    opsgenie: Opsgenie | None = None
    apprise: Secret | None = None

    @model_validator(mode="after")
    def _one_service(self) -> Self:
        if len(self.model_fields_set) != 1 or getattr(self, self.service) is None:
            raise ValueError("a channel names exactly one service, such as webhook")
        return self

    @property
    def service(self) -> str:
        return next(iter(self.model_fields_set))

    @property
    def needs_apprise(self) -> bool:
        return self.webhook is None and self.grafana is None

    @property
    def host(self) -> str | None:
        """Which host it calls, as far as the plan tells; what is in a secret tells it only when it is called."""
        match self:
            case Channel(webhook=Webhook(url=str() as url)) | Channel(grafana=Grafana(url=str() as url)):
                return _host(url)
            case Channel(slack=Slack(token=SecretRef())):
                return "slack.com"
            case Channel(email=Email() as email):
                return email.server.strip("[]")
            case Channel(pagerduty=PagerDuty() as pagerduty):
                return pagerduty.host
            case Channel(opsgenie=Opsgenie() as opsgenie):
                return opsgenie.host
            case _:
                return None


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


class Heartbeat(Part):
    """*url* is called so often while a controller looks at the run, and *ended* once when there is nothing more to look
    at, so that whoever waits for the next one knows. Without it, *url* is called a last time."""

    url: TextOrSecret
    every: Duration = Field(default=60.0, ge=SHORTEST_BEAT_SECONDS)
    ended: TextOrSecret | None = None
    headers: dict[str, TextOrSecret] = Field(default_factory=dict)


class Notify(Part):
    """*digest*: quiet messages wait so long for others, and go as one."""

    channels: dict[str, Channel] = Field(default_factory=dict)
    escalation: tuple[EscalationStep, ...] = ()
    news: tuple[News, ...] = ()
    severity: dict[Literal["low", "medium", "high", "critical"], tuple[str, ...]] = Field(default_factory=dict)
    digest: Duration = Field(default=0.0, ge=0, le=3600)
    heartbeat: Heartbeat | None = None
