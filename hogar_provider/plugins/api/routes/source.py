"""A graph's texts."""

from __future__ import annotations

from fastapi import APIRouter

from hogar_provider.plugins.api.access import SEES_DAG
from hogar_provider.plugins.api.agents import ask, engine_of
from hogar_provider.plugins.api.datamodels.source import Piece, SourceView
from hogar_provider.plugins.api.declared import find_declared
from hogar_provider.plugins.api.errors import ApiError
from hogar_provider.plugins.api.runtime import runtime

_LONGEST_COLOURED = 200_000
"""Characters of a text that is coloured: a page of more pieces would not scroll well."""

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
        earg, extras, deployed = declared.earg, declared.extras_text, False
    else:
        deployed = True
    return SourceView(
        udgl=declared.udgl,
        udgl_lines=_coloured(declared.udgl),
        earg=earg,
        extras=extras,
        deployed=deployed,
    )


def _coloured(text: str) -> list[list[Piece]] | None:
    if len(text) > _LONGEST_COLOURED:
        return None
    from udgl.highlight import lines

    return [[Piece(kind=kind, text=piece) for kind, piece in line] for line in lines(text)]
