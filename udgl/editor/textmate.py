"""The TextMate grammar of UDGL, which editors colour files by without a language server.

Made from the vocabulary, so that it never lacks a word. A TextMate grammar sees one line at a time:
it takes a value that stands on a line of its own for what it looks like. Its expressions are of the
kind that Oniguruma, Python and JavaScript agree on.
"""

from __future__ import annotations

from typing import Any

from udgl.vocabulary import ENTRIES, FACTORS

_END = r"(?![^\s,#])"
_NO_NAME = _END + r"(?!\s*(?:,|→|->))"
_NAME = r"[A-Za-z](?:[A-Za-z0-9_.]|-(?!>))*"
_ARROW = r"→|->"
_START = r"(?:^|(?<=,))\s*"
_TEXT_ENTRIES = tuple(word.word for word in ENTRIES.values() if word.value == "TEXT")


def _either(*words: str) -> str:
    # Longer words first: "train" is no prefix match of another one, but others may come to be.
    return "|".join(sorted(words, key=lambda word: (-len(word), word)))


def grammar() -> dict[str, Any]:
    """The grammar as JSON values, to be written as ``udgl.tmLanguage.json``."""
    keys = _either(*ENTRIES, *FACTORS)
    return {
        "name": "UDGL",
        "scopeName": "source.udgl",
        "fileTypes": ["udgl"],
        "patterns": [
            {"include": "#comment"},
            {"include": "#operator"},
            {"include": "#section"},
            {"include": "#text"},
            {"include": "#edge"},
            {"include": "#factor"},
            {"include": "#value"},
        ],
        "repository": {
            "comment": {"name": "comment.line.number-sign.udgl", "match": r"#.*$"},
            "operator": {
                "match": rf"{_START}(operator){_NO_NAME}\s+({_NAME}){_END}"
                + rf"(?:\s+({keys}){_END})?",
                "captures": {
                    "1": {"name": "keyword.declaration.operator.udgl"},
                    "2": {"name": "entity.name.class.udgl"},
                    "3": {"name": "support.type.property-name.udgl"},
                },
            },
            "section": {
                "match": _START
                + r"(?:(meta|defaults|operator|logical\s+flow|flow)"
                + rf"|(distribute|reduce|switch|split)){_NO_NAME}"
                + rf"(?:(?<=meta|ults)\s+({keys}){_END})?",
                "captures": {
                    "1": {"name": "keyword.declaration.section.udgl"},
                    "2": {"name": "keyword.control.flow.udgl"},
                    "3": {"name": "support.type.property-name.udgl"},
                },
            },
            "edge": {
                # A line with an arrow that stands in no quotes.
                "begin": rf'(?=[A-Za-z][^#"]*(?:{_ARROW}))',
                "end": r"(?=#)|$",
                "patterns": [
                    {"name": "keyword.operator.arrow.udgl", "match": _ARROW},
                    {
                        "name": "constant.numeric.weight.udgl",
                        "match": rf"(?<![^\s,])-?[0-9]+(?:\.[0-9]+)?\s*%{_END}",
                    },
                    {
                        "begin": rf"(?<=[A-Za-z0-9_.-])\s+(when){_END}",
                        "beginCaptures": {"1": {"name": "keyword.control.case.udgl"}},
                        "end": r"(?=[,#])|$",
                        "patterns": [
                            {"include": "#string"},
                            {
                                "name": "keyword.operator.comparison.udgl",
                                "match": r"[=!<>]=?",
                            },
                            {
                                "name": "keyword.operator.word.udgl",
                                "match": rf"(?<!\S)(?:and|contains){_END}",
                            },
                            {
                                "name": "constant.language.udgl",
                                "match": rf"(?<![^\s=<>])(?:true|false|null){_END}",
                            },
                            {
                                "name": "constant.numeric.udgl",
                                "match": r"(?<![^\s=<>])-?[0-9]+(?:\.[0-9]+)?"
                                rf"(?:[eE][+-]?[0-9]+)?{_END}",
                            },
                        ],
                    },
                    {
                        "match": rf"(?<=[A-Za-z0-9_.-])\s+(otherwise){_END}",
                        "captures": {"1": {"name": "keyword.control.case.udgl"}},
                    },
                    {"name": "variable.other.operator.udgl", "match": _NAME},
                ],
            },
            "text": {
                "match": rf"{_START}({_either(*_TEXT_ENTRIES)}){_NO_NAME}\s+([^#]+)",
                "captures": {
                    "1": {"name": "support.type.property-name.udgl"},
                    "2": {"name": "string.unquoted.text.udgl"},
                },
            },
            "factor": {
                "match": rf"{_START}({keys}){_END}",
                "captures": {"1": {"name": "support.type.property-name.udgl"}},
            },
            "string": {
                "name": "string.quoted.double.udgl",
                "begin": r'"',
                "end": r'"|$',
                "patterns": [
                    {"name": "constant.character.escape.udgl", "match": r"\\."},
                ],
            },
            "value": {
                "patterns": [
                    {"include": "#string"},
                    {
                        "name": "keyword.other.modifier.udgl",
                        "match": rf"(?<![^\s,])(?:dynamic|from|epoch){_END}",
                    },
                    {
                        "name": "constant.language.boolean.udgl",
                        "match": r"(?<![^\s,])(?:[Yy][Ee][Ss]|[Nn][Oo]"
                        rf"|[Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]){_END}",
                    },
                    {
                        "name": "constant.numeric.udgl",
                        "match": r"(?<![^\s,])-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
                        rf"\s*(?:ms|s|m|h|[KkMGT]i?B?|B)?{_END}",
                    },
                    {
                        "name": "string.unquoted.udgl",
                        "match": r'(?<![^\s,=])[^\s,#"]+=?',
                    },
                ],
            },
        },
    }
