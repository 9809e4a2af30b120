"""Canonical text."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

import udgl
from tests.udgl.fixture_files import FIXTURES
from tests.udgl.strategies import graphs, layouts
from tests.udgl.test_limits import chain
from udgl.formatter import format_text
from udgl.parser import tokens
from udgl.writing import dumps

QUICK = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def comments(text: str) -> list[str]:
    """The comments in a text without syntax errors, in order."""
    read = tokens(text)
    assert read is not None
    separators = "\n".join(word for kind, word in read if kind[0] == "_")
    return [comment.strip() for comment in re.findall(r"#[^\n]*", separators)]


def check_formatting(text: str) -> str:
    """The canonical form, which holds what formatting promises."""
    formatted = format_text(text)
    assert format_text(formatted) == formatted
    graph, found = udgl.examine(text)
    again, found_again = udgl.examine(formatted)
    assert again == graph
    assert sorted(d.code for d in found_again) == sorted(d.code for d in found)
    assert comments(formatted) == comments(text)
    assert formatted.endswith("\n") or not formatted
    assert not formatted.startswith("\n")
    assert not re.search(r"\n\n\n|\n\n\Z", formatted)
    return formatted


LAID_OUT_ANYHOW = """

# header

# of meta
meta name G, version 3 # eol
  # about tags
 tags a,b , c

# free

# of defaults
defaults
 batch 3, 64  from   epoch 3, wait 5 ms # w
operator A , version 1, # vv
 image # the image
  # own
  x/y:v1 , batch   dynamic 64, # b
  # stays


operator B
image z, stateful tRue


# before env
env A="x # y", env B=2
# of flow
flow

# what
switch
A->B when  x == "a, #b"  , C otherwise # ee
# above reduce
reduce
A,C->B

# mid
D  , E→ F
# trailing

# end"""

CANONICAL = """\
# header

# of meta
meta
  name G
  version 3  # eol
  # about tags
  tags a, b, c

# free

# of defaults
defaults
  batch 3, 64 from epoch 3, wait 5ms  # w

operator A
  version 1  # vv
  image  # the image
    # own
    x/y:v1, batch dynamic 64  # b
  # stays

operator B
  image z, stateful Yes

  # before env
  env A="x # y", env B=2

# of flow
logical flow
# what
switch
  A → B when x == "a, #b", C otherwise  # ee
# above reduce
reduce
  A, C → B

  # mid
  D, E → F
  # trailing

# end
"""


def test_every_comment_stays_where_it_belongs() -> None:
    assert check_formatting(LAID_OUT_ANYHOW) == CANONICAL


def test_the_founding_example_comes_out_pretty() -> None:
    text = (FIXTURES / "valid" / "sentiment.udgl").read_text(encoding="utf-8")
    assert check_formatting(text) == dumps(udgl.parse(text))
    assert "  version 2, image sent/trancriber:v2\n  batch 32, stateful No\n\n" in format_text(text)


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*/*.udgl")), ids=lambda path: path.stem)
def test_a_file_is_formatted_unless_it_has_syntax_errors(path: Path) -> None:
    text = path.read_bytes().decode("utf-8", errors="replace")
    if tokens(text) is not None:
        check_formatting(text)
        return
    with pytest.raises(udgl.UdglError) as caught:
        format_text(text)
    assert any(diagnostic.code < "U1" for diagnostic in caught.value.diagnostics)


@pytest.mark.parametrize("text", ["", "\n \n", "# a\n\n\n# b", "meta", "operator A\n# c", "flow"])
def test_a_text_with_hardly_anything_is_formatted(text: str) -> None:
    check_formatting(text)


def test_errors_of_meaning_are_no_reason_not_to_format() -> None:
    text = "operator A\nimage a\nflow\ndistribute\nA->A\nA->X\n"
    assert check_formatting(text).endswith("distribute\n  A → A\n  A → X\n")


def test_syntax_errors_are_raised_with_their_diagnostics() -> None:
    with pytest.raises(udgl.UdglError) as caught:
        format_text("meta\nnmae x\nversion 1\noperator A\nfoo 1\n", "a.udgl")
    assert [d.code for d in caught.value.diagnostics][:2] == ["U011", "U011"]
    assert str(caught.value).startswith("a.udgl:2:1: U011")


@pytest.mark.slow
@QUICK
@given(graphs())
def test_what_dumps_writes_is_canonical(graph: udgl.ServingGraph) -> None:
    text = dumps(graph)
    assert udgl.parse(text) == graph
    assert format_text(text) == text


@pytest.mark.slow
@QUICK
@given(layouts)
def test_any_layout_is_formatted_and_means_the_same(drawn: tuple[udgl.ServingGraph, str]) -> None:
    graph, text = drawn
    assert udgl.parse(text) == graph
    assert udgl.parse(check_formatting(text)) == graph


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(QUICK, max_examples=300)
@given(layouts)
def test_many_layouts_are_formatted_and_mean_the_same(
    drawn: tuple[udgl.ServingGraph, str],
) -> None:
    graph, text = drawn
    assert udgl.parse(text) == graph
    assert udgl.parse(check_formatting(text)) == graph


def test_the_time_for_formatting_is_linear_in_the_text() -> None:
    format_text(chain(2))

    def seconds(count: int) -> float:
        text = chain(count)
        start = time.process_time()
        format_text(text)
        return time.process_time() - start

    small = min(seconds(300) for _ in range(3))
    # Eight times the size: quadratic time would be 64 times as long.
    assert seconds(2_400) < 30 * small
