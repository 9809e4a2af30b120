"""What the ``compose`` target writes, read back as Compose does. That a real daemon runs it is in
``tests/containers``."""

from __future__ import annotations

from typing import Any

import yaml

import udgl
from earg.config import read_static
from earg.extras import read_extras
from earg.wiring_places import read_places
from tests.targets.support import golden_graphs
from udgl.targets import target

GRAPH = """\
meta
name Sentiment
version 1
operator Split
image team/split:1
replicas 3
gpu 1
memory 1GiB
cpu 0.5
env PRICE=$5
operator Count
image team/count:1
stateful Yes
host gpu-box
logical flow
distribute
Split -> Count
"""


def compiled(text: str) -> dict[str, str]:
    compilation = target("compose").compile_graph(udgl.parse(text, "g.udgl"))
    return {file.name: file.text for file in compilation.files}


def services(text: str = GRAPH) -> dict[str, dict[str, Any]]:
    files = compiled(text)
    (name,) = (name for name in files if name.endswith(".compose.yaml"))
    found: dict[str, dict[str, Any]] = yaml.safe_load(files[name])["services"]
    return found


def test_a_pair_is_two_services_and_a_stateful_one_four() -> None:
    assert set(services()) == {
        "split",
        "split-2",
        "split-3",
        "split-proxy",
        "count",
        "count-proxy",
        "count-backup",
        "count-backup-proxy",
        "frontend",
        "wiring",
    }


def test_what_the_wiring_mounts_is_written_and_names_services() -> None:
    for text in (GRAPH, *golden_graphs().values()):
        try:
            files = compiled(text)
        except udgl.UdglError:
            continue
        found = services(text)
        mounted = [volume.split(":")[0] for volume in found["wiring"]["volumes"]]
        assert {name.removeprefix("./") for name in mounted} == {
            name for name in files if not name.endswith(".compose.yaml")
        }
        by_end = {name.split(".", 1)[1]: text for name, text in files.items()}
        config = read_static(by_end["graph.earg"], choices=True)
        read_extras(by_end.get("extras.json", ""), config)
        places = read_places(by_end["places.yaml"], config)
        hosts = {places.frontend}
        for pairs in places.nodes:
            for pair in pairs:
                hosts |= {pair.proxy, *pair.models}
                assert found[pair.proxy]["environment"]["PROXY_NAME"] == pair.proxy_name
        assert hosts == set(found) - {"wiring"}
        assert all(service["hostname"] == name for name, service in found.items())


def test_factors_are_where_compose_looks_for_them() -> None:
    model = services()["split-2"]
    assert (model["cpus"], model["mem_limit"]) == (0.5, "1073741824b")
    (device,) = model["deploy"]["resources"]["reservations"]["devices"]
    assert (device["count"], device["capabilities"]) == (1, ["gpu"])
    # A single $ would be a variable of Compose's own.
    assert model["environment"]["PRICE"] == "$$5"


def test_no_container_may_more_than_it_needs_and_only_the_frontend_has_a_port() -> None:
    for name, service in services().items():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["environment"]["EARG_TOKEN_FILE"] == "/run/secrets/token"
        assert service["restart"] == "unless-stopped"
        assert ("ports" in service) is (name == "frontend")
    (port,) = services()["frontend"]["ports"]
    assert port == "${HOGAR_HTTP:-127.0.0.1:8500}:8500"


def test_only_the_proxies_of_a_stateful_operator_are_fenced() -> None:
    fenced = [n for n, one in services().items() if one["environment"].get("FENCED") == "true"]
    assert fenced == ["count-proxy", "count-backup-proxy"]


def test_an_operator_called_as_a_service_of_the_graph_gets_another_name() -> None:
    found = services("meta\nname g\nversion 1\noperator wiring\nimage a:1")
    assert found["wiring"]["command"][:2] == ["earg", "wire"]
    assert found["wiring-x"]["image"] == "a:1"
