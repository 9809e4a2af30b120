"""A DAG bundle of UDGL files: drop a file into a folder or a repository, and it is a DAG.

One line of Airflow's configuration, for the dags folder::

    [dag_processor]
    dag_bundle_config_list = [{"name": "dags-folder", "classpath":
        "hogar_provider.bundles.UdglDagBundle", "kwargs": {}}]

Airflow imports this module in every process that asks for bundles, so nothing heavy is imported
before the files are needed.
"""

from __future__ import annotations

import string
from importlib import import_module
from pathlib import Path
from typing import Any

from airflow.configuration import conf
from airflow.dag_processing.bundles.base import BaseDagBundle

from hogar_provider.exceptions import AirflowException
from hogar_provider.graph_tree import link_of, show

LOCAL = "airflow.dag_processing.bundles.local.LocalDagBundle"


class UdglDagBundle(BaseDagBundle):
    """Another bundle whose UDGL files are DAGs beside its Python files.

    Each graph has a parse, an import error and a Code tab of its own. The other bundle says where
    the files come from and which version they are; its files are read where they are, and never
    written to.

    :param bundle: the class path of the other bundle.
    :param kwargs: what that class is constructed with, beside the name and the version.
    :param storage: the folder for what is generated. Default: ``_udgl`` in ``[dag_processor]
        dag_bundle_storage_path``, else ``udgl_bundles`` in ``AIRFLOW_HOME``.
    """

    def __init__(
        self,
        *,
        bundle: str = LOCAL,
        kwargs: dict[str, Any] | None = None,
        storage: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        template = getattr(self, "_view_url_template", None)
        inherited = {} if template is None else {"view_url_template": template}
        # Under the same name, so that Airflow removes its old versions as it always does.
        self.wrapped = _bundle_class(bundle)(
            name=self.name,
            version=self.version,
            **{"refresh_interval": self.refresh_interval, **inherited, **(kwargs or {})},
        )
        self.supports_versioning = self.wrapped.supports_versioning
        self.storage = Path(storage) if storage else _storage()

    @property
    def path(self) -> Path:
        """The folder with the generated Python files; the same one for each call."""
        version = self.version if self.supports_versioning else None
        return link_of(self.storage / self.name, version)

    def initialize(self) -> None:
        """Make the files of this version available; see Airflow's class."""
        self.wrapped.initialize()
        self._show()
        # Airflow forks a process for each file it parses: this one, which they come from, had
        # better have imported what all of them need.
        from hogar_provider.loader import warm_up

        warm_up()
        super().initialize()

    def refresh(self) -> None:
        """Fetch the newest files, and see which graphs there are."""
        self.wrapped.refresh()
        self._show()

    def get_current_version(self) -> Any:
        """The other bundle's."""
        return self.wrapped.get_current_version()

    def view_url(self, version: str | None = None) -> str | None:
        """The other bundle's."""
        return self.wrapped.view_url(version)

    def view_url_template(self) -> str | None:
        """The other bundle's, with all that Airflow would ask this one for filled in."""
        template = self.wrapped.view_url_template()
        if not template:
            return template
        return "".join(
            _filled(self.wrapped, *part[:2]) for part in string.Formatter().parse(template)
        )

    def _show(self) -> None:
        folder = self.wrapped.path
        if not folder.is_dir():
            raise AirflowException(
                f"The folder {folder} of bundle '{self.name}' does not exist or cannot be entered. "
                "Its graphs stay as they were."
            )
        show(folder.absolute(), self.path)


def _filled(bundle: BaseDagBundle, text: str, name: str | None) -> str:
    escaped = text.replace("{", "{{").replace("}", "}}")
    if name is None:
        return escaped
    value = None if name == "version" else getattr(bundle, name, None)
    if not value:
        return f"{escaped}{{{name}}}"
    return escaped + str(value).replace("{", "{{").replace("}", "}}")


def _storage() -> Path:
    from airflow.configuration import AIRFLOW_HOME

    configured = conf.get("dag_processor", "dag_bundle_storage_path", fallback=None)
    return Path(configured, "_udgl") if configured else Path(AIRFLOW_HOME, "udgl_bundles")


def _bundle_class(path: str) -> type[BaseDagBundle]:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise AirflowException(f"UdglDagBundle cannot find the bundle '{path}': {error}") from None
    if not (isinstance(found, type) and issubclass(found, BaseDagBundle)):
        raise AirflowException(f"'{path}', given to UdglDagBundle, is no DAG bundle class")
    if issubclass(found, UdglDagBundle):
        raise AirflowException("UdglDagBundle cannot wrap a UdglDagBundle")
    return found
