"""Nothing that a graph says is dropped in silence, by any target."""

from __future__ import annotations

import pytest

import udgl
from tests.targets.support import MANUAL, PLATFORMS, compile_both, with_tables
from udgl.constructs import CONSTRUCTS, Construct
from udgl.targets import target, target_names


@pytest.mark.parametrize("construct", CONSTRUCTS, ids=lambda c: c.name)
def test_a_construct_is_found_in_its_example_alone(construct: Construct) -> None:
    uses = list(construct.uses(udgl.parse(construct.example)))
    assert len(uses) == 1
    assert uses[0][1] is not None
    assert not list(construct.uses(udgl.parse(construct.without)))


@pytest.mark.parametrize("name", PLATFORMS)
def test_each_construct_is_expressed_or_spoken_of(name: str) -> None:
    for construct in CONSTRUCTS:
        with_it, without, said = compile_both(name, construct)
        if with_it is None or without is None:
            assert said, construct.name
        else:
            assert said or _told(with_it) != _told(without), construct.name
        for diagnostic in said:
            assert diagnostic.code in target(name).CODES
            assert diagnostic.span is not None


@pytest.mark.parametrize("name", target_names())
def test_the_same_graph_always_gives_the_same_files(name: str) -> None:
    for construct in CONSTRUCTS:
        graph = udgl.parse(construct.example, "probe.udgl")
        try:
            first = target(name).compile_graph(graph)
        except udgl.UdglError:
            continue
        assert target(name).compile_graph(udgl.parse(construct.example, "probe.udgl")) == first


@pytest.mark.slow
def test_the_manuals_tables_are_what_the_targets_do() -> None:
    manual = MANUAL.read_text(encoding="utf-8")
    assert manual == with_tables(manual), "run: python -m tests.targets.support"


def _told(files: dict[str, str]) -> dict[str, str]:
    """The files without their comments: a comment alone expresses nothing."""
    return {
        name: "\n".join(
            line for line in text.split("\n") if not line.lstrip().startswith(("#", "%%", "//"))
        )
        for name, text in files.items()
    }
