"""Arbitrary graphs that are valid, and texts that say them in any layout."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from udgl import BatchStep, EarlyStop, Flow, FlowKind, Operator, ServingGraph, Training
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
    return ServingGraph(
        draw(names),
        draw(versions),
        tuple(draw(operators(name, payload)) for name in called),
        tuple(draw(st.permutations(flows))),
        draw(sometimes(lines)),
        draw(sometimes(lines)),
        tuple(draw(st.lists(words, max_size=2, unique=True))),
        draw(sometimes(lines)),
        draw(st.sampled_from([(), ("earg",)])),
        draw(sometimes(names)),
    )


comments = st.sampled_from(["#", "# a comment, with → and -> in it", "#b", "#  version 3 # x"])


@st.composite
def line_ends(draw: st.DrawFn) -> str:
    """A line end with comments and blank lines."""
    parts = [draw(st.sampled_from(["", " ", "  "])) + draw(st.one_of(st.just(""), comments)) + "\n"]
    for _ in range(draw(st.integers(0, 4))):
        parts.append(
            draw(st.one_of(st.sampled_from(["\n", " \t\n"]), comments.map("\t{}\n".format)))
        )
    return "".join(parts)


@st.composite
def layouts(draw: st.DrawFn) -> tuple[ServingGraph, str]:
    """A graph, and a text that says it: other white space, line ends, words and comments than the
    canonical one has."""
    graph = draw(graphs())
    read = tokens(dumps(graph))
    assert read is not None
    text = draw(st.one_of(st.just(""), line_ends()))
    plain = {*SECTIONS, *BLOCKS, *FACTORS, *ENTRIES}
    before = ""
    for kind, word in read:
        value = word
        if kind == "_SEP":
            # A text runs on to the end of its line.
            value = draw(line_ends())
            # A word that starts a section is a name where a comma follows.
            if before not in ("TEXT", "META", "DEFAULTS"):
                value = draw(st.sampled_from([value, value, f",{value}", f"{value} ,{value}", ","]))
        elif kind == "_NL":
            value = draw(line_ends())
        elif kind == "_COMMA":
            value = draw(st.sampled_from([",", " , "]))
        elif kind == "ARROW":
            value = draw(st.sampled_from(["→", " -> "]))
        elif kind == "BOOLEAN":
            value = draw(
                st.sampled_from([word, word.upper(), "TRUE" if word == "Yes" else "false"])
            )
        elif kind == "FLOW":
            value = draw(st.sampled_from(["flow", "logical flow", "logical \t flow"]))
        elif kind in ("DURATION", "SIZE", "PERCENT") and word != "0" and before != "_BREAK":
            number = word.rstrip("%hmsBKMGTi")
            value = draw(st.sampled_from([word, f"{number}  {word[len(number) :]}"]))
        single = word not in plain and not any(c.isspace() or c in ",#" for c in word)
        if before.startswith("KEY_") and single and kind not in ("TEXT", "NAME"):
            value = draw(st.one_of(st.just(""), st.just(""), line_ends())) + word
        if not (kind[0] == "_" or before[:1] == "_" or not before):
            text += " "
        text += value
        before = kind
    return graph, text
