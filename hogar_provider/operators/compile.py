"""Publish what a graph compiles to for other platforms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from hogar_provider.arguments import truth
from hogar_provider.assets import compiled_asset
from hogar_provider.compiled import CompiledError, compile_text, publish
from hogar_provider.configuration import compiled_folder
from hogar_provider.exceptions import AirflowException, AirflowFailException, AirflowSkipException

if TYPE_CHECKING:
    from airflow.sdk import Context


class CompileGraphOperator(BaseOperator):
    """Write the files of other platforms below ``[hogar] compiled_folder``, in
    ``<graph>/<version>/<target>/``, and return where they are.

    The log names every file, and says at which line a target leaves something out. A target that
    cannot express the graph fails the task, once the others' files are written. What is returned
    has ``folder`` and, by target, ``path``, ``digest`` (SHA-256 of the files' names and texts) and
    ``files``. The task updates the asset ``Asset("earg://<graph>/compiled")``.

    :param graph: the graph's name.
    :param version: its version.
    :param udgl: the UDGL text.
    :param source: the name of its file, for messages.
    :param targets: the targets to compile to (templated).
    :param dry: a dry run: only say in the log what would be written (templated).
    """

    template_fields: Sequence[str] = ("targets", "dry")
    ui_color = "#f3e8fd"
    custom_operator_name = "Compile graph"

    def __init__(
        self,
        *,
        graph: str,
        version: str,
        udgl: str,
        source: str = "<graph>",
        targets: Sequence[str] | str,
        dry: bool | str = False,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("outlets", [compiled_asset(graph)])
        super().__init__(**kwargs)
        self.graph = graph
        self.version = version
        self.udgl = udgl
        self.source = source
        self.targets = targets
        self.dry = dry

    def execute(self, context: Context) -> dict[str, Any]:
        """Compile and write; see the class."""
        names = self._names()
        folder = _root() / self.graph / self.version
        if truth(self.dry, "dry"):
            sentence = f"Dry run: would write {', '.join(names) or 'nothing'} below {folder}"
            self.log.info("%s", sentence)
            raise AirflowSkipException(sentence)
        if not names:
            raise AirflowSkipException("No target is named: there is nothing to compile.")
        written: dict[str, Any] = {}
        refused = []
        for name in names:
            found = self._one(name, folder / name)
            if found is None:
                refused.append(name)
            else:
                written[name] = found
        if refused:
            raise AirflowFailException(
                f"{', '.join(refused)} cannot express graph {self.graph}; the log says where."
            )
        result = {"folder": str(folder), "targets": written}
        events, asset = context.get("outlet_events"), compiled_asset(self.graph)
        if events is not None and asset in self.outlets:
            digests = {name: one["digest"] for name, one in written.items()}
            events[asset].extra = {
                "graph": self.graph,
                "version": self.version,
                "folder": str(folder),
                "digests": digests,
            }
        return result

    def _names(self) -> list[str]:
        """The targets that are asked for, each once; AirflowFailException for one there is not."""
        import json

        from udgl.targets import target_names

        given = json.loads(self.targets) if isinstance(self.targets, str) else self.targets
        known = target_names()
        for name in given:
            if name not in known:
                raise AirflowFailException(
                    f"There is no target {name!r}; there are {', '.join(known)}."
                )
        return list(dict.fromkeys(given))

    def _one(self, name: str, folder: Path) -> dict[str, Any] | None:
        """Compile to one target and write its files; None where it cannot express the graph."""
        from udgl.diagnostics import Severity, format_all

        try:
            found = compile_text(self.udgl, self.source, name)
        except CompiledError as error:
            raise AirflowFailException(str(error)) from None
        level = self.log.warning if found.files else self.log.error
        for diagnostic in found.diagnostics:
            told = format_all((diagnostic,), self.source, self.udgl)
            say = self.log.info if diagnostic.severity is Severity.NOTE else level
            for line in told.splitlines():
                say("%s", line)
        if not found.files:
            return None
        try:
            publish(found, folder)
        except OSError as error:
            raise AirflowException(
                f"The files of {name} cannot be written to {folder}: {error.strerror}. Is [hogar] "
                "compiled_folder a folder that tasks may write to?"
            ) from None
        self.log.info("%s: %d files in %s, digest %s", name, len(found.files), folder, found.digest)
        for file in found.files:
            self.log.info("  %s", folder / file.name)
        names = [file.name for file in found.files]
        return {"path": str(folder), "digest": found.digest, "files": names}


def _root() -> Path:
    """``[hogar] compiled_folder``; below Airflow's own folder where it is relative."""
    from airflow.configuration import AIRFLOW_HOME

    return Path(AIRFLOW_HOME) / Path(compiled_folder()).expanduser()
