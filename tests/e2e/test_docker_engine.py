"""A graph on two Docker hosts, from the file to the page: real Airflow, Docker and Chromium.

The hosts are network namespaces of this machine with a daemon each. One of them dies with all that
runs there while requests flow.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from earg.client import NoAgentError, connect
from earg.home import Home
from hogar_provider.engines.token import token_in
from tests.containers.docker_host import NODE_IMAGE
from tests.e2e.requesting import requesting
from tests.e2e.sqlite_service import airflow_on_sqlite, started
from tests.e2e.test_live_view import (  # noqa: F401  fixtures
    console,
    context,
    listened_to,
    page,
    patient,
    picture,
    settle,
)
from tests.e2e.test_postgres_fab import Service
from tests.engines.docker_machines import Machine, share_images
from tests.hogar_provider.folders import ROOT
from tests.www.conftest import browser, built  # noqa: F401  fixtures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

GRAPH = "Hello"

UDGL = """\
meta
name Hello
version 1
engine docker
operator Greet
image test/greet:1
replicas 2
batch 8
operator Shout
image test/shout:1
batch 4
memory 512MiB
operator Count
image test/count:1
stateful Yes
logical flow
distribute
Greet -> Shout
Shout -> Count
"""
"""``Shout`` is an image as EARG's own are: it knows nothing of HOGAR."""

ORIGINAL = f"""\
FROM {NODE_IMAGE}
COPY original.py /model/
CMD ["python", "/model/original.py"]
"""

TAB = f"/dags/{GRAPH}/plugin/hogar"
WAIT = 120.0


def connections(machines: list[Machine]) -> dict[str, str]:
    """Airflow's connections: the engine, and each host by one of the Docker provider's own."""
    hosts = {
        machine.name: {
            "docker_conn_id": f"docker_{machine.name}",
            "subnet": machine.subnet,
            "address": machine.address,
            "publish": machine.address,
        }
        for machine in machines
    }
    # What is silent for so long is dead, also on a machine that does much else.
    extra = {"hosts": hosts, "dead_after": 5, "pull": "never"}
    found = {"AIRFLOW_CONN_DOCKER": {"conn_type": "earg", "extra": extra}}
    for machine in machines:
        url = {"docker_url": f"unix://{machine.docker.socket}"}
        found[f"AIRFLOW_CONN_DOCKER_{machine.name.upper()}"] = {
            "conn_type": "docker",
            "extra": url,
        }
    return {name: json.dumps(value) for name, value in found.items()}


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory,
    built: None,  # noqa: F811
    machines: list[Machine],
) -> Iterator[Service]:
    """An Airflow whose dags folder holds the graph; the graph says what it runs on."""
    service = airflow_on_sqlite(tmp_path_factory.mktemp("airflow"))
    airflow = service.airflow
    airflow.environment.update(connections(machines))
    airflow.dags.mkdir(exist_ok=True)
    (airflow.dags / "hello.udgl").write_text(UDGL)
    make_original(machines, tmp_path_factory.mktemp("original"))
    for loader in ("hogar_graphs.py", "hogar_errors.py", "hogar_undeploy.py"):
        shutil.copy(ROOT / "dags" / loader, airflow.dags)

    def stop_agent() -> None:
        try:
            with connect(home_of(service).path, start=False) as agent:
                agent.shutdown()
        except NoAgentError:
            pass

    with started(service, stop_agent):
        yield service


def make_original(machines: list[Machine], folder: Path) -> None:
    """The image of ``Shout``, on both hosts."""
    shutil.copy(ROOT / "tests" / "containers" / "original.py", folder)
    (folder / "Dockerfile").write_text(ORIGINAL)
    first, second = (machine.docker for machine in machines)
    first.run("docker", "build", "-q", "-t", "test/shout:1", ".", cwd=folder)
    share_images(first, second, ("test/shout:1",))


def home_of(service: Service) -> Home:
    """The home of the engine's agent."""
    return Home(service.airflow.earg / "engines" / "docker")


def graph_of(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = service.call("GET", f"/hogar/api/v1/dags/{GRAPH}/graph")
    return found


def pairs_of(service: Service) -> dict[str, list[dict[str, Any]]]:
    return {node["name"]: node["pairs"] for node in graph_of(service)["nodes"]}


def hosts_of(service: Service, name: str) -> list[str]:
    return [pair["host"] for pair in pairs_of(service)[name]]


def containers(machines: list[Machine]) -> list[str]:
    return [
        name for machine in machines for name in machine.docker.run("docker", "ps", "-aq").split()
    ]


def is_ready(service: Service) -> bool:
    return {node["state"] for node in graph_of(service)["nodes"]} == {"ready"}


def counts(replies: list[bytes]) -> list[int]:
    return sorted(int(reply.partition(b":")[0]) for reply in replies)


def test_a_triggered_graph_serves_on_both_hosts(
    service: Service,
    machines: list[Machine],
) -> None:
    assert service.trigger(GRAPH) == "The graph was not deployed before."
    assert is_ready(service)
    assert sorted(hosts_of(service, "Count")) == ["one", "two"]
    graph = graph_of(service)
    assert graph["engine"] == "docker"
    assert {host["name"]: host["dead"] for host in graph["hosts"]} == {"one": False, "two": False}
    sent = service.call("POST", f"/hogar/api/v1/dags/{GRAPH}/send", {"body": "you"})
    assert "1: HELLO YOU!" in json.dumps(sent)
    # A proxy and two replicas, a pair, two of them, and the frontend.
    assert len(containers(machines)) == 3 + 2 + 4 + 1


def test_a_host_that_dies_is_shown_and_costs_no_request_and_no_state(
    service: Service,
    machines: list[Machine],
    page: Page,  # noqa: F811
    console: list[str],  # noqa: F811
    picture: Callable[[str], None],  # noqa: F811
) -> None:
    graph = graph_of(service)
    url, frontend = graph["url"], graph["frontend_host"]
    lost, left = (m for m in sorted(machines, key=lambda m: m.name == frontend))
    page.goto(service.url + TAB)
    settle(page)
    expect(page.locator(".node.s-ready")).to_have_count(3)
    expect(page.locator("hogar-hosts")).to_contain_text("one")
    picture("docker-hosts-light")

    token = token_in(home_of(service))
    with requesting(url, b"you", token=token) as requests:
        service.wait(lambda: requests.answered > 3, WAIT, "some replies")
        lost.kill()
        expect(page.locator(".alarm.hosts")).to_contain_text(
            re.compile(rf"Host {lost.name} .*does not answer")
        )
        picture("docker-host-dead-light")
        answered = requests.answered
        service.wait(lambda: requests.answered > answered + 3, WAIT, "replies without the host")
        service.wait(
            lambda: [*hosts_of(service, "Greet"), *hosts_of(service, "Shout")] == [left.name] * 2,
            WAIT,
            "the stateless nodes run on the host that is left",
        )
    assert requests.failures == []
    # One before, by the test request: each counted once, none twice.
    assert counts(requests.replies) == list(range(2, requests.answered + 2))
    assert console == []


def test_a_host_that_comes_back_gets_its_share_again(
    service: Service,
    machines: list[Machine],
    page: Page,  # noqa: F811
) -> None:
    (lost,) = (machine for machine in machines if machine.daemon is None)
    lost.start()
    service.wait(
        lambda: not any(host["dead"] for host in graph_of(service)["hosts"]), WAIT, "it is back"
    )
    page.goto(service.url + TAB)
    settle(page)
    expect(page.locator(".alarm.hosts")).to_have_count(0)
    service.wait(lambda: is_ready(service), WAIT, "every node is ready again")
    # The next run finds nothing to change, and the backup is where the primary is not.
    service.trigger(GRAPH)
    service.wait(
        lambda: sorted(hosts_of(service, "Count")) == ["one", "two"],
        WAIT,
        "primary and backup are on two hosts",
    )


def test_undeploying_leaves_nothing_on_either_host(
    service: Service,
    machines: list[Machine],
) -> None:
    service.trigger("hogar_undeploy", {"graph": GRAPH, "earg_conn_id": "docker"})
    assert containers(machines) == []
    assert not graph_of(service)["deployed"]
