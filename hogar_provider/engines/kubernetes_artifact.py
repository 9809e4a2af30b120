"""How a trained model comes to the pods of its operator.

Where the connection names the claim that Airflow keeps its trainings on, the model's folder of it
is mounted. Where it names none, a model that is small enough goes as a ConfigMap: it is no more a
secret than what an image has in it. Source: the Kubernetes API reference (v1, volumes).
"""

from __future__ import annotations

import base64
import copy
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from earg.artifact import VARIABLE
from earg.images import Implementation
from earg.plan import Plan
from hogar_provider.engines.kubernetes_api import CONFIG_MAP, Api, Object, labels_of, name_of
from hogar_provider.engines.kubernetes_apply import (
    GRAPH_LABEL,
    MANAGED_BY,
    NODE_LABEL,
    PART_OF,
    WORKLOADS,
    check_owner,
)
from hogar_provider.engines.kubernetes_graph import MODEL, GraphError
from hogar_provider.engines.kubernetes_settings import Claim
from hogar_provider.engines.trained import FOLDER, trained_folder
from udgl.targets._manifest import MANAGER, label_name

VOLUME = "artifact"

PART_LABEL = f"{MANAGER}/part"
"""The label by which the ConfigMaps with models are told from those with graphs. They lack the
label of those, so that who looks at all graphs does not read all models."""

LARGEST = 1024 * 1024
"""Bytes of all files of a model in a ConfigMap: the API takes no more."""

MOST_FILES = 1000

_KINDS = tuple(kind.kind for kind in WORKLOADS)


@dataclass(frozen=True, slots=True)
class Artifact:
    """What pods mount: a volume and, of it, the folder ``part`` (empty: all of it).
    ``config_map`` is what has to be there before, where the volume is one."""

    volume: Object
    part: str = ""
    config_map: Object | None = None


def find_artifact(
    plan: Plan,
    index: int,
    implementation: Implementation,
    node: Object,
    claim: Claim | None,
) -> Artifact | None:
    """What the pods of node ``index`` mount; None for one that is not trained, or whose graph says
    itself where its image has the model. ``node`` is one of the node's objects. Reads files.
    Raises :class:`GraphError`."""
    folder = trained_folder(plan, index, implementation)
    if not folder:
        return None
    found = Path(folder)
    if not found.is_dir():
        raise GraphError(
            f"there is no trained model in {folder} on the machine of the engine's agent; the "
            "folder of trainings must be one that all machines of Airflow share"
        )
    return _in_config_map(found, node) if claim is None else _of_claim(found, claim)


def _of_claim(folder: Path, claim: Claim) -> Artifact:
    try:
        # Links of this machine are none of the claim's.
        part = folder.resolve().relative_to(Path(claim.path).resolve())
    except ValueError:
        raise GraphError(
            f"the trained model {folder} is not below {claim.path}, where the connection's "
            f"'artifacts' says that Airflow has the claim {claim.name}; set it to the folder at "
            "which the claim is mounted there, and [hogar] training_folder to one below it"
        ) from None
    source = {"claimName": claim.name, "readOnly": True}
    path = "" if part == Path() else part.as_posix()
    return Artifact({"name": VOLUME, "persistentVolumeClaim": source}, path)


def _in_config_map(folder: Path, node: Object) -> Artifact:
    files = _read(folder)
    digest = hashlib.sha256()
    for path, data in files.items():
        digest.update(repr((path, len(data))).encode(errors="backslashreplace"))
        digest.update(data)
    labels = labels_of(node)
    own = labels[NODE_LABEL]
    name = f"{own}-model-{digest.hexdigest()[:12]}"
    keys = {path: f"file-{number}" for number, path in enumerate(files)}
    config_map: Object = {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.kind,
        "metadata": {
            "name": name,
            "labels": {
                MANAGED_BY: labels[MANAGED_BY],
                PART_OF: labels[PART_OF],
                GRAPH_LABEL: labels[GRAPH_LABEL],
                NODE_LABEL: own,
                PART_LABEL: VOLUME,
            },
        },
        "immutable": True,
        "binaryData": {keys[path]: base64.b64encode(data).decode() for path, data in files.items()},
    }
    # A key has no folders.
    items = [{"key": keys[path], "path": path} for path in files]
    source = {"name": name, "defaultMode": 0o444, "items": items}
    return Artifact({"name": VOLUME, "configMap": source}, config_map=config_map)


def _read(folder: Path) -> dict[str, bytes]:
    """A model's files by their paths in it; raises :class:`GraphError` for more than a ConfigMap
    holds. Links are not followed: what training has handed over is files."""
    paths = []
    for root, _, names in os.walk(folder):
        paths += [Path(root, name) for name in names]
        if len(paths) > MOST_FILES:
            raise GraphError(_too_large(folder, f"more than {MOST_FILES} files"))
    paths = sorted(path for path in paths if path.is_file() and not path.is_symlink())
    size = sum(path.stat().st_size for path in paths)
    if size > LARGEST:
        raise GraphError(_too_large(folder, f"{size / 2**20:.1f} MiB"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _too_large(folder: Path, size: str) -> str:
    return (
        f"the trained model {folder} has {size}, and without a claim Kubernetes is handed "
        f"{LARGEST // 2**20} MiB and {MOST_FILES} files at most: set 'artifacts' in the extra of "
        'the connection, such as {"claim": "trainings", "path": "/opt/airflow/trainings"}, to the '
        "PersistentVolumeClaim that has [hogar] training_folder, and to the folder at which "
        "Airflow has it (docs/engines.md)"
    )


def with_artifact(objects: tuple[Object, ...], artifact: Artifact) -> tuple[Object, ...]:
    """A node's objects whose models find the files, in a folder that they cannot write to."""
    return tuple(_mounting(one, artifact) if one["kind"] in _KINDS else one for one in objects)


def _mounting(workload: Object, artifact: Artifact) -> Object:
    found = copy.deepcopy(workload)
    pod = found["spec"]["template"]["spec"]
    pod["volumes"].append(artifact.volume)
    mount: Object = {"name": VOLUME, "mountPath": FOLDER, "readOnly": True}
    if artifact.part:
        mount["subPath"] = artifact.part
    for container in pod["containers"]:
        if container["name"] == MODEL:
            container["volumeMounts"] = [*container["volumeMounts"], mount]
            container["env"] = [
                *(one for one in container["env"] if one["name"] != VARIABLE),
                {"name": VARIABLE, "value": FOLDER},
            ]
    return found


def mounts_artifact(workload: Object) -> bool:
    """Whether a workload's pods mount a trained model."""
    volumes = workload["spec"]["template"]["spec"].get("volumes") or ()
    return any(one["name"] == VOLUME for one in volumes)


async def put_artifact(api: Api, artifact: Artifact) -> None:
    """Make what the volume needs; raises :class:`ApiError` and ``OwnerError``."""
    one = artifact.config_map
    if one is None:
        return
    before = await api.get(CONFIG_MAP, name_of(one))
    if before is not None:
        check_owner(before, one)
    await api.apply(one)


async def drop_artifacts(
    api: Api, graph: str, node: Mapping[str, str] | None = None, kept: Artifact | None = None
) -> None:
    """Delete the ConfigMaps with models of a graph, with ``node``, a node's labels, of that alone,
    but for the one that is still mounted. Raises :class:`ApiError`."""
    wanted = {GRAPH_LABEL: label_name(graph), PART_LABEL: VOLUME}
    if node is not None:
        wanted[NODE_LABEL] = node[NODE_LABEL]
    needed = "" if kept is None or kept.config_map is None else name_of(kept.config_map)
    for one in await api.list_objects(CONFIG_MAP, wanted):
        if name_of(one) != needed:
            await api.delete(CONFIG_MAP, name_of(one))
