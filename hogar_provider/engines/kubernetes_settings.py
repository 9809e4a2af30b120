"""What the agent of the ``kubernetes`` engine is told when it starts."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from pathlib import PurePosixPath
from typing import Any, Self

LARGEST_SETTINGS = 1024 * 1024
"""Characters of a text of settings; a kubeconfig holds certificates."""

_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_CLAIM = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z"
)
_TOKEN = re.compile(r"[\x21-\x7e]{32,1024}\Z")


@dataclass(frozen=True, slots=True)
class Claim:
    """The PersistentVolumeClaim ``name`` that has what Airflow's machines have at ``path``."""

    name: str
    path: str


class SettingsError(ValueError):
    """Settings that make no sense, as a sentence."""


class Reach(Enum):
    """How the agent comes to what runs in the cluster."""

    AUTO = "auto"
    """As a Service inside the cluster, through the API from outside."""

    SERVICE = "service"
    """By the Services' names: where the agent's machine resolves and reaches them."""

    PORT_FORWARD = "port-forward"
    """Through the API, as ``kubectl port-forward`` does."""


@dataclass(frozen=True, slots=True)
class KubernetesSettings:
    """Which cluster, as whom, and where in it.

    Exactly one of ``in_cluster``, ``kubeconfig`` (its text) and ``kubeconfig_path`` says how to
    come to the API; ``context`` is one of the kubeconfig's, empty for its current one. In a cluster
    ``service_host`` and ``service_port`` are where its API is. ``verify`` False admits any
    certificate of the API. ``url`` is where clients find a graph's frontend, with ``{graph}`` for
    the name of its Service; empty: the Service's name, or a port of this machine that is forwarded
    to it. ``token`` is what requests to graphs show; empty: one that is made up once for the
    namespace. ``artifacts_claim`` is the PersistentVolumeClaim with the trained models, and
    ``artifacts_path`` where Airflow's machines have it.
    """

    namespace: str
    in_cluster: bool = False
    service_host: str = ""
    service_port: str = ""
    kubeconfig: str = field(default="", repr=False)
    kubeconfig_path: str = ""
    context: str = ""
    verify: bool = True
    reach: Reach = Reach.AUTO
    url: str = ""
    token: str = field(default="", repr=False)
    artifacts_claim: str = ""
    artifacts_path: str = ""

    def __post_init__(self) -> None:
        if not _NAMESPACE.match(self.namespace):
            raise SettingsError(f"'namespace' {self.namespace!r} is no name of a namespace")
        ways = (self.in_cluster, bool(self.kubeconfig), bool(self.kubeconfig_path))
        if sum(ways) != 1:
            raise SettingsError("say one of 'in_cluster', 'kubeconfig' and 'kubeconfig_path'")
        if self.in_cluster and not (self.service_host and self.service_port):
            raise SettingsError(
                "'in_cluster' needs the API's address; KUBERNETES_SERVICE_HOST is not set here"
            )
        if self.url and not re.match(r"https?://[^\s{}]+(\{graph\}[^\s{}]*)?\Z", self.url):
            raise SettingsError("'url' must be an http URL, with {graph} for the graph's name")
        if self.token and not _TOKEN.match(self.token):
            raise SettingsError("the token must be 32 to 1024 printable characters without spaces")

        if self.artifacts_claim and not _CLAIM.match(self.artifacts_claim):
            raise SettingsError(
                f"'claim' {self.artifacts_claim[:80]!r} of 'artifacts' is no name of a "
                "PersistentVolumeClaim"
            )
        if bool(self.artifacts_claim) != bool(self.artifacts_path):
            raise SettingsError("'artifacts' needs both, 'claim' and 'path'")
        if self.artifacts_path and not PurePosixPath(self.artifacts_path).is_absolute():
            raise SettingsError("'path' of 'artifacts' must be an absolute path")

    @property
    def claim(self) -> Claim | None:
        """Where trained models are; None where it is not said."""
        if not self.artifacts_claim:
            return None
        return Claim(self.artifacts_claim, self.artifacts_path)

    @property
    def forwards(self) -> bool:
        """Whether the cluster is reached through its API."""
        return self.reach is Reach.PORT_FORWARD or (
            self.reach is Reach.AUTO and not self.in_cluster
        )

    def to_json(self) -> str:
        """The text that :meth:`from_json` reads; it holds secrets."""
        return json.dumps(asdict(self) | {"reach": self.reach.value})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The settings of a text; raises :class:`SettingsError`, which tells no values."""
        if len(text) > LARGEST_SETTINGS:
            raise SettingsError(f"settings of more than {LARGEST_SETTINGS} characters")
        try:
            given: Any = json.loads(text)
        except (ValueError, RecursionError):
            raise SettingsError("the settings are no JSON") from None
        if not isinstance(given, dict):
            raise SettingsError("the settings are no JSON object")
        known = {one.name: one for one in fields(cls)}
        unknown = sorted(str(name)[:80] for name in given if name not in known)
        if unknown:
            raise SettingsError(f"unknown setting {unknown[0]!r}")
        if "namespace" not in given:
            raise SettingsError("'namespace' is missing")
        for name, value in given.items():
            wanted = bool if name in ("in_cluster", "verify") else str
            if type(value) is not wanted:
                raise SettingsError(
                    f"{name!r} must be {'true or false' if wanted is bool else 'text'}"
                )
        if "reach" in given:
            given["reach"] = read_reach(given["reach"])
        return cls(**given)


def read_reach(value: object) -> Reach:
    """What a setting ``reach`` says; raises :class:`SettingsError`."""
    try:
        return Reach(value)
    except ValueError:
        ways = ", ".join(one.value for one in Reach)
        raise SettingsError(f"'reach' must be one of {ways}, not {str(value)[:80]!r}") from None
