"""``{http: {...}}``: one HTTP request. It is sent again only if the plan calls it idempotent."""

from stages.actions.base import Action, Site
from stages.checks import HttpRequest
from stages.effects import CallHttp, Operation, Target, TargetKind
from stages.values import Json


class HttpAction(Action):
    http: HttpRequest
    idempotent: bool = False

    def describe(self) -> str:
        return f"{self.http.method} {self.http.url}"

    def target(self, site: Site) -> Target:
        return Target(f"http:{site.environment}/{site.stage}/{self.label}", TargetKind.HTTP, self.label)

    def forward(self, site: Site, current: Json) -> Operation:
        return CallHttp(request=self.http, idempotent=self.idempotent)
