"""What the Docker engine decides without asking any daemon."""

from __future__ import annotations

import json
import subprocess
import sys
from ipaddress import IPv4Network
from typing import Any

import pytest

from earg.images import Implementation
from earg.plan import read_plan
from earg.platform import PairOrder, PlatformError
from hogar_provider.engines.docker_containers import Making, Needs, pair_of
from hogar_provider.engines.docker_daemon import login_for
from hogar_provider.engines.docker_names import plain_name
from hogar_provider.engines.docker_network import (
    Addresses,
    GraphNetwork,
    containers_of,
    free_subnets,
    prefix_for,
)
from hogar_provider.engines.docker_placement import Room, choose
from hogar_provider.engines.docker_settings import (
    DockerHost,
    DockerSettings,
    DockerTls,
    RegistryLogin,
    SettingsError,
    read_settings,
)

GIB = 2**30


def room(name: str, **given: Any) -> Room:
    labels, gpus = given.pop("labels", ()), given.pop("gpus", ())
    host = DockerHost(name, labels=labels, gpus=gpus)
    return Room(host, **{"cpus": 4, "memory": 8 * GIB, "free_gpus": gpus, **given})


# --- settings -----------------------------------------------------------------------------------


def test_settings_come_back_from_their_text_and_show_no_secret() -> None:
    login = RegistryLogin("registry.test:5000", "ann", "hunter2")
    tls = DockerTls("/ca.pem", "/cert.pem", "/key.pem")
    hosts = (
        DockerHost("one", "tcp://10.0.0.1:2376", tls, login, ("zone=a",), ("0", "1")),
        DockerHost("two", "tcp://10.0.0.2:2376", publish="0.0.0.0", subnet="10.9.0.0/24"),
    )
    settings = DockerSettings("mine", hosts, pull="never", ports=(8000, 8010), token="s3cret" * 6)
    assert read_settings(settings.to_json()) == settings
    assert "hunter2" not in repr(settings)
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colour": "red"}, "unknown 'colour'"),
        ({"engine": None}, "engine: expected text"),
        ({"hosts": []}, "has no hosts"),
        ({"hosts": [{"name": "a"}, {"name": "a"}]}, "two hosts are called a"),
        ({"hosts": [{"name": "a", "url": "ftp://x"}]}, "host a: its daemon's URL is 'ftp://x'"),
        ({"hosts": [{"name": "a", "subnet": "10.0.0.0/30"}]}, "fewer than 16 addresses"),
        ({"hosts": [{"name": "a", "gpus": [1]}]}, "host a: gpus: expected text"),
        ({"hosts": [{"name": "a", "publish": "everywhere"}]}, "must be an IPv4 address"),
        ({"hosts": [{"name": f"h{n}"} for n in range(17)]}, "each needs a 'subnet'; h0 has none"),
        ({"pull": "sometimes"}, "pull must be one of missing, always, never"),
        ({"ports": [9, 8]}, "ports must be two of 1 to 65535"),
        ({"dead_after": 0}, "dead_after must be above 0"),
        ({"stop_grace": 1.5}, "stop_grace: expected a whole number"),
    ],
)
def test_settings_that_make_no_sense_are_refused_with_the_place(
    change: dict[str, Any], said: str
) -> None:
    text = json.dumps(json.loads(DockerSettings("mine").to_json()) | change)
    with pytest.raises(SettingsError, match=said):
        read_settings(text)


def test_hosts_share_the_pool_unless_they_have_a_subnet() -> None:
    three = tuple(DockerHost(name) for name in "abc")
    subnets = [DockerSettings("mine", three).subnet_of(name) for name in "abc"]
    assert [str(one) for one in subnets] == ["10.213.0.0/20", "10.213.16.0/20", "10.213.32.0/20"]
    alone = DockerSettings("mine", (DockerHost("a", subnet="10.9.0.0/24"),))
    assert str(alone.subnet_of("a")) == "10.9.0.0/24"


def test_frontends_are_reached_where_their_daemon_is() -> None:
    assert DockerHost("a").reached_at == "127.0.0.1"
    assert DockerHost("a", "tcp://10.0.0.2:2376").reached_at == "10.0.0.2"
    assert DockerHost("a", "tcp://gpu.test:2376", address="graphs.test").reached_at == "graphs.test"


def test_a_login_is_shown_to_its_own_registry_alone() -> None:
    hub = RegistryLogin("https://index.docker.io/v1/", "ann", "x")
    assert login_for(hub, "library/python") == {"username": "ann", "password": "x"}
    assert login_for(hub, "registry.test:5000/greet") is None
    own = RegistryLogin("registry.test:5000", "ann", "x")
    assert login_for(own, "registry.test:5000/greet") is not None
    assert login_for(own, "python") is None


def test_the_engines_agent_loads_no_airflow() -> None:
    code = "import sys, hogar_provider.engines.docker_agent; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "hogar_provider" in loaded
    assert loaded & {"airflow", "lark", "networkx"} == set()


# --- where a pair is started ----------------------------------------------------------------------


def test_the_least_loaded_host_that_is_not_avoided_is_chosen() -> None:
    rooms = [room("one", load=2.0), room("two", load=1.0), room("big", load=3.0, cpus=64)]
    assert choose("it", Needs(), rooms).host.name == "big"
    assert choose("it", Needs(), rooms, avoid={"big"}).host.name == "two"
    # Where no other one fits, one that is to be avoided is better than none.
    assert choose("it", Needs(), rooms[:1], avoid={"one"}).host.name == "one"


def test_who_needs_no_gpu_leaves_them_to_others() -> None:
    rooms = [room("gpus", gpus=("0", "1")), room("plain")]
    assert choose("it", Needs(), rooms).host.name == "plain"
    assert choose("it", Needs(gpu=1, models=2), rooms).host.name == "gpus"


def test_an_error_names_every_host_and_what_does_not_fit() -> None:
    rooms = [
        room("one", labels=("zone=a",)),
        room("two", gpus=("0",), free_gpus=(), labels=("zone=b",)),
    ]
    with pytest.raises(PlatformError) as raised:
        choose("Greet", Needs(gpu=1, host="zone=b"), rooms, {"three": "host three: silent"})
    assert str(raised.value) == (
        "no host fits Greet: one is not labelled zone=b (its labels: one, zone=a); "
        "two has 0 of its 1 GPUs free, and 1 are asked; host three: silent"
    )
    with pytest.raises(PlatformError, match="one has 4 CPUs, and a model asks 8; two"):
        choose("Greet", Needs(cpu=8.0), rooms)
    with pytest.raises(PlatformError, match="bytes of memory, and a model asks"):
        choose("Greet", Needs(memory=9 * GIB), rooms)
    with pytest.raises(PlatformError, match="there is none"):
        choose("Greet", Needs(), [])


# --- networks and addresses -----------------------------------------------------------------------


def test_an_address_is_given_again_as_late_as_possible() -> None:
    addresses = Addresses()
    network = GraphNetwork("net", IPv4Network("10.9.0.0/28"), frozenset({"10.9.0.9"}))
    first = addresses.take(network, (), 3)
    assert first == ("10.9.0.2", "10.9.0.3", "10.9.0.4")
    assert addresses.take(network, first, 2) == ("10.9.0.5", "10.9.0.6")
    # One that follows another engine's agent goes on after the highest.
    assert Addresses().take(network, ("10.9.0.7",), 2) == ("10.9.0.8", "10.9.0.10")
    assert addresses.take(network, (), 8)[-2:] == ("10.9.0.14", "10.9.0.2")
    with pytest.raises(PlatformError, match=r"no 2 free addresses left in 10\.9\.0\.0/28"):
        addresses.take(network, [f"10.9.0.{n}" for n in range(3, 15)], 2)


def test_a_graph_gets_a_part_of_the_subnet_that_nobody_uses() -> None:
    host = IPv4Network("10.9.0.0/24")
    used = [IPv4Network("10.9.0.0/26"), IPv4Network("172.17.0.0/16"), IPv4Network("10.9.0.192/28")]
    assert [str(one) for one in free_subnets(host, 26, used)] == ["10.9.0.64/26", "10.9.0.128/26"]
    assert list(free_subnets(host, 26, [IPv4Network("10.0.0.0/8")])) == []


@pytest.mark.parametrize(("containers", "prefix"), [(1, 26), (30, 26), (31, 25), (600, 21)])
def test_a_network_has_room_for_twice_the_containers(containers: int, prefix: int) -> None:
    assert prefix_for(containers) == prefix
    assert 2 ** (32 - prefix) - 3 >= 2 * containers


def test_graphs_whose_names_look_alike_have_names_of_their_own() -> None:
    assert len({plain_name(name) for name in ("a.b", "a_b", "A.b", "a-b", "ab")}) == 5
    assert plain_name("hello") == "hello"


# --- what containers are told ---------------------------------------------------------------------


def test_models_share_out_the_gpus_and_get_what_the_graph_says() -> None:
    text = "1\n0\nGreet,1,test/greet:1,false,8\n"
    plan = read_plan(
        text, json.dumps({"nodes": {"Greet": {"replicas": 2, "gpu": 2, "env": {"A": "B"}}}})
    )
    runs = Implementation("models:Other", "/dags", (("HOGAR_ARTIFACT", "/trained/7"),))
    order = PairOrder("Hello", "3", plan, 1, 0, runs, "t" * 32)
    making = Making("mine", "Hello", "3", "net", 5, "", True, True)
    addresses = ("10.9.0.2", "10.9.0.3", "10.9.0.4")
    one, two, proxy = pair_of(making, order, "hogar/node:1", addresses, ("0", "1", "2", "3"))
    assert (one.gpus, two.gpus) == (("0", "1"), ("2", "3"))
    assert two.environment["LISTEN_IP"] == "10.9.0.4"
    assert two.environment["A"] == "B"
    assert two.environment["EARG_ENTRYPOINT"] == "models:Other"
    # The folder itself is copied into the container.
    assert two.environment["HOGAR_ARTIFACT"] != "/trained/7" == two.artifact
    assert proxy.environment["PROXY_NAME"] == proxy.address == "10.9.0.2"
    # One that the graph itself names is in the image.
    own = {"nodes": {"Greet": {"env": {"HOGAR_ARTIFACT": "/in/the/image"}}}}
    order = PairOrder("Hello", "3", read_plan(text, json.dumps(own)), 1, 0, runs, "t" * 32)
    one, _ = pair_of(making, order, "hogar/node:1", addresses[:2], ())
    assert (one.artifact, one.environment["HOGAR_ARTIFACT"]) == ("", "/in/the/image")
    assert {one.name, two.name, proxy.name} == {
        f"hogar-{making.stem.split('-')[1]}-hello-185f-1-greet-0-{part}"
        for part in ("model", "model-2", "proxy")
    }
    assert containers_of(plan) == 4
