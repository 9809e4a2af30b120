"""A server for the front end alone: its files, a page that hosts it, and played graphs as its API.

    python -m tests.www.dev_server [PORT]

Pages: ``/``, ``/dags/DAG``, ``/dags/DAG/tasks/TASK``, ``/graphs``, ``/card``; ``?theme=dark``.
``POST /play/DAG/kill?node=3&how=dead`` (or ``blink``) and ``/play/DAG/heal`` make things happen;
``/play/Hosts/cut?host=box-2`` and ``mend`` do so to a host of a :class:`PlayedHosts`.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from hogar_provider.compiled import archive, compile_text
from tests.www.played import EARG, UDGL, Played, chain, gallery, sentiment, wide
from tests.www.played_hosts import PlayedHosts
from tests.www.played_training import PlayedTraining, RefusedError, trained, training
from udgl import highlight
from udgl.targets import target, target_names

WWW = Path(__file__).resolve().parents[2] / "hogar_provider" / "plugins" / "www"
BUNDLE = WWW / "dist" / "hogar.js"
HOST = WWW / "build" / "host" / "host.js"
STREAM_SECONDS = 30.0

PAGE = """<!doctype html>
<html lang="en" class="{theme}" style="color-scheme: {theme}">
<head><meta charset="utf-8"><title>Host page</title>
<base href="/"><link rel="icon" href="data:,">
<style>{tokens}
html, body {{ margin: 0; height: 100%; }}
body {{ background: var(--chakra-colors-bg); color: var(--chakra-colors-fg);
  font-family: system-ui, sans-serif; }}
main {{ height: 100vh; }}</style></head>
<body><main id="root" data-name="{name}" data-dag="{dag}" data-task="{task}"
  data-run="{run}"></main>
<script type="module" src="/host.js"></script></body></html>"""

GRAYS = {
    50: "oklch(0.985 0.004 253)",
    100: "oklch(0.955 0.006 253)",
    200: "oklch(0.915 0.01 253)",
    300: "oklch(0.85 0.016 253)",
    400: "oklch(0.75 0.025 252)",
    600: "oklch(0.45 0.055 251)",
    700: "oklch(0.35 0.045 251)",
    800: "oklch(0.28 0.035 251)",
    900: "oklch(0.18 0.03 251)",
    950: "oklch(0.11 0.025 251)",
}
"""Airflow's own grays; other colours are the front end's fall-backs here."""


def tokens(theme: str) -> str:
    dark = theme == "dark"
    named = {
        "bg": "oklch(0.23185 0.0323 266.44)" if dark else "#fff",
        "bg-subtle": GRAYS[950 if dark else 50],
        "bg-muted": GRAYS[900 if dark else 100],
        "fg": GRAYS[50] if dark else "oklch(0.23185 0.0323 266.44)",
        "fg-muted": GRAYS[400 if dark else 600],
        "border": GRAYS[800 if dark else 200],
        "border-emphasized": GRAYS[700 if dark else 300],
    }
    return ":root {" + "".join(f"--chakra-colors-{k}: {v};" for k, v in named.items()) + "}"


def compiled(name: str) -> dict[str, Any]:
    """What the text compiles to for a platform, as the API says it."""
    found = compile_text(UDGL, "graph.udgl", name)
    return {
        "name": name,
        "files": [{"name": file.name, "text": file.text} for file in found.files],
        "findings": [
            {
                "code": one.code,
                "severity": one.severity.value,
                "message": one.message,
                "hint": one.hint or "",
                "line": one.span.line if one.span else 0,
            }
            for one in found.diagnostics
        ],
    }


class Stage:
    """What is played, by DAG id."""

    def __init__(self) -> None:
        graphs = [
            sentiment(),
            sentiment("Declared", deployed=False),
            chain("Four", 4),
            wide(),
            gallery(),
        ]
        self.graphs = {graph.dag_id: graph for graph in graphs}
        self.graphs["Declared"].name = "Declared"
        self.graphs |= {name: chain(name, 3) for name in ("Digits", "Trained")}
        self.trainings = {"Digits": training(), "Trained": trained()}
        self.broken = False

    def close(self) -> None:
        for graph in self.graphs.values():
            graph.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stage: Stage
    stopping: threading.Event

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing: a test's output is its own."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        if parts[:3] == ["hogar", "api", "v1"]:
            self._api(parts[3:], query, {})
        elif url.path == "/hogar/static/hogar.js":
            self._bytes(BUNDLE.read_bytes(), "text/javascript")
        elif url.path == "/host.js":
            self._bytes(HOST.read_bytes(), "text/javascript")
        else:
            self._page(parts, query)

    def _body(self) -> dict[str, Any]:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.loads(raw or b"{}")
        return body if isinstance(body, dict) else {}

    def do_PUT(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        body = self._body()
        if parts[0] == "play":
            graph = self.stage.graphs[parts[1]]
            if parts[2] == "kill":
                graph.kill(int(query["node"]), query.get("how", "recover"))
            elif parts[2] == "heal":
                graph.heal()
            elif parts[2] in ("cut", "mend") and isinstance(graph, PlayedHosts):
                (graph.cut if parts[2] == "cut" else graph.mend)(query["host"])
            elif parts[2] == "break":
                self.stage.broken = query.get("on", "1") == "1"
            self._json({})
        else:
            self._api(parts[3:], query, body)

    def _page(self, parts: list[str], query: dict[str, str]) -> None:
        name, dag, task = "HOGAR graphs", "", ""
        if parts[0] == "dags":
            name, dag = "HOGAR graph", parts[1]
            if len(parts) > 3:
                name, task = "HOGAR node", parts[3]
        elif parts[0] == "card":
            name = "HOGAR"
        theme, run = query.get("theme", "light"), query.get("run", "")
        page = PAGE.format(
            theme=theme, tokens=tokens(theme), name=name, dag=dag, task=task, run=run
        )
        self._bytes(page.encode(), "text/html; charset=utf-8")

    def _api(self, parts: list[str], query: dict[str, str], body: dict[str, Any]) -> None:
        if self.stage.broken:
            self._refuse(
                503,
                "no_agent",
                "The agent does not answer: its socket is there, but nobody listens.",
            )
            return
        if parts == ["graphs"]:
            up = [graph.summary() for graph in self.stage.graphs.values() if graph.deployed]
            self._json(
                {
                    "graphs": up,
                    "agent": {"home": "/srv/hogar", "version": "0.1.0", "pid": 77},
                    "message": "",
                }
            )
            return
        graph = self.stage.graphs.get(parts[1])
        if parts[1] == "Secret":
            self._refuse(
                403, "forbidden", "You may not read the DAG Secret. Ask an administrator for it."
            )
        elif graph is None:
            self._refuse(
                200 if query.get("quiet") == "true" else 404,
                "not_a_hogar_graph",
                f"The DAG {parts[1]} does not come from a UDGL file.",
            )
        else:
            self._graph(graph, parts[2:], query, body)

    def _graph(
        self, graph: Played, parts: list[str], query: dict[str, str], body: dict[str, Any]
    ) -> None:
        match parts:
            case ["graph"]:
                self._json(graph.view())
            case ["stream"]:
                self._stream(graph)
            case ["events"]:
                after = int(query.get("after", 0))
                self._json({"events": [e for e in graph.events if e["number"] > after][-200:]})
            case ["requests"]:
                self._json(graph.requests(int(query.get("most", 50))))
            case ["traces"]:
                self._json(graph.traces(int(query.get("most", 20))))
            case ["nodes", index, "history"]:
                self._json(graph.history(int(index), int(query.get("seconds", 900))))
            case ["nodes", index, "batching"]:
                if body.get("limit", 1) > 4096:
                    self._refuse(422, "invalid", "limit has to be between 1 and 4096.")
                else:
                    self._json(graph.set_batching(int(index), body))
            case ["training", *rest]:
                self._training(self.stage.trainings.get(graph.dag_id), rest, query, body)
            case ["nodes", index, "logs"]:
                lines = [f"12:00:{k:02} INFO computed batch {k} of node {index}" for k in range(60)]
                self._json({"lines": lines, "path": f"/srv/hogar/logs/{index}/model.log"})
            case ["batching", "changes"]:
                self._json({"changes": graph.changes})
            case ["source"]:
                coloured = [
                    [{"kind": k, "text": t} for k, t in line] for line in highlight.lines(UDGL)
                ]
                self._json({"udgl": UDGL, "udgl_lines": coloured, "earg": EARG, "extras": ""})
            case ["targets"]:
                self._json(
                    {
                        "targets": [
                            {
                                "name": name,
                                "description": target(name).DESCRIPTION,
                                "declared": name == "kserve",
                            }
                            for name in target_names()
                        ]
                    }
                )
            case ["targets", name]:
                self._json(compiled(name))
            case ["targets", name, "archive"]:
                data = archive(compile_text(UDGL, "graph.udgl", name).files)
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", "application/zip")
                self.send_header("Content-Disposition", f'attachment; filename="g.{name}.zip"')
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            case ["send"]:
                self._send(graph, body)
            case ["drain"]:
                graph.draining = True
                time.sleep(0.3)
                self._json({"stopped": True, "left": 0})
            case ["down"]:
                graph.deployed = False
                for node in graph.nodes:
                    node.state = "undeployed"
                self._json({})
            case _:
                self._refuse(404, "not_found", "There is no such path.")

    def _training(
        self,
        played: PlayedTraining | None,
        parts: list[str],
        query: dict[str, str],
        body: dict[str, Any],
    ) -> None:
        played = played or PlayedTraining({})
        if parts and parts[0] not in played.operators:
            self._refuse(404, "not_trained", f"The graph trains no operator called {parts[0]}.")
        elif parts[1:] != ["batch"]:
            self._json(played.view(parts[0] if parts else None, query))
        else:
            try:
                self._json(played.change(parts[0], body))
            except RefusedError as refused:
                self._refuse(refused.status, refused.code, str(refused))

    def _send(self, graph: Played, body: dict[str, Any]) -> None:
        if graph.draining or not graph.deployed:
            self._refuse(409, "not_serving", f"{graph.name} takes no requests now.")
            return
        reply = {"sentiment": 0.82, "subject": ["service"], "said": body.get("body", "")}
        trace = f"00-{'4bf92f3577b34da6a3ce929d0e0e4736'}-00f067aa0ba902b7-01"
        self._json(
            {
                "status": 200,
                "content_type": "application/json",
                "body": json.dumps(reply),
                "ms": 41.7,
                "traceparent": trace,
            }
        )

    def _stream(self, graph: Played) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        told = len(graph.events)
        until = time.monotonic() + STREAM_SECONDS
        last = ""
        try:
            self.wfile.write(b"retry: 1000\n\n")
            while time.monotonic() < until and not self.stopping.is_set() and not self.stage.broken:
                view = graph.view()
                states = str([node["state"] for node in view["nodes"]])
                if len(graph.events) > told:
                    fresh, told = graph.events[told:], len(graph.events)
                    self._event("events", {"events": fresh})
                self._event("graph", view)
                last = states
                for _ in range(5):
                    if self.stopping.wait(0.2) or str([n.state for n in graph.nodes]) != last:
                        break
        except OSError:
            pass  # the page has gone

    def _event(self, name: str, data: object) -> None:
        self.wfile.write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())
        self.wfile.flush()

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._bytes(
            json.dumps({"error": {"code": code, "message": message}}).encode(),
            "application/json",
            status,
        )

    def _json(self, value: object) -> None:
        self._bytes(json.dumps(value).encode(), "application/json")

    def _bytes(self, content: bytes, kind: str, status: int = 200) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            pass


class DevServer(ThreadingHTTPServer):
    """Listens on loopback; ``url`` is where, ``stage`` what is played."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        self.stage = Stage()
        self.stopping = threading.Event()
        handler = type("Bound", (Handler,), {"stage": self.stage, "stopping": self.stopping})
        super().__init__(("127.0.0.1", port), handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        self.stopping.set()
        self.stage.close()
        self.shutdown()
        self.server_close()


if __name__ == "__main__":
    server = DevServer(int(sys.argv[1]) if len(sys.argv) > 1 else 8790)
    server.stage.graphs["Hosts"] = PlayedHosts()
    print(f"The front end plays at {server.url}", flush=True)
    server.serve_forever()
