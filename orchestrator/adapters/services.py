"""Channels of plans as jobs for apprise: what each of its services is given."""

from collections.abc import Callable
from typing import Any

from orchestrator.adapters.apprise_sender import Job
from orchestrator.core.effect import Notice, NoticeSeverity
from stages.notify import Channel, Email, Opsgenie, PagerDuty, Slack
from stages.values import TextOrSecret

Reveal = Callable[[TextOrSecret], str]

_KINDS = {
    NoticeSeverity.NEWS: "info",
    NoticeSeverity.LOW: "info",
    NoticeSeverity.MEDIUM: "warning",
    NoticeSeverity.HIGH: "failure",
    NoticeSeverity.CRITICAL: "failure",
}
_OF_PAGERDUTY = {
    NoticeSeverity.NEWS: "info",
    NoticeSeverity.LOW: "info",
    NoticeSeverity.MEDIUM: "warning",
    NoticeSeverity.HIGH: "error",
    NoticeSeverity.CRITICAL: "critical",
}
_OF_OPSGENIE = {  # by its own numbers, P1 is the highest
    NoticeSeverity.NEWS: "p5",
    NoticeSeverity.LOW: "p4",
    NoticeSeverity.MEDIUM: "p3",
    NoticeSeverity.HIGH: "p2",
    NoticeSeverity.CRITICAL: "p1",
}
_PLAIN: dict[str, Any] = {"include_image": False, "include_footer": False}
_MODES = {"starttls": "starttls", "tls": "ssl", "none": "insecure"}
_PORTS = {"starttls": 587, "tls": 465, "none": 25}


def job_of(channel: Channel, notice: Notice, subject: str, link: str, reveal: Reveal) -> Job:
    """*subject*: what the service keeps together, such as one hold of one run; *link*: to the run, if it is known."""
    job = Job(notice.title, notice.text, _KINDS[notice.severity])
    match channel:
        case Channel(slack=Slack() as slack):
            return _slack(job, slack, reveal)
        case Channel(email=Email() as email):
            return _email(job, email, reveal)
        case Channel(pagerduty=PagerDuty() as pagerduty):
            return _pagerduty(job, pagerduty, notice, subject, link, reveal)
        case Channel(opsgenie=Opsgenie() as opsgenie):
            return _opsgenie(job, opsgenie, notice, subject, reveal)
        case Channel(apprise=None, teams=teams) if teams is not None:
            return _with(job, "workflows.NotifyWorkflows", url=reveal(teams.url), include_image=False)
        case _:
            assert channel.apprise is not None, f"{channel.service} is not apprise's"
            return Job(job.title, job.text, job.kind, url=reveal(channel.apprise))


def _with(job: Job, plugin: str, *, url: str | None = None, is_mail: bool = False, **arguments: Any) -> Job:
    return Job(job.title, job.text, job.kind, plugin, arguments, url, is_mail)


def _slack(job: Job, slack: Slack, reveal: Reveal) -> Job:
    plugin, plain = "slack.NotifySlack", _PLAIN
    if slack.url is not None:
        return _with(job, plugin, url=reveal(slack.url), **plain)
    assert slack.token is not None
    return _with(job, plugin, access_token=reveal(slack.token), targets=[slack.channel], mode="bot", **plain)


def _email(job: Job, email: Email, reveal: Reveal) -> Job:
    server = email.server.strip("[]")
    login = {"user": reveal(email.user), "password": reveal(email.password)} if email.user and email.password else {}
    return _with(
        job,
        "email.NotifyEmail",
        is_mail=True,
        host=server,
        smtp_host=server,
        port=email.port or _PORTS[email.security],
        secure_mode=_MODES[email.security],
        from_addr=email.from_,
        targets=list(email.to),
        format="text",
        **login,
    )


def _pagerduty(job: Job, service: PagerDuty, notice: Notice, subject: str, link: str, reveal: Reveal) -> Job:
    key = reveal(service.routing_key)
    return _with(
        job,
        "pagerduty.NotifyPagerDuty",
        apikey=key,
        integrationkey=key,
        region_name=service.region,
        severity=_OF_PAGERDUTY[notice.severity],
        source=subject.partition("/")[0],
        component="staged rollout",
        dedup=subject,
        click=link or None,
        include_image=False,
        action="resolve" if notice.ends else "trigger",
    )


def _opsgenie(job: Job, service: Opsgenie, notice: Notice, subject: str, reveal: Reveal) -> Job:
    return _with(
        job,
        "opsgenie.NotifyOpsgenie",
        apikey=reveal(service.api_key),
        targets=list(service.responders),
        region_name=service.region,
        priority=_OF_OPSGENIE[notice.severity],
        alias=subject,
        action="new",
        batch=True,
    )
