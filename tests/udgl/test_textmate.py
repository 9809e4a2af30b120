"""The TextMate grammar, held against the scanner on real files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.udgl.conftest import ROOT, Run
from tests.udgl.test_highlight import EVERYTHING, VALID, text_of
from tests.udgl.textmate_engine import colored
from udgl.editor.scanner import Kind, scan
from udgl.editor.textmate import grammar
from udgl.vocabulary import BLOCKS, ENTRIES, FACTORS, SECTIONS

SCOPES = {
    Kind.COMMENT: "comment",
    Kind.SECTION: "keyword.declaration",
    Kind.BLOCK: "keyword.control.flow",
    Kind.KEY: "support.type.property-name",
    Kind.MODIFIER: "keyword",
    Kind.DECLARATION: "entity.name.class",
    Kind.REFERENCE: "variable.other.operator",
    Kind.NUMBER: "constant.numeric",
    Kind.CONSTANT: "constant.language",
    Kind.STRING: "string.quoted",
    Kind.ARROW: "keyword.operator.arrow",
    Kind.COMPARISON: "keyword.operator.comparison",
    Kind.TEXT: "string.unquoted.text",
}
"""What a kind of word is coloured as; other values may look like a number or a text."""

EXAMPLES = {path.stem: text_of(path) for path in VALID} | {"everything": EVERYTHING}


def scopes_at(text: str) -> dict[tuple[int, int], str]:
    """For each coloured character (line, column) its scope."""
    return {
        (one.line, one.column + k): one.scope
        for one in colored(grammar(), text)
        for k in range(len(one.text))
    }


def expressions(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value[key] for key in ("match", "begin", "end") if key in value]
        return own + [e for inner in value.values() for e in expressions(inner)]
    if isinstance(value, list):
        return [e for inner in value for e in expressions(inner)]
    return []


@pytest.mark.parametrize("name", EXAMPLES)
def test_words_have_the_scope_of_what_they_are(name: str) -> None:
    text = EXAMPLES[name].replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    scopes = scopes_at(text)
    wrong = []
    for word in scan(text):
        wanted = SCOPES.get(word.kind)
        line = text.count("\n", 0, word.start)
        column = word.start - text.rfind("\n", 0, word.start) - 1
        scope = scopes.get((line, column), "")
        if wanted and not scope.startswith(wanted):
            wrong.append((line + 1, text[word.start : word.end], word.kind.value, scope))
    assert wrong == []


def test_every_keyword_is_coloured() -> None:
    found = {(one.text, one.scope.split(".")[0]) for one in colored(grammar(), EVERYTHING)}
    words = {*ENTRIES, *FACTORS, *BLOCKS, *SECTIONS, "logical flow", "when", "otherwise"}
    for word in words - {"logical"}:
        assert {(word, "keyword"), (word, "support")} & found, word


def test_expressions_are_of_the_kind_that_all_engines_know() -> None:
    for expression in expressions(grammar()):
        re.compile(expression)
        # Possessive quantifiers and atomic groups are not JavaScript's.
        assert not re.search(r"[+*?]\+|\(\?>|\\[AZzhH]|\(\?i", expression), expression


def test_the_command_prints_the_grammar(udgl_command: Run) -> None:
    done = udgl_command("grammar", "--format", "textmate")
    assert done.returncode == 0
    printed = json.loads(done.stdout)
    assert printed == grammar()
    assert printed["scopeName"] == "source.udgl"


def test_without_pygls_the_server_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['pygls'] = sys.modules['lsprotocol'] = None\n"
        "from udgl.cli import main; sys.exit(main(['lsp']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert done.returncode == 2
    assert done.stderr == (
        "udgl: the language server needs pygls: pip install 'airflow-provider-hogar[lsp]'\n"
    )


def test_the_extension_says_what_the_language_is() -> None:
    folder = ROOT / "editors" / "vscode"
    package = json.loads((folder / "package.json").read_text(encoding="utf-8"))
    (language,) = package["contributes"]["languages"]
    assert language["extensions"] == [".udgl"]
    (entry,) = package["contributes"]["grammars"]
    assert entry["scopeName"] == grammar()["scopeName"]
    configuration = json.loads((folder / language["configuration"]).read_text(encoding="utf-8"))
    assert configuration["comments"] == {"lineComment": "#"}
    # What is made is not kept with the sources.
    assert entry["path"] == "./syntaxes/udgl.tmLanguage.json"
    assert f"> {Path(entry['path'])}" in package["scripts"]["grammar"]
    assert (folder / package["main"]).is_file()
