"""From what lark reads to a :class:`ServingGraph`, with what only the text can tell reported.

:class:`Shape` turns each rule of the grammar into a value as soon as it is read, so that the words
of a large file need not all be kept: an entry or a factor into ``[keyword, value]``, an operator
into a declaration, a flow line into an edge, any other section into a list that starts with its
keyword. What could not be read is a token of the type ERROR. :func:`assemble` makes the graph.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, NamedTuple

from lark import Transformer
from lark.lexer import Token

from udgl.diagnostics import Diagnostic, quote
from udgl.factors import Factors, read_factors, span_of
from udgl.gaps import Gaps
from udgl.graph import BatchStep, Flow, FlowKind, Operator, ServingGraph, Span, Training
from udgl.vocabulary import NOT_IN_DEFAULTS, TRAINING_FACTORS

MOST_PAIRS_IN_DEFAULTS = 100
"""The most ``env``, and the most ``param``, that all operators can share."""


class _Declaration(NamedTuple):
    """An operator as declared; None where its name could not be read. Its training, of which the
    defaults may say something, is in ``factors`` alone."""

    operator: Operator | None
    factors: Factors
    found: list[Diagnostic]


class _Edge(NamedTuple):
    """A flow line. ``spans`` has one for each source, then one for each target."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    spans: tuple[Span, ...]
    cases: tuple[Token, ...] = ()
    """For each target of a switch its condition, or the word ``otherwise``; of a split its
    weight."""


class Shape(Transformer[Any, Any]):
    """Called by lark for each rule that it has read, with the parts that are not filtered out."""

    def operator(self, parts: list[Any]) -> _Declaration:
        return _operator(parts)

    def edge(self, parts: list[Any]) -> _Edge | Token:
        if len(parts) == 1:
            error: Token = parts[0]
            return error
        sources, _, targets = parts
        return _Edge(
            tuple(map(str, sources)),
            tuple(map(str, targets)),
            tuple(map(span_of, sources + targets)),
        )

    def cases(self, parts: list[Any]) -> _Edge | Token:
        if len(parts) == 1:
            error: Token = parts[0]
            return error
        sources, _, *cases = parts
        targets = [case[0] for case in cases]
        return _Edge(
            tuple(map(str, sources)),
            tuple(map(str, targets)),
            tuple(map(span_of, sources + targets)),
            tuple(case[-1] for case in cases),
        )

    shares = cases

    def _as_list(self, parts: list[Any]) -> list[Any]:
        return parts

    entry = factor = sources = targets = case = share = _as_list
    meta = defaults = flow = block = switch = split = _as_list

    def start(self, parts: list[Any]) -> list[Any]:
        return [part for part in parts if type(part) is not Token]


def assemble(sections: list[Any], source: str, gaps: Gaps) -> tuple[ServingGraph, list[Diagnostic]]:
    """The graph that ``sections`` say as far as they could be read, and what is wrong with their
    order and repetitions. Adds to ``gaps`` the sections with entries or factors that are missing.
    """
    found: list[Diagnostic] = []
    meta: dict[str, Token] = {}
    meta_seen = False
    defaults: Factors | None = None
    declarations: list[_Declaration] = []
    edges: list[tuple[FlowKind, _Edge]] = []
    in_flow = False
    for section in sections:
        if type(section) is _Declaration:
            in_flow = False
            found += section.found
            declarations.append(section)
            continue
        keyword = section[0]
        kind = keyword.type
        if kind == "META":
            in_flow = False
            if meta_seen:
                found.append(Diagnostic("U103", "a second meta section", span_of(keyword), _ONE_OF))
            meta_seen = True
            if not _pairs(section[1:], meta, keyword, found):
                gaps.meta = True
        elif kind == "DEFAULTS":
            in_flow = False
            if not keyword:
                # No such word is there: what its factors are for is not known.
                continue
            if defaults is not None:
                found.append(
                    Diagnostic("U134", "a second defaults section", span_of(keyword), _ONE_OF)
                )
            read = _defaults(section, found)
            defaults = defaults or read
        elif kind == "FLOW":
            in_flow = True
            strays = [edge for edge in section if type(edge) is _Edge]
            if strays:
                message = "a flow line outside of a block"
                found.append(Diagnostic("U017", message, strays[0].spans[0], _ABOVE_EDGE))
                # Which kind was meant is not known; these edges are used all the same.
                gaps.kinds = True
                edges.extend((FlowKind.DISTRIBUTE, edge) for edge in strays)
        else:
            if not in_flow:
                message = f"{quote(keyword)} outside of a flow"
                found.append(Diagnostic("U017", message, span_of(keyword), _ABOVE_BLOCK))
                in_flow = True
            flow_kind = _KINDS[kind]
            edges.extend((flow_kind, edge) for edge in section if type(edge) is _Edge)
    operators = []
    for declared in declarations:
        operator = declared.operator
        if operator is None:
            continue
        if not declared.factors.whole or (defaults is not None and not defaults.whole):
            gaps.operators.add(operator.name)
        if defaults is not None:
            operator = _with_defaults(operator, declared.factors, defaults)
        if declared.factors.training or declared.factors.steps:
            operator = _with_training(operator, declared.factors, defaults, found)
        operators.append(operator)
    flows = _flows(edges, found)
    if any(c and _open(c) for flow in flows for c in flow.conditions):
        # The cases behind it were read as a part of the text.
        gaps.edges = gaps.choices = True
    return _graph(meta, operators, flows, source), found


def _open(condition: str) -> bool:
    """Whether a text in the condition has no closing quote."""
    return _ESCAPED.sub("", condition).count('"') % 2 == 1


_ESCAPED = re.compile(r"\\.")


_KINDS = {
    "DISTRIBUTE": FlowKind.DISTRIBUTE,
    "REDUCE": FlowKind.REDUCE,
    "SWITCH": FlowKind.SWITCH,
    "SPLIT": FlowKind.SPLIT,
}

_ONE_OF = "write all of it in the first"
_ABOVE_EDGE = "put 'distribute', 'reduce', 'switch' or 'split' above it"
_ABOVE_BLOCK = "put 'logical flow' above it"


def _pairs(
    pairs: list[Any], values: dict[str, Token], owner: Token, found: list[Diagnostic]
) -> bool:
    """Collect ``[keyword, value]`` pairs into ``values``, by the keyword's terminal (a misspelt
    keyword has the terminal that was meant); False where one could not be read."""
    whole = True
    for pair in pairs:
        if len(pair) == 1:
            whole = False
            continue
        key, value = pair
        if key.type in values:
            # A misspelt word was told already, and may have been another one.
            if key == key.type.removeprefix("KEY_").lower():
                message = f"{quote(key)} of {quote(owner)} is given twice"
                found.append(Diagnostic("U104", message, span_of(key), "delete one of them"))
        else:
            values[key.type] = value
    return whole


def _operator(section: list[Any]) -> _Declaration:
    name = section[1]
    found: list[Diagnostic] = []
    factors = read_factors(section[2:], name, found)
    if name.type == "ERROR":
        return _Declaration(None, factors, found)
    values = dict(factors.values)
    if "env" in values:
        values["env"] = tuple(values["env"].items())
    operator = Operator(
        str(name),
        values.pop("version", "1"),
        **values,
        span=span_of(name),
        spans=tuple(factors.spans),
    )
    return _Declaration(operator, factors, found)


def _defaults(section: list[Any], found: list[Diagnostic]) -> Factors:
    pairs = []
    for pair in section[1:]:
        word = pair[0].type.removeprefix("KEY_").lower() if len(pair) == 2 else ""
        if word in NOT_IN_DEFAULTS:
            message = f"{quote(pair[0])} cannot stand in defaults"
            hint = "no two operators share it; write it in each operator"
            found.append(Diagnostic("U135", message, span_of(pair[0]), hint))
        else:
            pairs.append(pair)
    for name, pairs_of in (("KEY_ENV", "env"), ("KEY_PARAM", "param")):
        given = [pair for pair in pairs if pair[0].type == name]
        if len(given) > MOST_PAIRS_IN_DEFAULTS:
            # Every operator has them all, so the time would be that of both numbers multiplied.
            message = f"there are more than {MOST_PAIRS_IN_DEFAULTS} {pairs_of} in defaults"
            hint = "write them in the operators that need them"
            at = span_of(given[MOST_PAIRS_IN_DEFAULTS][0])
            found.append(Diagnostic("U125", message, at, hint))
            pairs = [pair for pair in pairs if pair[0].type != name]
    return read_factors(pairs, "defaults", found)


def _with_defaults(operator: Operator, own: Factors, defaults: Factors) -> Operator:
    """The operator with the defaults' values for the factors that it does not give itself."""
    given = {word for word, _ in own.spans}
    values = {
        name: value
        for name, value in defaults.values.items()
        if ("batch" if name == "dynamic" else name) not in given
    }
    if not values.get("stateful", operator.stateful):
        # Who keeps no state needs no backup.
        values.pop("backup", None)
    if "env" in defaults.values:
        values["env"] = tuple({**defaults.values["env"], **own.values.get("env", {})}.items())
    spans = tuple((word, span) for word, span in defaults.spans if word not in given)
    return replace(operator, **values, spans=(*operator.spans, *spans))


def _with_training(
    operator: Operator, own: Factors, defaults: Factors | None, found: list[Diagnostic]
) -> Operator:
    """The operator with its training, if it says a function."""
    if "function" not in own.training:
        if own.whole:
            given = [pair for pair in own.spans if pair[0] in (*TRAINING_FACTORS, "step")]
            if given:
                # One word is missing: one error, at the first that needs it.
                word, span = given[0]
                what = "a batch schedule" if word == "step" else quote(word)
                message = f"{what} in operator {quote(operator.name)}, which is not trained"
                it = "them" if len(given) > 1 else "it"
                hint = f"add 'train' and package.module:function, or delete {it}"
                found.append(Diagnostic("U129", message, span, hint))
        return operator
    values = {**(defaults.training if defaults else {}), **own.training}
    params = {
        **(defaults.training.get("params", {}) if defaults else {}),
        **own.training.get("params", {}),
    }
    steps = own.steps
    if defaults and "batch" not in own.values:
        steps = defaults.steps
    values["params"] = tuple(params.items())
    schedule = (BatchStep(1, operator.batch), *steps)
    return replace(operator, training=Training(**values, schedule=schedule))


def _flows(edges: list[tuple[FlowKind, _Edge]], found: list[Diagnostic]) -> tuple[Flow, ...]:
    """The edges as flows. Reduce lines with the same target become one flow, and so do switch and
    split lines with the same source."""
    grouped: dict[tuple[FlowKind, str], list[_Edge]] = {}
    for kind, edge in edges:
        key = _group(kind, edge)
        if key is not None:
            grouped.setdefault(key, []).append(edge)
    flows: list[Flow] = []
    for kind, edge in edges:
        key = _group(kind, edge)
        lines = [edge] if key is None else grouped.pop(key, [])
        if not lines:
            continue
        sources, targets, spans, cases = edge.sources, edge.targets, edge.spans, edge.cases
        last = span_of(cases[-1]) if cases else spans[-1]
        extent = Span(spans[0].line, spans[0].column, last.end_column)
        if len(lines) > 1 and kind is FlowKind.REDUCE:
            sources = tuple(source for line in lines for source in line.sources)
            spans = (*(span for line in lines for span in line.spans[:-1]), spans[-1])
        elif len(lines) > 1:
            targets = tuple(target for line in lines for target in line.targets)
            spans = (spans[0], *(span for line in lines for span in line.spans[1:]))
            cases = tuple(case for line in lines for case in line.cases)
        if not cases:
            flows.append(Flow(kind, sources, targets, span=extent, name_spans=spans))
            continue
        flows.append(
            Flow(
                kind,
                sources,
                targets,
                tuple(map(_condition, cases)) if kind is FlowKind.SWITCH else (),
                tuple(_weight(case, len(cases), found) for case in cases)
                if kind is FlowKind.SPLIT
                else (),
                extent,
                spans,
                tuple(map(span_of, cases)),
            )
        )
    return tuple(flows)


def _group(kind: FlowKind, edge: _Edge) -> tuple[FlowKind, str] | None:
    """What the lines of one flow have in common; None where a line is a flow by itself."""
    if kind is FlowKind.REDUCE and len(edge.targets) == 1:
        return kind, edge.targets[0]
    if edge.cases and len(edge.sources) == 1:
        return kind, edge.sources[0]
    return None


def _condition(case: Token) -> str | None:
    return None if case.type == "OTHERWISE" else str(case).strip()


def _weight(case: Token, count: int, found: list[Diagnostic]) -> int:
    digits = case[:-1].strip()
    # That 100 % are no choice is told where they are the only case.
    most = 99 if count > 1 else 100
    if digits.isdecimal() and len(digits) <= 3 and 1 <= int(digits) <= most:
        return int(digits)
    hint = "a weight is a whole number of percent, 1 to 99"
    found.append(Diagnostic("U125", f"{quote(case)} is out of range", span_of(case), hint))
    return 0


def _graph(
    meta: dict[str, Token], operators: list[Operator], flows: tuple[Flow, ...], source: str
) -> ServingGraph:
    name, version = meta.get("KEY_NAME"), meta.get("KEY_VERSION")
    return ServingGraph(
        name=str(name or ""),
        version=str(version or ""),
        operators=tuple(operators),
        flows=flows,
        description=_text(meta, "KEY_DESCRIPTION"),
        owner=_text(meta, "KEY_OWNER"),
        tags=_words(meta, "KEY_TAGS"),
        schedule=_text(meta, "KEY_SCHEDULE"),
        platforms=_words(meta, "KEY_PLATFORM"),
        engine=_text(meta, "KEY_ENGINE"),
        source=source,
        span=span_of(name) if name else None,
        version_span=span_of(version) if version else None,
        spans=tuple(
            (key[4:].lower(), span_of(value))
            for key, value in meta.items()
            if key not in ("KEY_NAME", "KEY_VERSION")
        ),
    )


def _text(meta: dict[str, Token], key: str) -> str | None:
    return str(meta[key]).rstrip() if key in meta else None


def _words(meta: dict[str, Token], key: str) -> tuple[str, ...]:
    """The words between commas, each once."""
    words = str(meta.get(key, "")).split(",")
    return tuple(dict.fromkeys(word.strip() for word in words if word.strip()))
