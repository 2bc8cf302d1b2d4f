"""HTTP towards a controller: requests, answers, and refusals as the errors that they are.

It stands on ``http.client``: importing an HTTP package would take longer than a whole `rollout status` may. Each
request has a connection of its own, so there is none that could have gone stale, and nothing to close. Commands carry
an idempotency key, so that whoever sends one again gets the same answer.
"""

import http.client
import json
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from orchestrator import errors
from orchestrator.cli.settings import CACERT, Address

if TYPE_CHECKING:
    import ssl

TIMEOUT_SECONDS = 30.0
Json = dict[str, Any]
_KNOWN = {kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type)}
_BY_STATUS: dict[int, type[errors.RolloutError]] = {
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Refused,
    422: errors.InvalidPlan,
}


class NoController(errors.Temporary):
    """No controller answers."""


class Unauthorized(errors.RolloutError):
    """The token was not accepted."""

    http_status = 401


class Client:
    """The API of a controller. Every method raises ``NoController`` if it can't be reached."""

    def __init__(self, address: Address, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.address = address
        self._timeout_seconds = timeout_seconds
        parts = urlsplit(address.url)
        self._prefix = parts.path.rstrip("/")
        _connection(address, timeout_seconds)  # refuses what is no address

    # --- runs ---------------------------------------------------------------------------------------------------------

    def start(self, submission: Json) -> Json:
        """``run``, whether it was ``started`` (else it is attached to), and ``warnings``."""
        answer: Json = self.request("POST", "/api/v1/runs", submission)
        return answer

    def command(self, run: str, command: Json) -> Json:
        headers = {"Idempotency-Key": os.urandom(16).hex()}
        answer: Json = self.request("POST", f"/api/v1/runs/{quote(run, safe='')}/commands", command, headers)
        return answer

    def status(self, run: str) -> Json:
        found: Json = self.request("GET", f"/api/v1/runs/{quote(run, safe='')}")
        return found

    def offers(self, run: str) -> Json:
        """``actor``, and the ``commands`` that he could give now."""
        found: Json = self.request("GET", f"/api/v1/runs/{quote(run, safe='')}/commands")
        return found

    def runs(self, active: bool | None = None) -> list[Json]:
        query = "" if active is None else f"?active={'true' if active else 'false'}"
        found: list[Json] = _items(self.request("GET", f"/api/v1/runs{query}"), "runs")
        return found

    def history(self, run: str, after: int = 0) -> list[Json]:
        path = f"/api/v1/runs/{quote(run, safe='')}/events?after={after}"
        return _items(self.request("GET", path), "events")

    def report(self, run: str) -> Json:
        """``status``, ``history`` and ``report``."""
        found: Json = self.request("GET", f"/api/v1/runs/{quote(run, safe='')}/report")
        return found

    def journal(self, run: str, after: int = 0) -> list[str]:
        """Up to a thousand lines."""
        path = f"/api/v1/runs/{quote(run, safe='')}/journal?after={after}"
        status, received = self._send("GET", path)
        if status != http.client.OK:
            _answer(status, received, self.address.url)
        return received.decode().splitlines()

    # --- flags --------------------------------------------------------------------------------------------------------

    def flags(self, environment: str | None, full_for_seconds: float | None = None) -> list[Json]:
        seconds = None if full_for_seconds is None else str(full_for_seconds)
        query = _query(environment=environment, full_for_seconds=seconds)
        return _items(self.request("GET", "/api/v1/flags" + query), "flags")

    def flag_history(self, environment: str, key: str) -> list[Json]:
        path = f"/api/v1/flag-history/{quote(key, safe='')}" + _query(environment=environment)
        return _items(self.request("GET", path), "changes")

    def flag(self, environment: str, key: str) -> Json:
        found: Json = self.request("GET", _flag_path(environment, key))
        return found

    def set_flag(self, environment: str, key: str, change: Json, reason: str) -> Json:
        changed: Json = self.request("PATCH", _flag_path(environment, key), {**change, "reason": reason})
        return changed

    def evaluate(self, environment: str, key: str, context: Json) -> Json:
        path = f"/ofrep/v1/evaluate/flags/{quote(key, safe='')}" + _query(environment=environment)
        answer: Json = self.request("POST", path, {"context": context})
        return answer

    def disable_all(self, asked: Json) -> Json:
        """*asked*: ``environment``, ``run``, ``owner``, ``include_permanent``, ``reason``; each may be left out."""
        answer: Json = self.request("POST", "/feature-flags/disable-all", asked)
        return answer

    def lift(self, environment: str | None, key: str | None, reason: str, confirm: bool) -> Json:
        body: Json = {"reason": reason, "confirm": confirm}
        body |= {name: value for name, value in (("environment", environment), ("key", key)) if value}
        answer: Json = self.request("DELETE", "/feature-flags/disable-all", body)
        return answer

    # --- freezes ------------------------------------------------------------------------------------------------------

    def freezes(self) -> list[Json]:
        found: list[Json] = self.request("GET", "/api/v1/freeze")
        return found

    def freeze(self, asked: Json) -> Json:
        """*asked*: ``reason``, and ``environment`` and ``until``, which may be left out."""
        made: Json = self.request("POST", "/api/v1/freeze", asked)
        return made

    def unfreeze(self, asked: Json) -> Json:
        """*asked*: ``reason``, and ``environment``, which may be left out."""
        ended: Json = self.request("DELETE", "/api/v1/freeze", asked)
        return ended

    # --- scheduled checks ---------------------------------------------------------------------------------------------

    def schedule(self, wanted: Json) -> Json:
        """*wanted*: ``digest``, ``document``, ``files``, ``directory``, ``reason``."""
        answer: Json = self.request("POST", "/api/v1/schedules", wanted)
        return answer

    def schedules(self) -> list[Json]:
        found: list[Json] = self.request("GET", "/api/v1/schedules")
        return found

    def scheduled(self, name: str, limit: int = 1) -> Json:
        found: Json = self.request("GET", f"/api/v1/schedules/{quote(name, safe='')}?limit={limit}")
        return found

    def end_schedule(self, name: str, reason: str) -> Json:
        answer: Json = self.request("DELETE", f"/api/v1/schedules/{quote(name, safe='')}", {"reason": reason})
        return answer

    # --- tokens -------------------------------------------------------------------------------------------------------

    def create_token(self, wanted: Json) -> Json:
        """*wanted*: ``name``, ``role``, ``groups``, ``expires``, ``environment``. The answer has its ``secret``."""
        made: Json = self.request("POST", "/api/v1/tokens", wanted)
        return made

    def tokens(self) -> list[Json]:
        found: list[Json] = self.request("GET", "/api/v1/tokens")
        return found

    def revoke_token(self, which: str, reason: str) -> Json:
        revoked: Json = self.request("DELETE", f"/api/v1/tokens/{quote(which, safe='')}", {"reason": reason})
        return revoked

    def block(self, wanted: Json) -> Json:
        """*wanted*: ``subject`` or ``token_id``, ``reason``, ``expires``."""
        made: Json = self.request("POST", "/api/v1/blocks", wanted)
        return made

    def audit(self, limit: int) -> list[Json]:
        found: list[Json] = self.request("GET", f"/api/v1/audit?limit={limit}")
        return found

    def is_ready(self) -> bool:
        try:
            self.request("GET", "/readyz")
        except errors.RolloutError:
            return False
        return True

    # --- one request --------------------------------------------------------------------------------------------------

    def request(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """The parsed answer. Raises the error that the controller named."""
        return _answer(*self._send(method, path, body, headers), self.address.url)

    def _send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """The answer's status and content. Raises ``NoController`` if there is none."""
        sent = {"Accept": "application/json", **(headers or {})}
        if self.address.token:
            sent["Authorization"] = f"Bearer {self.address.token}"
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        try:
            return self._exchange(method, self._prefix + path, content, sent)
        except TimeoutError:
            raise NoController(
                f"the controller at {self.address.url} did not answer within {self._timeout_seconds:g} s"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise NoController(f"no controller answers at {self.address.url} ({_words(error)})") from None

    def _exchange(self, method: str, path: str, content: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = _connection(self.address, self._timeout_seconds)
        try:
            connection.request(method, path, content, {**headers, "Connection": "close"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def _connection(address: Address, timeout_seconds: float) -> http.client.HTTPConnection:
    url, parts = address.url, urlsplit(address.url)
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise errors.UsageError(f"{url!r} is no address of a controller; http://HOST:PORT is expected") from None
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=timeout_seconds, context=_trust(address))
    return http.client.HTTPConnection(host, port, timeout=timeout_seconds)


def _trust(address: Address) -> "ssl.SSLContext":
    """The system's authorities, or those of ``--cacert``. Of one's own controller on this machine it is the very
    certificate that it shows, which need not be for the name that it is reached by here."""
    import ssl

    file = address.certificate or os.environ.get(CACERT) or None
    try:
        context = ssl.create_default_context(cafile=file)
    except (OSError, ssl.SSLError) as error:
        what = "has no certificate in PEM" if isinstance(error, ssl.SSLError) else f"can't be read: {_words(error)}"
        raise errors.UsageError(f"the certificates in {file} are not to be had: the file {what}") from None
    if address.certificate is not None:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.check_hostname = False
    return context


def _query(**named: str | None) -> str:
    given = {name: value for name, value in named.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def _flag_path(environment: str, key: str) -> str:
    return f"/api/v1/flags/{quote(key, safe='')}" + _query(environment=environment)


def _items(answer: Any, name: str) -> list[Json]:
    """A list, also where it came inside an object."""
    found: list[Json] = answer[name] if isinstance(answer, dict) else answer
    return found


def _answer(status: int, received: bytes, url: str) -> Any:
    try:
        body = json.loads(received) if received else {}
    except ValueError:
        raise errors.RolloutError(f"what answers at {url} is no controller of rollout (HTTP {status})") from None
    if status < 400:
        return body
    raise _error(status, body if isinstance(body, dict) else {}, url)


def _error(status: int, body: Json, url: str) -> errors.RolloutError:
    message = str(body.get("message") or body.get("errorDetails") or body.get("detail") or f"HTTP {status} from {url}")
    if status == 401:
        return Unauthorized(f"{message}; the token is taken from ROLLOUT_TOKEN")
    kind = _KNOWN.get(str(body.get("error")), _BY_STATUS.get(status, errors.RolloutError))
    error = kind(message) if issubclass(kind, errors.RolloutError) else errors.RolloutError(message)
    problems = body.get("problems")
    if isinstance(problems, list):
        error.problems = problems  # type: ignore[attr-defined]
    return error


def _words(error: Exception) -> str:
    reason = getattr(error, "reason", None)  # of TLS
    if reason == "CERTIFICATE_VERIFY_FAILED":
        why = getattr(error, "verify_message", "")
        return f"its certificate is not trusted: {why}; name its authority with --cacert FILE or {CACERT}"
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return "it does not speak TLS; try http://"
    if isinstance(error, http.client.RemoteDisconnected):
        return "it hangs up without an answer; if it speaks TLS, https:// is needed"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
