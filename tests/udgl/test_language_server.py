"""The language server, asked by a client over the pipes of a real process."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pygls", reason="the language server needs the extra 'lsp'")

ROOT = Path(__file__).parents[2]
URI = "file:///graphs/a.udgl"
DEADLINE = 60.0

GRAPH = """meta
name Emoji, version 1
description 😋😋 # two
operator A
image a, batch 8
operator B
image b
operator C
image c
logical flow
distribute
A → B, C
"""


class Client:
    """An editor: sends messages, keeps what comes in."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "udgl", "lsp", "--stdio"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]])},
            start_new_session=True,
        )
        self.errors: list[bytes] = []
        self._came: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._kept: list[dict[str, Any]] = []
        self._number = 0
        self._threads = [threading.Thread(target=t) for t in (self._read, self._read_errors)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        stream = self.process.stdout
        assert stream is not None
        while header := stream.readline():
            if header.lower().startswith(b"content-length:"):
                length = int(header.split(b":")[1])
            elif not header.strip():
                self._came.put(json.loads(stream.read(length)))
        self._came.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors.extend(self.process.stderr)

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.process.stdin.flush()

    def tell(self, method: str, **params: Any) -> None:
        self.send({"method": method, "params": params})

    def ask(self, method: str, **params: Any) -> Any:
        reply = self.reply_to(method, **params)
        assert "error" not in reply, reply
        return reply["result"]

    def reply_to(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        self.send({"id": number, "method": method, "params": params})
        return self.wait_for(lambda m: m.get("id") == number and "method" not in m)

    def wait_for(self, fits: Any) -> dict[str, Any]:
        for message in self._kept:
            if fits(message):
                self._kept.remove(message)
                return message
        deadline = time.monotonic() + DEADLINE
        while True:
            message = self._came.get(timeout=max(0.01, deadline - time.monotonic()))
            assert message is not None, b"".join(self.errors).decode()
            if fits(message):
                return message
            self._kept.append(message)

    def start(self, **general: Any) -> Any:
        result = self.ask("initialize", processId=None, rootUri=None, capabilities=general)
        self.tell("initialized")
        return result

    def open(self, text: str, uri: str = URI, version: int = 1) -> None:
        document = {"uri": uri, "languageId": "udgl", "version": version, "text": text}
        self.tell("textDocument/didOpen", textDocument=document)

    def change(self, text: str, version: int, uri: str = URI) -> None:
        self.tell(
            "textDocument/didChange",
            textDocument={"uri": uri, "version": version},
            contentChanges=[{"text": text}],
        )

    def diagnostics(self, version: int | None = 1, uri: str = URI) -> list[dict[str, Any]]:
        message = self.wait_for(
            lambda m: (
                m.get("method") == "textDocument/publishDiagnostics"
                and m["params"]["uri"] == uri
                and m["params"].get("version") == version
            )
        )
        found: list[dict[str, Any]] = message["params"]["diagnostics"]
        return found

    def about(self, method: str, uri: str = URI, **params: Any) -> Any:
        return self.ask(f"textDocument/{method}", textDocument={"uri": uri}, **params)

    def stop(self) -> int:
        try:
            self.ask("shutdown")
            self.tell("exit")
            return self.process.wait(DEADLINE)
        finally:
            self.close()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        for thread in self._threads:
            thread.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A client that has started its server; each test uses a URI of its own."""
    client = Client()
    try:
        client.start()
        yield client
    finally:
        client.close()


def place(text: str, word: str, inside: int = 0, nth: int = 0) -> dict[str, int]:
    """The LSP position in the ``nth`` ``word`` of ``text``."""
    offset = -1
    for _ in range(nth + 1):
        offset = text.index(word, offset + 1)
    offset += inside
    line = text.count("\n", 0, offset)
    before = text[text.rfind("\n", 0, offset) + 1 : offset]
    return {"line": line, "character": len(before.encode("utf-16-le")) // 2}


def covered(text: str, where: dict[str, Any]) -> str:
    """The text of an LSP range that stays in one line."""
    line = text.split("\n")[where["start"]["line"]].encode("utf-16-le")
    assert where["start"]["line"] == where["end"]["line"]
    return line[2 * where["start"]["character"] : 2 * where["end"]["character"]].decode("utf-16-le")


def test_an_editors_session_from_start_to_end() -> None:
    client = Client()
    try:
        started = client.start(textDocument={"rename": {"prepareSupport": True}})
        assert started["serverInfo"]["name"] == "udgl"
        able = started["capabilities"]
        assert able["positionEncoding"] == "utf-16"
        for ability in ("hover", "definition", "references", "documentSymbol", "foldingRange"):
            assert able[f"{ability}Provider"]
        assert able["renameProvider"] == {"prepareProvider": True}
        client.open(GRAPH)
        assert client.diagnostics() == []
        client.tell("textDocument/didClose", textDocument={"uri": URI})
        assert client.diagnostics(None) == []
        assert client.stop() == 0
    finally:
        client.close()
    assert client.errors == []


def test_findings_come_as_one_types_with_columns_in_utf16(client: Client) -> None:
    uri = "file:///diagnostics.udgl"
    text = GRAPH.replace("A → B, C", '😋 -> "\nA → B, c').replace("batch 8", "bach 8")
    text = text.replace("# two", "# two\r\nowner 😋, versoin")
    client.open(text, uri)
    found = client.diagnostics(uri=uri)
    by_code = {one["code"]: one for one in found}
    assert all(one["source"] == "udgl" and one["severity"] == 1 for one in found)
    misspelt, unknown = by_code["U011"], by_code["U110"]
    assert covered(text.replace("\r", ""), misspelt["range"]) == "bach"
    assert "did you mean 'batch'?" in misspelt["message"]
    assert misspelt["data"]["rule"] == "A word that names no factor or entry."
    assert covered(text.replace("\r", ""), unknown["range"]) == "c"
    plane = by_code["U014"]
    assert plane["range"]["end"]["character"] - plane["range"]["start"]["character"] == 2

    client.change(GRAPH, 2, uri)
    assert client.diagnostics(2, uri) == []


def test_the_newest_text_is_the_one_that_is_checked(client: Client) -> None:
    uri = "file:///typed.udgl"
    client.open("", uri)
    for version in range(2, 60):
        client.change(GRAPH[:version] + "?", version, uri)
    client.change(GRAPH, 60, uri)
    assert client.diagnostics(60, uri) == []
    # Typing of no pause is not checked in between: at most what a slow machine took a pause for.
    told = [
        m
        for m in client._kept
        if m.get("method") == "textDocument/publishDiagnostics" and m["params"]["uri"] == uri
    ]
    assert len(told) < 30


def test_warnings_and_notes_have_their_severity(client: Client) -> None:
    uri = "file:///severity.udgl"
    text = GRAPH.replace("batch 8", "batch 8, latency 50ms").replace(
        "distribute\nA → B, C", "switch\nA → B when x == 1, C when x == 2"
    )
    client.open(text, uri)
    found = {one["code"]: one["severity"] for one in client.diagnostics(uri=uri)}
    assert found == {"U131": 2, "U137": 3}


def test_a_quick_fix_mends_what_was_misspelt(client: Client) -> None:
    uri = "file:///fix.udgl"
    text = GRAPH.replace("batch 8", "bach 8")
    client.open(text, uri)
    (found,) = client.diagnostics(uri=uri)
    (action,) = client.about(
        "codeAction", uri, range=found["range"], context={"diagnostics": [found]}
    )
    assert action["title"] == "Write 'batch'"
    assert action["kind"] == "quickfix"
    (edit,) = action["edit"]["changes"][uri]
    assert covered(text, edit["range"]) == "bach"
    assert edit["newText"] == "batch"
    elsewhere = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 4}}
    assert client.about("codeAction", uri, range=elsewhere, context={"diagnostics": []}) == []


def test_completion_works_while_the_text_is_broken(client: Client) -> None:
    uri = "file:///complete.udgl"
    text = "meta\nname X ??\n!!\noperator Tokenizer\nimage a\nstateful \nflow\ndistribute\nTok"
    client.open(text, uri)
    found = client.about("completion", uri, position=place(text, "Tok", 3, 1))["items"]
    (one,) = [item for item in found if item["label"] == "Tokenizer"]
    assert covered(text, one["textEdit"]["range"]) == "Tok"
    found = client.about("completion", uri, position=place(text, "stateful ", 9))["items"]
    assert [item["label"] for item in found][:2] == ["Yes", "No"]


def test_hover_definition_references_and_rename(client: Client) -> None:
    uri = "file:///names.udgl"
    client.open(GRAPH, uri)
    used = place(GRAPH, "C\n", nth=1)
    assert (
        "Flows in from `A` (distribute)."
        in client.about("hover", uri, position=used)["contents"]["value"]
    )
    meaning = client.about("hover", uri, position=place(GRAPH, "batch", 2))["contents"]
    assert meaning["kind"] == "markdown"
    assert "The most requests" in meaning["value"]
    (declared,) = client.about("definition", uri, position=used)
    assert declared["range"]["start"] == place(GRAPH, "C\n")
    places = client.about("references", uri, position=used, context={"includeDeclaration": True})
    assert [covered(GRAPH, p["range"]) for p in places] == ["C", "C"]
    assert client.about("prepareRename", uri, position=used)["placeholder"] == "C"
    assert client.about("prepareRename", uri, position=place(GRAPH, "meta")) is None
    edits = client.about("rename", uri, position=used, newName="Sub-D")["changes"][uri]
    assert [(covered(GRAPH, e["range"]), e["newText"]) for e in edits] == [("C", "Sub-D")] * 2
    for name, sentence in (("9", "'9' is no name"), ("b", "'b' is taken")):
        reply = client.reply_to(
            "textDocument/rename", textDocument={"uri": uri}, position=used, newName=name
        )
        assert reply["error"]["message"].startswith(sentence)
        assert reply["error"]["code"] == -32803


def test_outline_folding_and_colours(client: Client) -> None:
    uri = "file:///structure.udgl"
    client.open(GRAPH, uri)
    tree = client.about("documentSymbol", uri)
    assert [part["name"] for part in tree] == ["meta", "A", "B", "C", "flow"]
    assert [part["name"] for part in tree[1]["children"]] == ["image", "batch"]
    assert tree[4]["children"][0]["children"][0]["name"] == "A → B, C"
    folds = client.about("foldingRange", uri)
    assert (folds[0]["startLine"], folds[0]["endLine"]) == (0, 2)
    data = client.about("semanticTokens/full", uri)["data"]
    assert len(data) % 5 == 0
    assert data[:5] == [0, 0, 4, 0, 0]
    part = {"start": {"line": 3, "character": 0}, "end": {"line": 3, "character": 10}}
    assert client.about("semanticTokens/range", uri, range=part)["data"] == [
        *(3, 0, 8, 0, 0),
        *(0, 9, 1, 2, 1),
    ]


def test_units_are_those_that_the_client_prefers() -> None:
    client = Client()
    try:
        started = client.start(general={"positionEncodings": ["utf-8", "utf-16"]})
        assert started["capabilities"]["positionEncoding"] == "utf-8"
        text = GRAPH.replace("A → B, C", "A → B, c")
        client.open(text)
        (unknown, *_) = (one for one in client.diagnostics() if one["code"] == "U110")
        assert unknown["range"]["start"]["character"] == len("A → B, ".encode())
    finally:
        client.close()


@pytest.mark.slow
def test_no_order_of_messages_and_no_text_ends_the_server() -> None:
    client = Client()
    try:
        # Before it is initialised.
        client.tell("textDocument/didOpen", textDocument={"uri": URI, "text": "x"})
        client.open("early")
        client.start()
        client.change("never opened", 7, "file:///never.udgl")
        client.tell("textDocument/didClose", textDocument={"uri": "file:///nowhere.udgl"})
        client.tell("no/such/method")
        client.tell("textDocument/didChange", wrong=1)
        assert client.about("hover", "file:///none.udgl", position=place("a", "a")) is None
        assert client.reply_to("no/such/request")["error"]["code"] == -32601
        far = {"line": 10**6, "character": 10**6}
        for number, text in enumerate(["", "\0", "\ufeff", "\r\r\n", "\u2028😋\f" * 50, "->" * 99]):
            uri = f"file:///odd{number}.udgl"
            client.open(text, uri)
            for method in ("hover", "completion", "definition", "prepareRename"):
                client.about(method, uri, position=far)
            for method in ("documentSymbol", "foldingRange", "semanticTokens/full"):
                client.about(method, uri)
            client.diagnostics(uri=uri)
            client.tell("textDocument/didClose", textDocument={"uri": uri})
        client.open(GRAPH)
        assert client.diagnostics() == []
        assert client.stop() == 0
    finally:
        client.close()


def test_formatting_is_one_edit_of_the_lines_that_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from udgl.diagnostics import Diagnostic, UdglError
    from udgl.editor import server
    from udgl.editor.document import Document

    def format_text(text: str) -> str:
        if "?" in text:
            raise UdglError("<string>", [Diagnostic("U010", "no")])
        return text.replace("  ", " ")

    formatter = types.ModuleType("udgl.formatter")
    monkeypatch.setattr(formatter, "format_text", format_text, raising=False)
    monkeypatch.setitem(sys.modules, "udgl.formatter", formatter)
    edits = server._formatted(Document("meta\nname  😋,  a\nversion 1\n"))
    assert edits is not None
    (edit,) = edits
    assert (edit.range.start.line, edit.range.end.line) == (1, 2)
    assert edit.new_text == "name 😋, a\n"
    assert server._formatted(Document("meta")) == []
    assert server._formatted(Document("me  ta?")) is None


@pytest.mark.skipif(find_spec("udgl.formatter") is None, reason="there is no formatter")
def test_a_text_is_formatted_as_the_formatter_does(client: Client) -> None:
    from udgl.formatter import format_text

    uri = "file:///format.udgl"
    text = "\n" + GRAPH.replace("operator B\n", "operator   B\n")
    client.open(text, uri)
    edits = client.about("formatting", uri, options={"tabSize": 2, "insertSpaces": True})
    lines = text.split("\n")
    for edit in edits:
        start, end = edit["range"]["start"], edit["range"]["end"]
        assert start["character"] == end["character"] == 0
        changed = "\n".join([*lines[: start["line"]], ""]) + edit["newText"]
        text = changed + "\n".join(lines[end["line"] :])
    assert text == format_text("\n" + GRAPH.replace("operator B\n", "operator   B\n"))
    client.tell("textDocument/didClose", textDocument={"uri": uri})


def test_the_server_ends_with_its_client() -> None:
    client = Client()
    try:
        client.start()
        assert client.process.stdin is not None
        client.process.stdin.close()
        # LSP: 1 where the client did not say that it would end.
        assert client.process.wait(DEADLINE) == 1
    finally:
        client.close()


@pytest.mark.slow
def test_a_large_text_keeps_no_request_waiting_for_its_check(client: Client) -> None:
    uri = "file:///large.udgl"
    operators = "".join(f"operator o{k}\nimage i:{k}\n" for k in range(10_000))
    edges = "".join(f"o{k} -> o{k + 1}\n" for k in range(9_999))
    text = f"meta\nname Large, version 1\n{operators}flow\ndistribute\n{edges}o1 -> "
    client.open(text, uri)
    found = client.about("completion", uri, position=place(text, "o1 -> ", 6, 1))["items"]
    assert "o2" in {item["label"] for item in found}
    assert not any(m.get("params", {}).get("uri") == uri for m in client._kept), "checked before"
    assert client.diagnostics(uri=uri) != []
    client.tell("textDocument/didClose", textDocument={"uri": uri})
