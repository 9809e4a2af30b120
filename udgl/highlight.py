"""The Pygments lexer of UDGL, and the coloured text that web pages draw.

Pygments finds :class:`UdglLexer` by the entry point ``pygments.lexers``: ``pygmentize -l udgl``,
Sphinx and Markdown's ``udgl`` code blocks have it once this package is installed. This module is
loaded only then; nothing else of the language needs Pygments.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from pygments.lexer import Lexer
from pygments.token import (
    Comment,
    Error,
    Keyword,
    Name,
    Number,
    Operator,
    Punctuation,
    String,
    Whitespace,
    _TokenType,
)

from udgl.editor.scanner import Kind, scan

TOKENS: dict[Kind, _TokenType] = {
    Kind.SPACE: Whitespace,
    Kind.COMMENT: Comment.Single,
    Kind.SECTION: Keyword.Declaration,
    Kind.BLOCK: Keyword.Namespace,
    Kind.KEY: Name.Attribute,
    Kind.MODIFIER: Keyword,
    Kind.DECLARATION: Name.Class,
    Kind.REFERENCE: Name.Variable,
    Kind.NUMBER: Number,
    Kind.CONSTANT: Keyword.Constant,
    Kind.STRING: String.Double,
    Kind.VALUE: String.Other,
    Kind.TEXT: String.Doc,
    Kind.ARROW: Operator,
    Kind.COMPARISON: Operator,
    Kind.COMMA: Punctuation,
    Kind.ERROR: Error,
}
"""The Pygments token that each kind of word is."""

_CLASSES = (
    (Comment, "comment"),
    (Keyword.Declaration, "key"),
    (Keyword.Namespace, "key"),
    (Keyword.Constant, "value"),
    (Keyword, "key"),
    (Name.Attribute, "key"),
    (Name, "name"),
    (Operator, "flow"),
    (Number, "value"),
    (String, "value"),
)

CLASSES = tuple(dict.fromkeys(name for _, name in _CLASSES))
"""The classes of :func:`lines`, beside the empty one of plain text."""


class UdglLexer(Lexer):
    """UDGL, the User Defined Graph Language. Keeps every character of any text."""

    name = "UDGL"
    aliases: ClassVar[list[str]] = ["udgl"]
    filenames: ClassVar[list[str]] = ["*.udgl"]
    mimetypes: ClassVar[list[str]] = ["text/x-udgl"]

    def get_tokens_unprocessed(self, text: str) -> Iterator[tuple[int, _TokenType, str]]:
        """(position, token type, text) for each word of ``text``, in a time linear in it."""
        for word in scan(text):
            yield word.start, TOKENS[word.kind], text[word.start : word.end]

    @staticmethod
    def analyse_text(text: str) -> float:
        """How likely ``text`` is UDGL, 0 to 1."""
        kinds = set()
        for number, word in enumerate(scan(text[:4000])):
            if word.kind is Kind.ERROR or number > 200:
                break
            kinds.add(word.kind)
        return 0.6 if {Kind.SECTION, Kind.KEY} <= kinds else 0.0


def lines(text: str) -> list[list[tuple[str, str]]]:
    """The lines of ``text`` as (class, text) pieces; a class is one of :data:`CLASSES`, or empty.

    A line is what stands between line ends (LF, CRLF or CR), which are left out; a text that ends
    in one has an empty last line.
    """
    options: dict[str, Any] = {"stripnl": False, "ensurenl": False}
    found: list[list[tuple[str, str]]] = [[]]
    for kind, piece in UdglLexer(**options).get_tokens(text):
        name = next((name for parent, name in _CLASSES if parent in kind.split()), "")
        # No word but white space holds a line end, and get_tokens() has made each one LF.
        for number, part in enumerate(piece.split("\n")):
            if number:
                found.append([])
            if part and found[-1] and found[-1][-1][0] == name:
                found[-1][-1] = (name, found[-1][-1][1] + part)
            elif part:
                found[-1].append((name, part))
    return found
