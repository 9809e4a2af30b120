"""Arbitrary graphs that are valid, and texts that say them in any layout."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import strategies as st

from udgl import BatchStep, EarlyStop, Flow, FlowKind, Operator, ServingGraph, Training
from udgl.engines import ENGINES
from udgl.parser import tokens
from udgl.quantities import format_duration, format_number, parse_duration, parse_number
from udgl.vocabulary import BLOCKS, CASES, ENTRIES, FACTORS, SECTIONS
from udgl.writing import dumps

KEYWORDS = sorted({*SECTIONS, *BLOCKS, *CASES, *ENTRIES, *FACTORS, "from", "epoch", "dynamic"})

names = st.one_of(
    st.sampled_from([word for word in KEYWORDS if "-" not in word]),
    st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,5}", fullmatch=True),
)
versions = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,4}", fullmatch=True)
images = st.sampled_from(
    [
        "a",
        "sent/tokenizer:v1",
        "registry.example:5000/team/a:v1@sha256:0a1b",
        "[::1]:5000/a/b",
        "image",
        "version",
    ]
)
python_names = st.sampled_from(["a:b", "models.tokenizer:Tokenizer", "_a.b:c.d"])
payload_types = st.sampled_from(["text", "audio/wav", "fp32[3x?x224]", "application/x.y+json"])
characters = st.characters(exclude_categories=["Cs"])
values = st.text(characters, max_size=6)
lines = (
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="#\n\r"), max_size=12)
    .map(str.strip)
    .filter(bool)
)
words = lines.map(lambda line: line.replace(",", "").strip()).filter(bool)
seconds = st.one_of(
    st.integers(0, 60_000).map(lambda n: n / 1000),
    st.floats(0, 60).filter(lambda n: parse_duration(format_duration(n)) == n),
)
numbers = st.one_of(
    st.integers(1, 64).map(float),
    st.floats(1e-9, 1e9).filter(lambda n: parse_number(format_number(n)) == n),
)
sizes = st.one_of(st.sampled_from([2**30, 512 * 10**6, 1]), st.integers(1, 10**15))
variables = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,3}", fullmatch=True)
pairs = st.dictionaries(variables, values, max_size=3).map(lambda d: tuple(d.items()))
conditions = st.sampled_from(
    [
        'label == "drowsy"',
        'label  ==  "a, b # c"',
        'reply == "→ \\" -> x"',
        "score >= 0.5 and scores.0 < -1e3",
        'x contains "é"',
        "when != true",
        "n == null",
    ]
)


def sometimes(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), strategy)


@st.composite
def trainings(draw: st.DrawFn, batch: int) -> Training:
    epochs = draw(st.integers(1, 9))
    later = sorted(draw(st.sets(st.integers(2, 9).filter(lambda n: n <= epochs), max_size=2)))
    steps = (BatchStep(epoch, draw(st.integers(1, 99))) for epoch in later)
    stops = st.builds(EarlyStop, st.integers(1, 5), st.sampled_from(["loss", "accuracy", "f.1"]))
    return Training(
        draw(python_names),
        epochs,
        (BatchStep(1, batch), *steps),
        draw(sometimes(numbers)),
        draw(sometimes(stops)),
        draw(sometimes(values)),
        draw(pairs),
    )


@st.composite
def operators(draw: st.DrawFn, name: str, payload: str) -> Operator:
    core = {"version": draw(versions), "batch": draw(st.integers(1, 999_999_999))}
    image = draw(st.one_of(st.just(""), images))
    given: dict[str, Any] = {"image": image, "stateful": draw(st.booleans())}
    if not image or draw(st.booleans()):
        given["entrypoint"] = draw(python_names)
    if given["stateful"]:
        given["backup"] = draw(st.sampled_from([None, 0, 1]))
    else:
        given |= {"replicas": draw(st.integers(1, 9)), "retries": draw(st.integers(0, 9))}
    if draw(st.booleans()):
        given |= {
            "dynamic": draw(st.booleans()),
            "wait": draw(seconds),
            "latency": draw(sometimes(seconds.filter(bool))),
            "timeout": draw(sometimes(seconds.filter(bool))),
            "cpu": draw(sometimes(numbers)),
            "memory": draw(sometimes(sizes)),
            "gpu": draw(st.integers(0, 8)),
            "host": draw(sometimes(st.sampled_from(["gpu-box", "zone=a/b", "0"]))),
            "env": draw(pairs),
            "input": draw(sometimes(st.just(payload))),
            "output": draw(sometimes(st.just(payload))),
        }
    if draw(st.integers(0, 3)) == 0:
        given["training"] = draw(trainings(core["batch"]))
    return Operator(name, **core, **given)


@st.composite
def graphs(draw: st.DrawFn) -> ServingGraph:
    """Graphs that pass all checks, with everything the language has."""
    called = draw(st.lists(names, min_size=1, max_size=6, unique_by=str.lower))
    kinds = [draw(st.sampled_from(list(FlowKind))) for _ in called]
    sent: dict[str, list[str]] = {name: [] for name in called}
    flows = []
    for number, name in enumerate(called[1:], start=1):
        # Whatever feeds an operator stands before it: no cycle, and the first one is the entry.
        if number > 1 and draw(st.booleans()):
            ways = st.lists(st.sampled_from(called[:number]), min_size=2, max_size=3, unique=True)
            flows.append(Flow(FlowKind.REDUCE, tuple(draw(ways)), (name,)))
        else:
            sent[draw(st.sampled_from(called[:number]))].append(name)
    for (name, targets), kind in zip(sent.items(), kinds, strict=True):
        if len(targets) > 1 and kind is FlowKind.SWITCH:
            cases = st.lists(conditions, min_size=len(targets), max_size=7, unique=True)
            tested: list[str | None] = [*draw(cases)]
            more = len(tested) - len(targets)
            targets = [*targets, *(draw(st.sampled_from(targets)) for _ in range(more))]
            if draw(st.booleans()):
                tested[-1] = None
            flows.append(Flow(kind, (name,), tuple(targets), tuple(tested)))
        elif len(targets) > 1 and kind is FlowKind.SPLIT:
            count = len(targets) - 1
            cuts = sorted(draw(st.sets(st.integers(1, 99), min_size=count, max_size=count)))
            weights = (b - a for a, b in zip([0, *cuts], [*cuts, 100], strict=True))
            flows.append(Flow(kind, (name,), tuple(targets), weights=tuple(weights)))
        elif len(targets) > 1 and draw(st.booleans()):
            flows += (Flow(FlowKind.DISTRIBUTE, (name,), (target,)) for target in targets)
        elif targets:
            flows.append(Flow(FlowKind.DISTRIBUTE, (name,), tuple(targets)))
    payload = draw(payload_types)
    declared = tuple(draw(operators(name, payload)) for name in called)
    engines = [name for name in ENGINES if name == "local" or all(o.image for o in declared)]
    return ServingGraph(
        draw(names),
        draw(versions),
        declared,
        tuple(draw(st.permutations(flows))),
        draw(sometimes(lines)),
        draw(sometimes(lines)),
        tuple(draw(st.lists(words, max_size=2, unique=True))),
        draw(sometimes(lines)),
        draw(st.sampled_from([(), ("earg",)])),
        draw(sometimes(st.sampled_from(engines))),
    )


COMMENTS = ("#", "# a comment, with → and -> in it", "#b", "#  version 3 # x")


def line_end(choices: Random) -> str:
    """A line end with comments and blank lines."""
    first = choices.choice(["", "  "]) + choices.choice(["", *COMMENTS])
    own = choices.choices(["\n", " \t\n", *(f"\t{c}\n" for c in COMMENTS)], k=choices.randint(0, 3))
    return "".join([first, "\n", *own])


def laid_out(graph: ServingGraph, choices: Random) -> str:
    """A text that says ``graph``, with other white space, line ends, words and comments than the
    canonical one has."""
    read = tokens(dumps(graph))
    assert read is not None
    text = choices.choice(["", line_end(choices)])
    plain = {*SECTIONS, *BLOCKS, *FACTORS, *ENTRIES}
    section = before = ""
    for kind, word in read:
        value = word
        if kind == "_SEP":
            value = line_end(choices)
            # A text runs on to the end of its line, and a word that starts a section is a name
            # where a comma follows.
            if before not in ("TEXT", "META", "DEFAULTS"):
                value = choices.choice([value, value, f",{value}", f"{value} ,{value}", ","])
        elif kind == "_NL":
            value = line_end(choices)
        elif kind == "_COMMA":
            value = choices.choice([",", " , "])
        elif kind == "ARROW":
            value = choices.choice(["→", " -> "])
        elif kind == "BOOLEAN":
            value = choices.choice([word, word.upper(), "TRUE" if word == "Yes" else "false"])
        elif kind == "FLOW":
            value = choices.choice(["flow", "logical flow", "logical \t flow"])
        elif kind in ("DURATION", "SIZE", "PERCENT") and word != "0":
            number = word.rstrip("%hmsBKMGTi")
            value = choices.choice([word, f"{number}  {word[len(number) :]}"])
        section = kind if kind in ("META", "OPERATOR", "DEFAULTS") else section
        single = word not in plain and not any(c.isspace() or c in ",#" for c in value)
        if before.startswith("KEY_") and single and section != "META" and choices.random() < 0.3:
            # The value of a factor may stand on a line below its word.
            value = line_end(choices) + word
        if kind[0] != "_" and before[:1] != "_" and before:
            text += " "
        text += value
        before = kind
    return text


layouts = st.builds(
    lambda graph, seed: (graph, laid_out(graph, Random(seed))), graphs(), st.integers(0, 2**32)
)
"""A graph, and a text that says it in any layout."""
