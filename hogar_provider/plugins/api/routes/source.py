"""A graph's texts."""

from __future__ import annotations

from fastapi import APIRouter

from hogar_provider.plugins.api.access import SEES_DAG
from hogar_provider.plugins.api.agents import ask, engine_of
from hogar_provider.plugins.api.datamodels.source import SourceView
from hogar_provider.plugins.api.declared import find_declared
from hogar_provider.plugins.api.errors import ApiError
from hogar_provider.plugins.api.runtime import runtime

router = APIRouter(tags=["graphs"], dependencies=SEES_DAG)


@router.get("/dags/{dag_id}/source")
async def get_source(dag_id: str) -> SourceView:
    """The UDGL text, and the EARG config that runs, or that the text compiles to."""
    return await runtime.call(_source, dag_id)


def _source(dag_id: str) -> SourceView:
    declared = find_declared(dag_id)
    try:
        home = engine_of(declared.conn_id).home
        earg, extras = ask(home, lambda agent: agent.plan(declared.name))
    except ApiError:
        # Not deployed, or nobody tells: the text stands by itself.
        extras = declared.extras_text
        return SourceView(udgl=declared.udgl, earg=declared.earg, extras=extras, deployed=False)
    return SourceView(udgl=declared.udgl, earg=earg, extras=extras, deployed=True)
