"""The language server: what the modules beside this one find, spoken as LSP over stdio.

The only module that needs pygls, which is loaded with it: ``udgl lsp`` does that. The texts come
whole with each change (LSP's full synchronisation), so server and editor never differ. The event
loop does none of the work: one thread checks texts, another answers requests, so that neither
keeps the other waiting.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

from udgl.diagnostics import CODES, Diagnostic, Severity, UdglError
from udgl.editor import coloring, naming, outline
from udgl.editor.completion import Proposal, Sort, complete
from udgl.editor.document import Document
from udgl.editor.fixes import fix
from udgl.editor.hover import hover
from udgl.editor.naming import Edit, RenameError
from udgl.editor.scanner import Scanned

_QUIET = 0.15
"""Seconds without a change after which a text is checked."""

_LONGEST_QUIET = 2.0

_MANUAL = Path(__file__).parents[2] / "docs" / "udgl.md"
"""The manual, where the server runs from a checkout."""

_SEVERITIES = {
    Severity.ERROR: lsp.DiagnosticSeverity.Error,
    Severity.WARNING: lsp.DiagnosticSeverity.Warning,
    Severity.NOTE: lsp.DiagnosticSeverity.Information,
}
_SORTS = {
    Sort.KEYWORD: lsp.CompletionItemKind.Keyword,
    Sort.FACTOR: lsp.CompletionItemKind.Property,
    Sort.OPERATOR: lsp.CompletionItemKind.Class,
    Sort.VALUE: lsp.CompletionItemKind.Value,
}
_BRANCHES = {
    outline.Branch.META: lsp.SymbolKind.Module,
    outline.Branch.DEFAULTS: lsp.SymbolKind.Object,
    outline.Branch.OPERATOR: lsp.SymbolKind.Class,
    outline.Branch.FACTOR: lsp.SymbolKind.Property,
    outline.Branch.FLOW: lsp.SymbolKind.Namespace,
    outline.Branch.BLOCK: lsp.SymbolKind.Event,
    outline.Branch.EDGE: lsp.SymbolKind.Interface,
}

_REQUEST_FAILED = -32803
"""LSP's code for a request that is well formed and cannot be done."""

_SMALL = 200_000
"""Characters of a text that is checked for quick fixes alone, where no check has ended yet."""

_T = TypeVar("_T")


class UdglServer(LanguageServer):
    """Holds the open texts, and checks each one once typing pauses."""

    def __init__(self) -> None:
        super().__init__(
            "udgl",
            _version(),
            text_document_sync_kind=lsp.TextDocumentSyncKind.Full,
        )
        self.ended = False
        """Whether the client has asked for the end."""
        self._documents: dict[str, Document] = {}
        self._checks: dict[str, asyncio.Task[None]] = {}
        self._took: dict[str, float] = {}
        self._checker = ThreadPoolExecutor(1, "check")
        self._answerer = ThreadPoolExecutor(1, "answer")

    # ---- texts

    def put(self, uri: str, text: str, number: int | None) -> None:
        """``text`` is the newest of ``uri``: check it once typing pauses."""
        agreed = self.workspace.position_encoding or "utf-16"
        encoding = agreed.value if isinstance(agreed, lsp.PositionEncodingKind) else agreed
        self._documents[uri] = Document(text, number, encoding)
        self._cancel(uri)
        self._checks[uri] = asyncio.get_running_loop().create_task(self._check(uri))

    def drop(self, uri: str) -> None:
        """``uri`` is closed: nothing more is told of it."""
        self._cancel(uri)
        self._took.pop(uri, None)
        if self._documents.pop(uri, None) is not None:
            self.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(uri, []))

    def _cancel(self, uri: str) -> None:
        task = self._checks.pop(uri, None)
        if task is not None:
            task.cancel()

    async def _check(self, uri: str) -> None:
        # The longer a check takes, the longer is waited, so that typing costs a bounded share.
        await asyncio.sleep(min(_LONGEST_QUIET, max(_QUIET, self._took.get(uri, 0.0))))
        document = self._documents.get(uri)
        if document is None:
            return

        def check() -> tuple[list[lsp.Diagnostic], float]:
            started = time.monotonic()
            if self._documents.get(uri) is not document:
                return [], 0.0
            return diagnose(document), time.monotonic() - started

        loop = asyncio.get_running_loop()
        found, took = await loop.run_in_executor(self._checker, check)
        if self._documents.get(uri) is document:
            self._took[uri] = took
            self.text_document_publish_diagnostics(
                lsp.PublishDiagnosticsParams(uri, found, document.version)
            )

    async def about(
        self, identifier: lsp.TextDocumentIdentifier, answer: Callable[[Document], _T]
    ) -> _T | None:
        """``answer`` of the text as it is now; None of a text that is not open."""
        document = self._documents.get(identifier.uri)
        if document is None:
            return None
        return await asyncio.get_running_loop().run_in_executor(self._answerer, answer, document)

    def shutdown(self) -> None:
        for uri in list(self._checks):
            self._cancel(uri)
        self._checker.shutdown(wait=False, cancel_futures=True)
        self._answerer.shutdown(wait=False, cancel_futures=True)
        super().shutdown()  # type: ignore[no-untyped-call]


def _version() -> str:
    try:
        return version("airflow-provider-hogar")
    except PackageNotFoundError:
        return "0"


# ---- from the language's values to LSP's


def _place(document: Document, offset: int) -> lsp.Position:
    line, column = document.lines.place(offset)
    return lsp.Position(line, column)


def _range(document: Document, start: int, end: int) -> lsp.Range:
    return lsp.Range(_place(document, start), _place(document, end))


def _offset(document: Document, position: lsp.Position) -> int:
    return document.lines.offset(position.line, position.character)


def _edit(document: Document, edit: Edit) -> lsp.TextEdit:
    return lsp.TextEdit(_range(document, edit.start, edit.end), edit.text)


def diagnose(document: Document) -> list[lsp.Diagnostic]:
    """What is wrong with the text, hints in the messages."""
    return [_diagnostic(document, one) for one in document.findings]


def _diagnostic(document: Document, one: Diagnostic) -> lsp.Diagnostic:
    message = one.message if not one.hint else f"{one.message}\nhint: {one.hint}"
    rule = CODES.get(one.code)
    described = None
    if rule is not None and _MANUAL.is_file():
        described = lsp.CodeDescription(f"{_MANUAL.as_uri()}#{one.code.lower()}")
    return lsp.Diagnostic(
        _range(document, *document.lines.of_span(one.span)),
        message,
        severity=_SEVERITIES[one.severity],
        code=one.code,
        code_description=described,
        source="udgl",
        data={"rule": rule},
    )


def _item(document: Document, number: int, proposal: Proposal) -> lsp.CompletionItem:
    documentation = None
    if proposal.meaning:
        documentation = lsp.MarkupContent(lsp.MarkupKind.Markdown, proposal.meaning)
    edit = lsp.TextEdit(_range(document, proposal.start, proposal.end), proposal.text)
    return lsp.CompletionItem(
        proposal.label,
        kind=_SORTS[proposal.sort],
        detail=proposal.detail or None,
        documentation=documentation,
        sort_text=f"{number:05}",
        filter_text=proposal.label,
        text_edit=edit,
    )


def _symbol(document: Document, part: outline.Part) -> lsp.DocumentSymbol:
    return lsp.DocumentSymbol(
        part.name,
        _BRANCHES[part.branch],
        _range(document, part.start, part.end),
        _range(document, part.at, part.at_end),
        detail=part.detail or None,
        children=[_symbol(document, inner) for inner in part.parts] or None,
    )


def _actions(document: Document, params: lsp.CodeActionParams) -> list[lsp.CodeAction]:
    """A quick fix for each finding in the asked range whose hint leaves no doubt."""
    asked = params.range
    only = params.context.only
    if only is not None and not any("quickfix".startswith(str(kind)) for kind in only):
        return []
    if not document.checked and len(document.text) > _SMALL:
        # The client asks again once the check's findings are there.
        return []
    found = []
    for one in document.findings:
        mend = fix(document, one)
        if mend is None:
            continue
        shown = _diagnostic(document, one)
        if _after(shown.range.start, asked.end) or _after(asked.start, shown.range.end):
            continue
        edits = [_edit(document, edit) for edit in mend.edits]
        found.append(
            lsp.CodeAction(
                mend.title,
                kind=lsp.CodeActionKind.QuickFix,
                diagnostics=[shown],
                is_preferred=True,
                edit=lsp.WorkspaceEdit({params.text_document.uri: edits}),
            )
        )
    return found


def _after(one: lsp.Position, other: lsp.Position) -> bool:
    return (one.line, one.character) > (other.line, other.character)


def _formatted(document: Document) -> list[lsp.TextEdit] | None:
    """One edit of the lines that change; None where the text has errors."""
    text = document.text
    try:
        formatted: str = import_module("udgl.formatter").format_text(text)
    except UdglError:
        return None
    if formatted == text:
        return []
    old, new = text.splitlines(keepends=True), formatted.splitlines(keepends=True)
    most = min(len(old), len(new))
    first = next((k for k in range(most) if old[k] != new[k]), most)
    last = next(
        (k for k in range(most - first) if old[-1 - k] != new[-1 - k]),
        most - first,
    )
    start = sum(map(len, old[:first]))
    end = len(text) - sum(map(len, old[len(old) - last :]))
    return [_edit(document, Edit(start, end, "".join(new[first : len(new) - last])))]


def create_server() -> UdglServer:
    """A server with all that it can do; ``start_io()`` serves until its input ends."""
    server = UdglServer()
    _serve_texts(server)
    _serve_names(server)
    _serve_help(server)
    _serve_structure(server)
    return server


def _serve_texts(server: UdglServer) -> None:
    @server.feature(lsp.SHUTDOWN)
    def ended(_: None) -> None:
        server.ended = True

    @server.feature(lsp.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: lsp.DidOpenTextDocumentParams) -> None:
        document = params.text_document
        server.put(document.uri, document.text, document.version)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CHANGE)
    def changed(params: lsp.DidChangeTextDocumentParams) -> None:
        for change in reversed(params.content_changes):
            if isinstance(change, lsp.TextDocumentContentChangeWholeDocument):
                server.put(params.text_document.uri, change.text, params.text_document.version)
                break

    @server.feature(lsp.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: lsp.DidCloseTextDocumentParams) -> None:
        server.drop(params.text_document.uri)

    if find_spec("udgl.formatter") is not None:

        @server.feature(lsp.TEXT_DOCUMENT_FORMATTING)
        async def formatting(
            params: lsp.DocumentFormattingParams,
        ) -> list[lsp.TextEdit] | None:
            return await server.about(params.text_document, _formatted)


def _serve_names(server: UdglServer) -> None:
    def located(uri: str, document: Document, words: Iterable[Scanned]) -> list[lsp.Location]:
        return [lsp.Location(uri, _range(document, w.start, w.end)) for w in words]

    @server.feature(lsp.TEXT_DOCUMENT_DEFINITION)
    async def definition(params: lsp.DefinitionParams) -> list[lsp.Location] | None:
        def answer(document: Document) -> list[lsp.Location]:
            found = naming.definitions(document, _offset(document, params.position))
            return located(params.text_document.uri, document, found)

        return await server.about(params.text_document, answer)

    @server.feature(lsp.TEXT_DOCUMENT_REFERENCES)
    async def references(params: lsp.ReferenceParams) -> list[lsp.Location] | None:
        def answer(document: Document) -> list[lsp.Location]:
            found = naming.references(
                document,
                _offset(document, params.position),
                declaration=params.context.include_declaration,
            )
            return located(params.text_document.uri, document, found)

        return await server.about(params.text_document, answer)

    @server.feature(lsp.TEXT_DOCUMENT_DOCUMENT_HIGHLIGHT)
    async def highlight(
        params: lsp.DocumentHighlightParams,
    ) -> list[lsp.DocumentHighlight] | None:
        def answer(document: Document) -> list[lsp.DocumentHighlight]:
            found = naming.references(document, _offset(document, params.position))
            return [lsp.DocumentHighlight(_range(document, w.start, w.end)) for w in found]

        return await server.about(params.text_document, answer)

    @server.feature(lsp.TEXT_DOCUMENT_PREPARE_RENAME)
    async def prepare(
        params: lsp.PrepareRenameParams,
    ) -> lsp.PrepareRenamePlaceholder | None:
        def answer(document: Document) -> lsp.PrepareRenamePlaceholder | None:
            word = naming.name_at(document, _offset(document, params.position))
            if word is None:
                return None
            place = _range(document, word.start, word.end)
            return lsp.PrepareRenamePlaceholder(place, document.text_of(word))

        return await server.about(params.text_document, answer)

    @server.feature(lsp.TEXT_DOCUMENT_RENAME, lsp.RenameOptions(prepare_provider=True))
    async def rename(params: lsp.RenameParams) -> lsp.WorkspaceEdit | None:
        def answer(document: Document) -> lsp.WorkspaceEdit:
            offset = _offset(document, params.position)
            edits = naming.rename(document, offset, params.new_name)
            uri = params.text_document.uri
            return lsp.WorkspaceEdit({uri: [_edit(document, edit) for edit in edits]})

        try:
            return await server.about(params.text_document, answer)
        except RenameError as error:
            raise JsonRpcException(str(error), _REQUEST_FAILED) from None


def _serve_help(server: UdglServer) -> None:
    @server.feature(
        lsp.TEXT_DOCUMENT_COMPLETION,
        lsp.CompletionOptions(trigger_characters=[" ", ",", ">", "→"]),
    )
    async def completion(params: lsp.CompletionParams) -> lsp.CompletionList | None:
        def answer(document: Document) -> lsp.CompletionList:
            found = complete(document, _offset(document, params.position))
            items = [_item(document, number, one) for number, one in enumerate(found)]
            return lsp.CompletionList(is_incomplete=False, items=items)

        return await server.about(params.text_document, answer)

    @server.feature(lsp.TEXT_DOCUMENT_HOVER)
    async def hovered(params: lsp.HoverParams) -> lsp.Hover | None:
        def answer(document: Document) -> lsp.Hover | None:
            found = hover(document, _offset(document, params.position))
            if found is None:
                return None
            text = lsp.MarkupContent(lsp.MarkupKind.Markdown, found.text)
            return lsp.Hover(text, _range(document, found.start, found.end))

        return await server.about(params.text_document, answer)

    @server.feature(
        lsp.TEXT_DOCUMENT_CODE_ACTION,
        lsp.CodeActionOptions(code_action_kinds=[lsp.CodeActionKind.QuickFix]),
    )
    async def actions(params: lsp.CodeActionParams) -> list[lsp.CodeAction] | None:
        return await server.about(params.text_document, lambda d: _actions(d, params))


def _serve_structure(server: UdglServer) -> None:
    @server.feature(lsp.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
    async def symbols(params: lsp.DocumentSymbolParams) -> list[lsp.DocumentSymbol] | None:
        return await server.about(
            params.text_document,
            lambda d: [_symbol(d, part) for part in outline.outline(d)],
        )

    @server.feature(lsp.TEXT_DOCUMENT_FOLDING_RANGE)
    async def folding(params: lsp.FoldingRangeParams) -> list[lsp.FoldingRange] | None:
        def answer(document: Document) -> list[lsp.FoldingRange]:
            kinds = {True: lsp.FoldingRangeKind.Comment, False: lsp.FoldingRangeKind.Region}
            return [
                lsp.FoldingRange(one.first, one.last, kind=kinds[one.comment])
                for one in outline.folds(document)
            ]

        return await server.about(params.text_document, answer)

    legend = lsp.SemanticTokensLegend(list(coloring.TYPES), list(coloring.MODIFIERS))

    @server.feature(lsp.TEXT_DOCUMENT_SEMANTIC_TOKENS_FULL, legend)
    async def all_tokens(params: lsp.SemanticTokensParams) -> lsp.SemanticTokens | None:
        return await server.about(
            params.text_document, lambda d: lsp.SemanticTokens(coloring.semantic_tokens(d))
        )

    @server.feature(lsp.TEXT_DOCUMENT_SEMANTIC_TOKENS_RANGE, legend)
    async def some_tokens(params: lsp.SemanticTokensRangeParams) -> lsp.SemanticTokens | None:
        first, last = params.range.start.line, params.range.end.line
        return await server.about(
            params.text_document,
            lambda d: lsp.SemanticTokens(coloring.semantic_tokens(d, first, last)),
        )


def main() -> int:
    """Serve over standard input and output until the client ends it: 0 where it said that it
    would, as LSP wants it, else 1."""
    server = create_server()
    # pygls closes the stream that it writes to; and nothing else may write between the messages.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    with redirect_stdout(sys.stderr):
        server.start_io(stdout=output)
    return 0 if server.ended else 1
