"""One Docker daemon: its client, used from threads, with a deadline on every call."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from earg.platform import PlatformError
from earg.status import HostStatus
from hogar_provider.engines.docker_settings import DockerHost, RegistryLogin
from udgl.targets._pairs import NODE_IMAGE

log = logging.getLogger(__name__)

THREADS = 8
"""Calls of one daemon at once."""

MEASURING_THREADS = 16
"""Statistics of containers that are waited for at once: a daemon may take a second for each."""

CALL_TIMEOUT = 60.0
"""Seconds for a call that starts or changes something."""

LOOK_TIMEOUT = 10.0
"""Seconds for a call that reads."""

MEASURE_TIMEOUT = 8.0
"""Seconds for an answer with statistics."""

PING_TIMEOUT = 3.0
"""Seconds within which a daemon that is well answers a ping."""

PULL_SILENCE, PULL_TIMEOUT = 300, 3600.0
"""Seconds between two signs of life of a pull, and for all of it."""

INDEX = "docker.io"

_T = TypeVar("_T")


class DaemonError(PlatformError):
    """What a daemon refuses, in its own words; ``status`` is that of HTTP, 0 where it gave no
    answer."""

    def __init__(self, sentence: str, status: int = 0) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True, slots=True)
class DaemonInfo:
    """What a daemon says of its machine: CPUs, bytes of memory, its version, how it logs, and
    whether it has an init process to put before a container's own."""

    cpus: int
    memory: int
    version: tuple[int, ...]
    logging: str
    init: bool


class Daemon:
    """A host's daemon. :meth:`ask` runs a blocking call of the SDK; :meth:`pulse` tells whether the
    daemon lives."""

    def __init__(self, host: DockerHost, dead_after: float) -> None:
        self.host = host
        self._dead_after = dead_after
        self._threads = ThreadPoolExecutor(THREADS, f"docker-{host.name}")
        # Its own, so that calls that hang do not make the host look dead, nor it alive.
        self._ping_thread = ThreadPoolExecutor(1, f"docker-ping-{host.name}")
        self._pull_threads = ThreadPoolExecutor(2, f"docker-pull-{host.name}")
        # They only wait.
        self._measuring_threads = ThreadPoolExecutor(MEASURING_THREADS, f"docker-use-{host.name}")
        self._opening = threading.Lock()
        self._clients: dict[float, Any] = {}
        self._pinging: asyncio.Future[None] | None = None
        self._info: DaemonInfo | None = None
        self._status = HostStatus(host.name)
        self._silent_since = 0.0

    @property
    def name(self) -> str:
        """The host's."""
        return self.host.name

    # --- life -------------------------------------------------------------------------------

    async def pulse(self) -> HostStatus:
        """Ping it. It is dead when it has not answered for the time that the settings say."""
        if self._pinging is None or self._pinging.done():
            loop = asyncio.get_running_loop()
            self._pinging = loop.run_in_executor(self._ping_thread, self._ping)
            # One that ends too late is asked for by nobody.
            self._pinging.add_done_callback(lambda one: one.cancelled() or one.exception())
        pinging = self._pinging
        await asyncio.wait([pinging], timeout=PING_TIMEOUT)
        if not pinging.done():
            self._note(f"no reply within {PING_TIMEOUT:g} s")
        elif (error := pinging.exception()) is not None:
            self._note(reason_of(error))
        else:
            self._note("")
        return self._status

    def _ping(self) -> None:
        self._client(PING_TIMEOUT).ping()

    def _note(self, trouble: str) -> None:
        """Keep what a ping has told: empty where it was answered."""
        now = time.time()
        if not trouble:
            if self._status.dead:
                log.warning("host %s answers again", self.name)
                self._status = HostStatus(self.name, since=now)
            self._silent_since = 0.0
            return
        if not self._silent_since:
            self._silent_since = now
            # It may be another machine, or have another version, when it is back.
            self._info = None
        if not self._status.dead and now - self._silent_since >= self._dead_after:
            reason = f"the Docker daemon at {self.host.url} does not answer: {trouble}"
            self._status = HostStatus(self.name, True, reason, self._silent_since)
            log.error("host %s is dead: %s", self.name, reason)

    @property
    def is_dead(self) -> bool:
        """Whether the last pulse found it dead."""
        return self._status.dead

    def refuse_dead(self) -> None:
        """Raise :class:`DaemonError` where it is dead: each question would wait for its deadline.
        The next pulse tells when it is back."""
        if self._status.dead:
            raise DaemonError(f"host {self.name} is dead: {self._status.reason}")

    def close(self) -> None:
        """Let go of threads and connections; calls under way end by themselves."""
        pools = (self._threads, self._ping_thread, self._pull_threads, self._measuring_threads)
        for threads in pools:
            threads.shutdown(wait=False, cancel_futures=True)
        for client in self._clients.values():
            client.close()

    # --- calls ------------------------------------------------------------------------------

    async def ask(self, call: Callable[[Any], _T], timeout: float = CALL_TIMEOUT) -> _T:
        """What ``call`` returns, given the SDK's client; raises :class:`DaemonError`."""
        patience = LOOK_TIMEOUT if timeout <= LOOK_TIMEOUT else CALL_TIMEOUT
        return await self._run(self._threads, lambda: call(self._client(patience)), timeout)

    async def measure(self, call: Callable[[Any], _T], timeout: float) -> _T:
        """As :meth:`ask`, where nothing else waits for it."""
        return await self._run(
            self._measuring_threads, lambda: call(self._client(MEASURE_TIMEOUT)), timeout
        )

    async def _run(self, threads: ThreadPoolExecutor, call: Callable[[], _T], timeout: float) -> _T:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                return await loop.run_in_executor(threads, call)
        except TimeoutError:
            raise DaemonError(
                f"host {self.name}: the Docker daemon does not answer within {timeout:g} s"
            ) from None
        except PlatformError:
            raise
        except Exception as error:
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> DaemonError:
        from docker.errors import APIError

        if isinstance(error, APIError):
            return DaemonError(f"host {self.name}: {reason_of(error)}", error.status_code or 500)
        return DaemonError(
            f"host {self.name}: the Docker daemon at {self.host.url} does not answer: "
            f"{reason_of(error)}"
        )

    def _client(self, timeout: float) -> Any:
        """The SDK's client with this time for each answer. It asks the daemon for its version
        first."""
        with self._opening:
            client = self._clients.get(timeout)
        if client is None:
            client = open_client(self.host, timeout)
            with self._opening:
                kept = self._clients.setdefault(timeout, client)
            if kept is not client:
                client.close()
            client = kept
        return client

    async def info(self) -> DaemonInfo:
        """What it says of its machine; raises :class:`DaemonError`."""
        if self._info is None:
            said = await self.ask(lambda client: client.info(), LOOK_TIMEOUT)
            digits = str(said.get("ServerVersion", "")).split("-")[0].split("+")[0].split(".")
            self._info = DaemonInfo(
                int(said.get("NCPU") or 1),
                int(said.get("MemTotal") or 0),
                tuple(int(part) for part in digits if part.isdecimal()),
                str(said.get("LoggingDriver", "")),
                (said.get("InitCommit") or {}).get("ID") != "N/A",
            )
        return self._info

    # --- images -----------------------------------------------------------------------------

    async def ensure_image(self, image: str, pull: str) -> None:
        """Have an image on the host; raises :class:`DaemonError` with what Docker says of a pull
        that fails."""
        if pull != "always":
            try:
                await self.ask(lambda client: client.inspect_image(image), LOOK_TIMEOUT)
            except DaemonError as error:
                if error.status != 404:
                    raise
            else:
                return
        if pull == "never":
            raise DaemonError(
                f"host {self.name}: there is no image {image}, and it is not pulled: "
                f"{self._advice(image)}",
                404,
            )
        log.info("host %s pulls image %s", self.name, image)
        await self._run(self._pull_threads, lambda: self._pull(image), PULL_TIMEOUT)

    @staticmethod
    def _advice(image: str) -> str:
        if image == NODE_IMAGE:
            return (
                "build it there with docker/Dockerfile, or name that of your registry as the "
                "engine's 'node_image'"
            )
        return "load it there, or let the engine's 'pull' be 'missing'"

    def _pull(self, image: str) -> None:
        from docker.errors import APIError
        from docker.utils import parse_repository_tag

        repository, tag = parse_repository_tag(image)
        # A login that is another registry's is nothing to show to this one.
        shown = login_for(self.host.login, repository)
        client = open_client(self.host, PULL_SILENCE)
        try:
            lines = client.pull(
                repository, tag or "latest", stream=True, decode=True, auth_config=shown
            )
            for line in lines:
                if "error" in line:
                    raise DaemonError(
                        f"host {self.name} cannot pull image {image}: {line['error']}", 500
                    )
        except APIError as error:
            raise DaemonError(
                f"host {self.name} cannot pull image {image}: {reason_of(error)}",
                error.status_code or 500,
            ) from None
        finally:
            client.close()


def open_client(host: DockerHost, timeout: float) -> Any:
    """A client of the SDK, which speaks the daemon's own version of the API."""
    from docker import APIClient, TLSConfig

    class Client(APIClient):
        """Trusts the daemon's authority also where the environment names those of the web."""

        def merge_environment_settings(self, url: Any, *settings: Any) -> Any:
            found = super().merge_environment_settings(url, *settings)
            return {**found, "verify": self.verify}

    tls: Any = False
    url = host.url
    if host.tls is not None:
        certificate = (host.tls.certificate, host.tls.key) if host.tls.certificate else None
        tls = TLSConfig(certificate, ca_cert=host.tls.ca or None, verify=host.tls.verify)
        url = url.replace("tcp://", "https://")
    return Client(
        url, version="auto", timeout=timeout, tls=tls, max_pool_size=max(THREADS, MEASURING_THREADS)
    )


def examine(host: DockerHost, timeout: float) -> str:
    """The version of a host's daemon, once it has logged in to the registry. Raises an exception
    with what the SDK, the daemon or the registry says; see :func:`reason_of`."""
    client = open_client(host, timeout)
    try:
        version = str(client.version()["Version"])
        if host.login is not None:
            login = host.login
            client.login(login.username, login.password, registry=login.registry, reauth=True)
        return version
    finally:
        client.close()


def login_for(login: RegistryLogin | None, repository: str) -> dict[str, str] | None:
    """What the SDK shows when it pulls ``repository``; None leaves it to the user's own Docker
    configuration."""
    from docker.auth import resolve_repository_name

    if login is None or resolve_repository_name(repository)[0] != registry_of(login.registry):
        return None
    return {"username": login.username, "password": login.password}


def registry_of(text: str) -> str:
    """The host of a registry's URL; that of Docker Hub has several."""
    host = text.partition("://")[2] or text
    host = host.partition("/")[0]
    return INDEX if host in ("index.docker.io", "registry-1.docker.io", "docker.io", "") else host


def reason_of(error: BaseException) -> str:
    """What went wrong, in Docker's or the system's own words, in one line."""
    explanation = getattr(error, "explanation", None)
    text = explanation.decode(errors="replace") if isinstance(explanation, bytes) else explanation
    if text:
        return " ".join(text.split())[:1000]
    # requests, urllib3 and the SDK wrap what the system said several times.
    words = ""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, TimeoutError):
            words = "no reply in time"
        elif isinstance(inner, OSError) and inner.strerror:
            words = inner.strerror
        inner = inner.__cause__ or inner.__context__
    return " ".join((words or str(error) or type(error).__name__).split())[:1000]
