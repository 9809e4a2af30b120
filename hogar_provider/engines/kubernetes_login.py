"""Who the agent is to the Kubernetes API, as its settings say.

The client ``kubernetes_asyncio`` reads kubeconfigs and service accounts, and asks credential
plugins.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes_asyncio.client.api_client import ApiClient
from kubernetes_asyncio.client.configuration import Configuration
from kubernetes_asyncio.config import ConfigException, load_kube_config, load_kube_config_from_dict
from kubernetes_asyncio.config.incluster_config import (
    SERVICE_CERT_FILENAME,
    SERVICE_TOKEN_FILENAME,
    InClusterConfigLoader,
)
from kubernetes_asyncio.config.kube_config import refresh_token

from hogar_provider.engines.kubernetes_settings import KubernetesSettings, SettingsError

log = logging.getLogger(__name__)

RENEW_INTERVAL = 60
"""Seconds between two questions to a credential plugin."""


@dataclass(frozen=True, slots=True, eq=False)
class Login:
    """A client of the API; ``renewing`` asks a credential plugin again and again."""

    client: ApiClient
    renewing: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Close its connections."""
        if self.renewing is not None:
            self.renewing.cancel()
            await asyncio.gather(self.renewing, return_exceptions=True)
        await self.client.close()


async def log_in(settings: KubernetesSettings, folder: Path) -> Login:
    """Read how to come to the API. Certificates of a kubeconfig lie in ``folder`` meanwhile, which
    must be closed to others. Raises :class:`SettingsError` where they make no sense."""
    configuration = Configuration()
    renewing = None
    try:
        if settings.in_cluster:
            InClusterConfigLoader(
                SERVICE_TOKEN_FILENAME,
                SERVICE_CERT_FILENAME,
                environ={
                    "KUBERNETES_SERVICE_HOST": settings.service_host,
                    "KUBERNETES_SERVICE_PORT": settings.service_port,
                },
            ).load_and_set(configuration)
        else:
            loader = await _load_kubeconfig(settings, folder, configuration)
            # What a credential plugin says holds for a while only.
            renewing = asyncio.create_task(_renew(loader, configuration))
        if not settings.verify:
            configuration.verify_ssl = False
        client = ApiClient(configuration)
    except (ConfigException, OSError, ssl.SSLError, KeyError, TypeError) as error:
        if renewing is not None:
            renewing.cancel()
        raise SettingsError(f"the cluster's configuration cannot be used: {error}") from None
    return Login(client, renewing)


async def _renew(loader: Any, configuration: Configuration) -> None:
    """Ask a credential plugin again before what it has said has expired, for ever; ends at once
    where there is none."""
    while True:
        try:
            await refresh_token(loader, configuration, RENEW_INTERVAL)
            return
        except Exception as error:
            # It is a program of somebody else.
            log.warning("the kubeconfig's credential plugin failed and is asked again: %s", error)


async def _load_kubeconfig(
    settings: KubernetesSettings, folder: Path, configuration: Configuration
) -> Any:
    context = settings.context or None
    if settings.kubeconfig_path:
        return await load_kube_config(
            settings.kubeconfig_path,
            context,
            configuration,
            persist_config=False,
            temp_file_path=str(folder),
        )
    import yaml

    try:
        loaded = yaml.safe_load(settings.kubeconfig)
    except (yaml.YAMLError, RecursionError):
        # Its text may hold keys: it is not told.
        loaded = None
    if not isinstance(loaded, dict):
        raise ConfigException("the kubeconfig is no YAML mapping")
    return await load_kube_config_from_dict(loaded, context, configuration, str(folder))
