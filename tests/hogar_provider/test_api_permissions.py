"""Every route of the API, asked by everybody, under both auth managers, of a real API server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.hogar_provider.api_server import FAB, NO_NAME, SIMPLE, ApiServer, api_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DAG = "/api/v1/dags/Idle"
"""A graph that is not deployed: whom a route admits, it tells so."""

SEEING = (
    ("GET", f"{DAG}/graph", None),
    ("GET", f"{DAG}/stream", None),
    ("GET", f"{DAG}/nodes/1/history", None),
    ("GET", f"{DAG}/nodes/1/logs", None),
    ("GET", f"{DAG}/events", None),
    ("GET", f"{DAG}/requests", None),
    ("GET", f"{DAG}/traces", None),
    ("GET", f"{DAG}/batching/changes", None),
    ("GET", f"{DAG}/source", None),
    ("GET", f"{DAG}/targets", None),
    ("GET", f"{DAG}/targets/kserve", None),
    ("GET", f"{DAG}/targets/kserve/archive", None),
    ("GET", f"{DAG}/training", None),
    ("GET", f"{DAG}/training/A", None),
)
CHANGING = (
    ("PUT", f"{DAG}/nodes/1/batching", {"limit": 4}),
    ("POST", f"{DAG}/send", {"body": "x"}),
    ("POST", f"{DAG}/drain", {"timeout_s": 1}),
    ("POST", f"{DAG}/down", {}),
    ("PUT", f"{DAG}/training/A/batch", {"batch": 4}),
)
FRONT = (
    ("GET", "/api/v1/openapi.json", None),
    ("GET", "/api/v1/docs", None),
    ("GET", "/static/hogar.js", None),
)
LIST = (("GET", "/api/v1/graphs", None),)
ROUTES = (*SEEING, *CHANGING, *FRONT, *LIST)

ADMITTED = "admitted"

# User -> what each kind of route answers: seeing a DAG's graph, changing it, the front end's files,
# the list of all graphs, the page of flask-appbuilder.
EXPECTED: dict[str, dict[str, tuple[Any, ...]]] = {
    SIMPLE: {
        "admin": (ADMITTED, ADMITTED, ADMITTED, ADMITTED, ADMITTED),
        "editor": (ADMITTED, ADMITTED, ADMITTED, ADMITTED, ADMITTED),
        "viewer": (ADMITTED, 403, ADMITTED, ADMITTED, ADMITTED),
        "nobody": (403, 403, ADMITTED, 403, 403),
        NO_NAME: (401, 401, 401, 401, 401),
    },
    FAB: {
        "admin": (ADMITTED, ADMITTED, ADMITTED, ADMITTED, ADMITTED),
        # User and Viewer, with what the documented commands give them.
        "editor": (ADMITTED, ADMITTED, ADMITTED, ADMITTED, ADMITTED),
        "viewer": (ADMITTED, 403, ADMITTED, ADMITTED, ADMITTED),
        # May edit every DAG, and only see HOGAR.
        "hogar_viewer": (ADMITTED, 403, ADMITTED, ADMITTED, ADMITTED),
        # May see every DAG, and edit HOGAR.
        "dag_viewer": (ADMITTED, 403, ADMITTED, ADMITTED, ADMITTED),
        # May see and edit every DAG, and knows nothing of HOGAR.
        "no_hogar": (403, 403, ADMITTED, 403, 403),
        # May see and edit HOGAR and one DAG, which is another one.
        "other_dag": (403, 403, ADMITTED, ADMITTED, ADMITTED),
        "nobody": (403, 403, ADMITTED, 403, 403),
        NO_NAME: (401, 401, 401, 401, 401),
    },
}

SEED_FAB = """
import json, sys
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

passwords = json.loads(sys.argv[1])
DAGS, HOGAR = "DAGs", "HOGAR"
roles = {
    "HogarViewer": [("can_read", DAGS), ("can_edit", DAGS), ("can_read", HOGAR)],
    "DagViewer": [("can_read", DAGS), ("can_read", HOGAR), ("can_edit", HOGAR)],
    "NoHogar": [("can_read", DAGS), ("can_edit", DAGS)],
    "OtherDag": [
        ("can_read", "DAG:Plain"), ("can_edit", "DAG:Plain"), ("can_read", HOGAR),
        ("can_edit", HOGAR),
    ],
    "Nobody": [],
}
of_user = {
    "admin": "Admin", "editor": "User", "viewer": "Viewer", "hogar_viewer": "HogarViewer",
    "dag_viewer": "DagViewer", "no_hogar": "NoHogar", "other_dag": "OtherDag", "nobody": "Nobody",
}
with get_application_builder() as builder:
    manager = builder.sm
    manager.sync_roles()
    for name, held in roles.items():
        role = manager.add_role(name)
        for action, resource in held:
            manager.add_permission_to_role(role, manager.create_permission(action, resource))
    for user, role in of_user.items():
        added = manager.add_user(
            user, user, "Test", f"{user}@example.org", manager.find_role(role), passwords[user]
        )
        assert added, user
"""


def documented_commands() -> list[list[str]]:
    """The commands of docs/live_view.md that give the default roles their permissions."""
    from tests.hogar_provider.folders import ROOT

    text = (ROOT / "docs" / "live_view.md").read_text()
    lines = [line.strip() for line in text.splitlines()]
    return [line.split()[1:] for line in lines if line.startswith("airflow roles add-perms ")]


@pytest.fixture(scope="module", params=[SIMPLE, FAB], ids=["simple", "fab"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServer]:
    """One with all users of its auth manager."""
    manager = request.param
    users = [name for name in EXPECTED[manager] if name != NO_NAME]
    with api_server(tmp_path_factory.mktemp("api") / "airflow", manager, *users) as made:
        if manager == FAB:
            import json

            made.python(SEED_FAB, json.dumps(made.passwords))
            for command in documented_commands():
                made.airflow(*command)
        else:
            # What one worker knows, another one need not.
            made.workers = 2
        made.start()
        yield made


def outcome(client: httpx.Client, method: str, path: str, body: Any) -> tuple[Any, httpx.Response]:
    """Whether one is let in, else the status; a stream is closed at once."""
    with client.stream(method, path, json=body) as reply:
        if not reply.headers["content-type"].startswith("text/event-stream"):
            reply.read()
    refused = reply.status_code in (401, 403)
    return (reply.status_code if refused else ADMITTED), reply


def test_each_route_lets_in_exactly_those_who_may(server: ApiServer) -> None:
    found: dict[str, dict[str, Any]] = {}
    wanted: dict[str, dict[str, Any]] = {}
    for user, (sees, changes, front, lists, page) in EXPECTED[server.auth_manager].items():
        found[user], wanted[user] = {}, {}
        with server.client(user) as client:
            for routes, expected in (
                (SEEING, sees),
                (CHANGING, changes),
                (FRONT, front),
                (LIST, lists),
            ):
                for method, path, body in routes:
                    wanted[user][f"{method} {path}"] = expected
                    got, reply = outcome(client, method, path, body)
                    found[user][f"{method} {path}"] = got
                    assert reply.status_code < 500 or reply.json()["error"]["code"] == "no_agent"
                    if got != ADMITTED:
                        error = reply.json()["error"]
                        assert error["code"] in ("not_authenticated", "forbidden")
                        assert error["message"].endswith(".")
        cookies = {} if user == NO_NAME else {"_token": server.token(user)}
        reply = httpx.get(f"{server.url}/pluginsv2/hogar/", cookies=cookies, timeout=60)
        wanted[user]["page"] = page
        found[user]["page"] = ADMITTED if reply.status_code == 200 else reply.status_code
        assert "set-cookie" not in reply.headers or "session=" not in reply.headers["set-cookie"]
    assert found == wanted


def described_path(path: str) -> str:
    """The path as the API's description has it."""
    for ours, theirs in (
        ("/Idle", "/{dag_id}"),
        ("/1/", "/{index}/"),
        ("/kserve", "/{name}"),
        ("/training/A", "/training/{operator}"),
    ):
        path = path.replace(ours, theirs)
    return path


def test_the_table_above_has_every_route(server: ApiServer) -> None:
    with server.client("admin") as client:
        paths = client.get("/api/v1/openapi.json").json()["paths"]
    described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    listed = {(method, described_path(path)) for method, path, _ in (*SEEING, *CHANGING, *LIST)}
    assert described == listed


def test_a_cookie_logs_in_as_a_token_does(server: ApiServer) -> None:
    with server.client("viewer", cookie=True) as client:
        assert client.get(f"{DAG}/graph").status_code == 200
        assert client.put(f"{DAG}/nodes/1/batching", json={"limit": 4}).status_code == 403


def test_nothing_of_fastapi_is_open_to_everybody(server: ApiServer) -> None:
    with server.client(NO_NAME) as client:
        for path in ("/docs", "/redoc", "/openapi.json", "/", "/api/v1", "/static/"):
            assert client.get(path).status_code in (401, 404), path


def test_a_token_that_is_none_is_refused(server: ApiServer) -> None:
    for headers in ({"Authorization": "Bearer none"}, {"Cookie": "_token=none"}):
        for method, path, body in (*ROUTES,):
            reply = httpx.request(
                method, f"{server.url}/hogar{path}", headers=headers, json=body, timeout=60
            )
            assert reply.status_code in (401, 403), (method, path)


def test_the_list_names_no_graph_whose_dag_one_may_not_read(server: ApiServer) -> None:
    if server.auth_manager != FAB:
        pytest.skip("SimpleAuthManager has no permissions on single DAGs")
    with server.client("other_dag") as client:
        assert client.get("/api/v1/graphs").json()["graphs"] == []


def test_a_body_that_is_too_large_is_refused(server: ApiServer) -> None:
    with server.client("admin") as client:
        reply = client.put(f"{DAG}/nodes/1/batching", content=b"x" * 70_000)
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_large")
        chunks = (b"x" * 10_000 for _ in range(8))
        reply = client.put(f"{DAG}/nodes/1/batching", content=chunks)
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "too_large")


def test_a_body_that_is_wrong_is_told_in_a_sentence(server: ApiServer) -> None:
    with server.client("admin") as client:
        for body, word in (({}, "name limit"), ({"limit": 0}, "limit"), ({"limits": 3}, "limits")):
            reply = client.put(f"{DAG}/nodes/1/batching", json=body)
            assert reply.status_code == 422
            assert word in reply.json()["error"]["message"]


def test_a_graph_without_an_agent_is_shown_as_declared(server: ApiServer) -> None:
    with server.client("admin") as client:
        view = client.get(f"{DAG}/graph").json()
        assert (view["deployed"], view["reachable"], view["state"]) == (False, False, "undeployed")
        assert [node["name"] for node in view["nodes"]] == ["A"]
        assert "earg agent start" in view["message"]
        reply = client.get(f"{DAG}/nodes/1/history")
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "no_agent")
        assert not server.earg.exists(), "looking has started an agent"


def test_a_dag_that_is_no_graph_is_told_so(server: ApiServer) -> None:
    with server.client("admin") as client:
        for path in ("graph", "stream", "source", "events"):
            reply = client.get(f"/api/v1/dags/Plain/{path}")
            assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_a_hogar_graph")
            reply = client.get(f"/api/v1/dags/None/{path}")
            assert (reply.status_code, reply.json()["error"]["code"]) == (404, "no_such_dag")
        # A browser logs every 404 as an error.
        reply = client.get("/api/v1/dags/Plain/graph", params={"quiet": True})
        assert (reply.status_code, reply.json()["error"]["code"]) == (200, "not_a_hogar_graph")
        reply = client.get("/api/v1/dags/None/graph", params={"quiet": True})
        assert reply.status_code == 404


def test_airflow_is_told_of_every_place(server: ApiServer) -> None:
    reply = httpx.get(
        f"{server.url}/api/v2/plugins",
        headers={"Authorization": f"Bearer {server.token('admin')}"},
        timeout=60,
    )
    (plugin,) = [one for one in reply.json()["plugins"] if one["name"] == "hogar"]
    apps = plugin["react_apps"]
    assert {app["destination"] for app in apps} == {
        *("dag", "task", "task_instance", "nav", "dashboard"),
    }
    assert len({app["bundle_url"] for app in apps}) == len(apps)
    assert len({app["url_route"] for app in apps}) == len(apps)
    assert all(app["bundle_url"].startswith("/hogar/static/") for app in apps)
