"""Connections to API servers: the one module that imports the library, so it is itself imported late.

Of the library we take how a cluster is found and trusted (kubeconfig with its certificates, tokens and plugins; the
service account of a pod) and its HTTP session. Objects travel as plain dicts: its typed models drop fields that they
do not know, and what we do not know we must not drop.
"""

import asyncio
import json
import os
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import kube_config
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.incluster_config import (
    SERVICE_CERT_FILENAME,
    SERVICE_TOKEN_FILENAME,
    InClusterConfigLoader,
)

from orchestrator.adapters.kubernetes.errors import Unauthenticated, error_of
from orchestrator.adapters.kubernetes.plugin import credentials_of
from orchestrator.errors import RolloutError, Temporary

AGENT = "staged-rollout"
LOGIN_SECONDS = 30.0
CONNECT_SECONDS = 5.0
LONGEST_REASON = 300
FAILURES = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""What a request may raise; ``ValueError`` for an answer that is no HTTP or too long."""
Heard = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Contexts:
    """What kubeconfig files say: the namespace of each context, and which context is the current one."""

    namespaces: Mapping[str, str]
    current: str | None


def contexts_of(paths: str) -> Contexts:
    """*paths* as ``KUBECONFIG`` has them. Raises ``Temporary`` if they can't be read: somebody may be writing them."""
    try:
        config = kube_config.KubeConfigMerger(paths).config.value
        nodes = [node.value for node in config["contexts"]]
        namespaces = {str(node["name"]): str(node["context"].get("namespace") or "default") for node in nodes}
        return Contexts(namespaces, config.get("current-context") or None)
    except Exception as error:  # a broken file makes the library stumble in any way
        raise Temporary(f"the kubeconfig {paths} can't be read: {_first_line(error)}") from error


class _Loader(kube_config.KubeConfigLoader):  # type: ignore[misc] # the library has no types
    """The library's own writes a plugin's failure to a log and goes on as nobody; and it lets it ask the terminal."""

    async def load_from_exec_plugin(self) -> bool:
        status = await credentials_of(self._user["exec"].value, self._cluster.value, self._user.path)
        if "token" in status:
            self.token = f"Bearer {status['token']}"
        if "clientCertificateData" in status:
            self.cert_file, self.key_file = (
                kube_config.FileOrData(status, None, data_key_name=key, base64_file_content=False).as_file()
                for key in ("clientCertificateData", "clientKeyData")
            )
        return True


@dataclass(frozen=True, slots=True)
class Request:
    """*target*: path and query. *body*: what is sent as JSON."""

    method: str
    target: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class _Login:
    """Credentials in use, with the HTTP session that shows them."""

    def __init__(self, configuration: Configuration) -> None:
        configuration.connection_pool_maxsize = 0  # no limit: those who watch must not keep a rollback waiting
        configuration.client_session_kwargs = {"trust_env": False}  # a password in ~/.netrc is for others
        configuration.proxy = configuration.proxy or _proxy_for(configuration.host)
        self.configuration = configuration
        self.is_by_token = configuration.cert_file is None
        self._rest = RESTClientObject(configuration)

    def takes_over(self, other: "_Login") -> bool:
        """Whether this session can go on with the credentials of a newer one."""
        if not (self.is_by_token and other.is_by_token and self.configuration.host == other.configuration.host):
            return False
        self.configuration.api_key = other.configuration.api_key
        return True

    async def send(self, request: Request, limits: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        try:
            token = await self.configuration.get_api_key_with_prefix("BearerToken")
        except ConfigException as error:  # a pod's token is read from its file now and then
            raise Unauthenticated(f"the pod's service account has no token: {_first_line(error)}") from error
        headers = {**request.headers, "User-Agent": AGENT, **({"Authorization": token} if token else {})}
        url = f"{self.configuration.host}{request.target}"
        answer = await self._rest.request(
            request.method, url, headers=headers, body=request.body, _request_timeout=limits
        )
        response: aiohttp.ClientResponse = answer.response
        return response

    async def close(self) -> None:
        await self._rest.close()


class Session:
    """Requests to one API server: to a *context* of the kubeconfig files *paths*, or, if these are None, to that of
    the cluster in whose pod we are.

    Any error but those of an answer (see ``errors.py``) is ``Temporary``, and after it the request may have been
    carried out.
    """

    def __init__(self, title: str, paths: str | None, context: str | None, heard: Heard | None = None) -> None:
        self.title = title
        self._heard = heard or _nobody_hears
        self._paths = paths
        self._context = context
        self._login: _Login | None = None
        self._logging_in = asyncio.Lock()
        self._renewals = 0

    async def close(self) -> None:
        login, self._login = self._login, None
        if login is not None:
            await login.close()

    async def read(self, request: Request, within_seconds: float) -> bytes:
        """The whole body of a good answer."""
        limits = aiohttp.ClientTimeout(total=within_seconds, sock_connect=CONNECT_SECONDS)
        try:
            async with await self._open(request, limits) as response:
                return await response.read()
        except FAILURES as error:
            raise self._failed(error) from error

    async def lines(self, target: str, idle_seconds: float) -> AsyncGenerator[bytes, None]:
        """The lines of an answer without an end. It is over when none comes for so long."""
        limits = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=idle_seconds)
        try:
            response = await self._open(Request("GET", target), limits)
        except FAILURES as error:
            raise self._failed(error) from error
        try:
            while line := await response.content.readline():
                yield line
        except TimeoutError:
            return
        except FAILURES as error:
            raise self._failed(error) from error
        finally:
            _cut(response)

    async def _open(self, request: Request, limits: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        """An answer below 400; others are raised. Credentials that are not accepted are read anew, once."""
        login = await self._current()
        renewals = self._renewals
        response = await self._send(login, request, limits)
        if response.status == 401:
            response.release()
            login = await self._log_in_again(login, renewals)
            response = await self._send(login, request, limits)
        if response.status >= 400:
            async with response:
                raise error_of(response.status, await _status_of(response), self.title, _retry_after(response))
        return response

    async def _send(self, login: _Login, request: Request, limits: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        try:
            response = await login.send(request, limits)
        except FAILURES as error:
            self._heard(request.method, "timeout" if isinstance(error, TimeoutError) else "unreachable")
            raise
        self._heard(request.method, str(response.status))
        return response

    async def _current(self) -> _Login:
        async with self._logging_in:
            if self._login is None:
                self._login = await self._new_login()
            return self._login

    async def _log_in_again(self, refused: _Login, renewals: int) -> _Login:
        """*renewals*: how many there had been when it was refused; who comes later uses what the first one got."""
        async with self._logging_in:
            if self._login is not None and self._renewals != renewals:
                return self._login
            login = await self._new_login()
            self._renewals += 1
            if refused.takes_over(login):
                await login.close()
                login = refused
            else:
                await refused.close()
            self._login = login
            return login

    async def _new_login(self) -> _Login:
        configuration = Configuration()
        try:
            async with asyncio.timeout(LOGIN_SECONDS):
                await self._load(configuration)
            return _Login(configuration)
        except TimeoutError as error:
            raise Unauthenticated(f"{self.title}: its credentials were not there after {LOGIN_SECONDS:g} s") from error
        except RolloutError as error:
            raise Unauthenticated(f"{self.title}: {error}") from error
        except Exception as error:  # likewise
            raise Unauthenticated(f"{self.title}: its credentials can't be had: {_first_line(error)}") from error
        finally:
            kube_config._cleanup_temp_files()  # noqa: SLF001 - read by now; the library would leave keys lying about

    async def _load(self, configuration: Configuration) -> None:
        if self._paths is None:
            InClusterConfigLoader(SERVICE_TOKEN_FILENAME, SERVICE_CERT_FILENAME).load_and_set(configuration)
            return
        merged = await asyncio.to_thread(kube_config.KubeConfigMerger, self._paths)
        loader = _Loader(config_dict=merged.config, config_base_path=None, active_context=self._context)
        await loader.load_and_set(configuration)

    def _failed(self, error: BaseException) -> Temporary:
        if isinstance(error, TimeoutError):
            return Temporary(f"{self.title} did not answer in time")
        return Temporary(f"{self.title} can't be reached: {_words(error)}")


def _nobody_hears(method: str, code: str) -> None:
    pass


def _proxy_for(url: str) -> str | None:
    """That of the environment, as kubectl uses it."""
    parts = urlsplit(url)
    if parts.hostname is None or proxy_bypass(parts.hostname):
        return None
    return getproxies().get(parts.scheme)


def _cut(response: aiohttp.ClientResponse) -> None:
    """Ends an answer that has no end, without a farewell that a server which fell silent would never return."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()


async def _status_of(response: aiohttp.ClientResponse) -> Mapping[str, Any]:
    """The ``Status`` object of an error, empty if its body is none."""
    try:
        body = json.loads(await response.read())
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None


def _words(error: BaseException) -> str:
    """The operating system's own, where it has some ("Connection refused")."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError) and hasattr(cause, "verify_message"):  # aiohttp's has none
            return f"its certificate is not accepted: {cause.verify_message}"
        if isinstance(cause, OSError) and cause.errno is not None and not isinstance(cause, ssl.SSLError):
            return os.strerror(cause.errno) if cause.errno > 0 else "its name is not known"
        cause = cause.__cause__ or cause.__context__
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:LONGEST_REASON] if lines else type(error).__name__
