"""A graph's files for other platforms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.responses import Response

from hogar_provider.compiled import Compiled, CompiledError, archive, compile_text
from hogar_provider.plugins.api.access import SEES_DAG
from hogar_provider.plugins.api.datamodels.targets import (
    CompiledView,
    Finding,
    TargetFile,
    TargetsReply,
    TargetView,
)
from hogar_provider.plugins.api.declared import Declared, find_declared
from hogar_provider.plugins.api.errors import ApiError
from hogar_provider.plugins.api.runtime import runtime

if TYPE_CHECKING:
    from udgl.graph import ServingGraph

router = APIRouter(tags=["graphs"], dependencies=SEES_DAG)


@router.get("/dags/{dag_id}/targets")
async def get_targets(dag_id: str) -> TargetsReply:
    """The platforms that the graph can be compiled to."""
    return await runtime.call(_targets, dag_id)


@router.get("/dags/{dag_id}/targets/{name}")
async def get_target(dag_id: str, name: str) -> CompiledView:
    """What the graph compiles to for one platform, and what that cannot express."""
    return await runtime.call(_view, dag_id, name)


@router.get(
    "/dags/{dag_id}/targets/{name}/archive",
    response_class=Response,
    responses={200: {"content": {"application/zip": {}}}},
)
async def get_archive(dag_id: str, name: str) -> Response:
    """The files of one platform as a ZIP file."""
    data, file = await runtime.call(_archive, dag_id, name)
    headers = {"Content-Disposition": f'attachment; filename="{file}"'}
    return Response(data, media_type="application/zip", headers=headers)


def _targets(dag_id: str) -> TargetsReply:
    from udgl.targets import TargetError, target, target_names

    platforms = _graph(find_declared(dag_id)).platforms
    found = []
    for name in target_names():
        try:
            description = target(name).DESCRIPTION
        except TargetError as error:
            description = str(error)
        view = TargetView(name=name, description=description, declared=name in platforms)
        found.append(view)
    return TargetsReply(targets=found)


def _view(dag_id: str, name: str) -> CompiledView:
    found = _compiled(find_declared(dag_id), name)
    return CompiledView(
        name=name,
        files=[TargetFile(name=file.name, text=file.text) for file in found.files],
        findings=[
            Finding(
                code=one.code,
                severity=one.severity.value,
                message=one.message,
                hint=one.hint or "",
                line=one.span.line if one.span is not None else 0,
            )
            for one in found.diagnostics
        ],
    )


def _archive(dag_id: str, name: str) -> tuple[bytes, str]:
    declared = find_declared(dag_id)
    found = _compiled(declared, name)
    if not found.files:
        raise ApiError(
            409,
            "not_expressed",
            f"The target {name} cannot express graph {dag_id}; .../targets/{name} says why.",
        )
    # Names of graphs and targets are letters, digits, "_", "-" and ".".
    return archive(found.files), f"{declared.name}-{declared.version}.{name}.zip"


def _compiled(declared: Declared, name: str) -> Compiled:
    from udgl.targets import target_names

    if name not in target_names():
        raise ApiError(404, "no_such_target", f"There is no target {name}.")
    _graph(declared)
    try:
        return compile_text(declared.udgl, f"{declared.dag_id}.udgl", name)
    except CompiledError as error:
        raise ApiError(409, "not_compiled", str(error)) from None


def _graph(declared: Declared) -> ServingGraph:
    import udgl

    try:
        return udgl.parse(declared.udgl, f"{declared.dag_id}.udgl")
    except udgl.UdglError:
        raise ApiError(
            409,
            "not_udgl",
            "The DAG's code is not UDGL, so there is nothing to compile.",
        ) from None
