"""The engine ``kubernetes``: a namespace of a cluster, whose nodes are pods.

The connection's extra names a connection of type ``kubernetes``, which the hook of the provider
``cncf.kubernetes`` reads; the agent gets what it needs of it on its standard input.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hogar_provider.engines.connection import COMMON
from hogar_provider.engines.kubernetes_settings import (
    KubernetesSettings,
    SettingsError,
    read_reach,
)
from hogar_provider.exceptions import AirflowException

if TYPE_CHECKING:
    from earg.client import AgentClient
    from earg.home import Home
    from hogar_provider.engines.connection import EngineConnection

NAME = "kubernetes"

TEXTS = ("kubernetes_conn_id", "namespace", "reach", "url")

ARTIFACTS = "artifacts"

KEYS = (*TEXTS, ARTIFACTS)
"""Keys of the connection's extra that are this engine's own."""

DEFAULT_CONNECTION = "kubernetes_default"

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


@dataclass(frozen=True, slots=True)
class KubernetesEngine:
    """As :class:`hogar_provider.engines.engine.Engine` has it. ``start`` is whether an agent may
    be started where none runs."""

    home: Home
    settings: KubernetesSettings
    kubernetes_conn_id: str
    start: bool = True
    name: str = NAME
    runs_images: bool = True

    @property
    def token(self) -> str:
        """The connection's password, else that of the namespace; empty where the API cannot be
        asked, or nothing has been deployed yet."""
        if self.settings.token:
            return self.settings.token
        from hogar_provider.engines.kubernetes_token import OWN_SECRET, read_token

        try:
            found = self._core().read_namespaced_secret(
                OWN_SECRET, self.settings.namespace, _request_timeout=10
            )
            return read_token({"metadata": {"name": OWN_SECRET}, "data": found.data})
        except Exception as error:
            # Whatever plugin the kubeconfig names may raise anything.
            if getattr(error, "status", None) == 404:
                return ""
            import logging

            logging.getLogger(__name__).warning(
                "the token of namespace %s cannot be read: %s",
                self.settings.namespace,
                _words(error),
            )
            return ""

    def connect(self, start: bool = True) -> AgentClient:
        """As of the protocol."""
        from earg.client import NoAgentError
        from hogar_provider.engines.agent_start import connect_to

        try:
            return connect_to(self.home, NAME, self.settings.to_json(), start and self.start)
        except NoAgentError as error:
            if self.start or not start:
                raise
            raise NoAgentError(f"{error}, and the connection forbids to start one") from None

    def examine(self) -> tuple[bool, str]:
        """As of the protocol: the API is asked whether the account may apply Deployments."""
        namespace = self.settings.namespace
        try:
            missing = self._missing_rights()
        except Exception as error:
            return False, f"The Kubernetes API cannot be asked: {_words(error)}"
        if missing:
            return False, (
                f"In namespace {namespace} the account may not {', '.join(missing)}. "
                "docs/kubernetes_role.yaml has the Role that it needs."
            )
        return True, f"The Kubernetes API answers, and graphs may be deployed in {namespace}."

    def _missing_rights(self) -> list[str]:
        from kubernetes import client

        api = client.AuthorizationV1Api(self._core().api_client)
        missing = []
        for group, resource, verb in (
            ("apps", "deployments", "patch"),
            ("apps", "statefulsets", "patch"),
            ("", "pods", "list"),
        ):
            asked = client.V1SelfSubjectAccessReview(
                spec=client.V1SelfSubjectAccessReviewSpec(
                    resource_attributes=client.V1ResourceAttributes(
                        group=group,
                        resource=resource,
                        verb=verb,
                        namespace=self.settings.namespace,
                    )
                )
            )
            said = api.create_self_subject_access_review(asked, _request_timeout=10)
            if not said.status.allowed:
                missing.append(f"{verb} {resource}")
        return missing

    def _core(self) -> Any:
        return _hook(self.kubernetes_conn_id).core_v1_client


def _hook(conn_id: str) -> Any:
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook

    return KubernetesHook(conn_id=conn_id)


def _fields_of(hook: Any) -> dict[str, Any]:
    """What the connection of type ``kubernetes`` says; forms before Airflow 2.3 wrote a prefix."""
    prefix = "extra__kubernetes__"
    found = {name.removeprefix(prefix): value for name, value in hook.conn_extras.items()}
    return found | {k: v for k, v in hook.conn_extras.items() if not k.startswith(prefix)}


def _words(error: Exception) -> str:
    body = getattr(error, "body", None)
    if body:
        try:
            return str(json.loads(body)["message"])
        except (ValueError, KeyError, TypeError):
            pass
    return str(error) or type(error).__name__


def open_engine(said: EngineConnection) -> KubernetesEngine:
    """The engine of a connection; raises AirflowException where it makes no sense."""
    from earg.home import find_home

    unknown = sorted(str(key) for key in said.extra if key not in (*COMMON, *KEYS))
    if unknown:
        raise said.wrong("a key of the extra", f"one of {', '.join((*COMMON, *KEYS))}", unknown[0])
    for key in TEXTS:
        value = said.extra.get(key)
        if value is not None and not isinstance(value, str):
            raise said.wrong(f"{key!r}", "text", value)
    conn_id = said.extra.get("kubernetes_conn_id") or DEFAULT_CONNECTION
    try:
        hook = _hook(conn_id)
    except ImportError:
        raise AirflowException(
            f"Connection {said.conn_id!r}: the engine kubernetes needs the provider "
            "apache-airflow-providers-cncf-kubernetes; install this one's extra 'kubernetes'."
        ) from None
    try:
        settings = KubernetesSettings(
            namespace=said.extra.get("namespace") or hook.get_namespace() or "default",
            reach=read_reach(said.extra.get("reach") or "auto"),
            url=said.extra.get("url") or "",
            token=said.token,
            **_artifacts(said),
            **_credentials(_fields_of(hook).get),
        )
    except SettingsError as error:
        raise AirflowException(f"Connection {said.conn_id!r}: {error}.") from None
    folder = re.sub(r"[^\w.-]", "_", said.conn_id)
    home = said.home or find_home().path / "engines" / folder
    return KubernetesEngine(find_home(home), settings, conn_id, said.start)


def _artifacts(said: EngineConnection) -> dict[str, str]:
    """Where trained models are, as the connection says."""
    found = said.extra.get(ARTIFACTS)
    if found is None:
        return {}
    wanted = '{"claim": name of a PersistentVolumeClaim, "path": folder where Airflow has it}'
    if (
        not isinstance(found, dict)
        or set(found) != {"claim", "path"}
        or not all(isinstance(value, str) and value for value in found.values())
    ):
        raise said.wrong(f"{ARTIFACTS!r}", wanted, found)
    return {"artifacts_claim": found["claim"], "artifacts_path": found["path"]}


def _credentials(given: Any, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """How to come to the API, by the fields of a connection of type ``kubernetes``, in the order in
    which the hook heeds them. Raises :class:`SettingsError`."""
    verify = str(given("disable_verify_ssl") or "").lower() not in ("true", "1", "yes", "on")
    common = {"verify": verify, "context": given("cluster_context") or ""}
    cluster = {
        "in_cluster": True,
        "service_host": environment.get("KUBERNETES_SERVICE_HOST", ""),
        "service_port": environment.get("KUBERNETES_SERVICE_PORT", ""),
    }
    in_cluster = str(given("in_cluster") or "").lower() in ("true", "1", "yes", "on")
    path, text = given("kube_config_path"), given("kube_config")
    if sum(map(bool, (in_cluster, path, text))) > 1:
        raise SettingsError("'in_cluster', 'kube_config_path' and 'kube_config' exclude each other")
    if in_cluster:
        return common | cluster | {"context": ""}
    if path:
        return common | {"kubeconfig_path": str(Path(path).expanduser())}
    if text:
        return common | {"kubeconfig": text if isinstance(text, str) else json.dumps(text)}
    if cluster["service_host"] and SERVICE_ACCOUNT.exists():
        return common | cluster | {"context": ""}
    default = environment.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    return common | {"kubeconfig_path": default}
