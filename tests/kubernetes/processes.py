"""The real processes of a graph on loopback, in the place of the containers of its pods."""

from __future__ import annotations

import base64
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from earg.addresses import EARG_PORTS, AddressPool
from udgl.targets._pairs import CONFIG, HTTP_PORT, PLACES, WIRING_PORT

MODELS = """
import os

from earg.artifact import read_artifact


class Greet:
    def __init__(self):
        trained = "HOGAR_ARTIFACT" in os.environ
        self.word = read_artifact().decode() if trained else "hello"

    def predict(self, request):
        return f"{self.word} {request}"


class Count:
    def __init__(self):
        self.count = 0

    def predict(self, request):
        self.count += 1
        return f"{self.count}: {request}"

    def get_state(self):
        return str(self.count).encode()

    def set_state(self, state):
        self.count = int(state)
"""

PAIRS = {
    "hello-greet": "Greet",
    "hello-count-0": "Count",
    "hello-count-1": "Count",
}
"""The pairs of the tests' graph: pod (or workload) and class."""


class Processes:
    """Starts and kills them. All show the token."""

    def __init__(self, folder: Path, pool: AddressPool) -> None:
        folder.mkdir()
        (folder / "counting_models.py").write_text(MODELS)
        self._folder = folder
        self.ips = {name: pool.take() for name in (*PAIRS, "hello-frontend", "hello-wiring")}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def ports(self) -> dict[tuple[str, int], tuple[str, int]]:
        """Where the pods' ports are that are forwarded to."""
        return {
            ("hello-frontend", HTTP_PORT): (self.ips["hello-frontend"], HTTP_PORT),
            ("hello-wiring", WIRING_PORT): (self.ips["hello-wiring"], WIRING_PORT),
        }

    def give_token(self, token: str) -> None:
        """The token of all that is started from now on."""
        file = self._folder / "token"
        file.touch(0o600)
        file.write_text(token)

    def start_pods(self, models: Mapping[str, Path] = MappingProxyType({})) -> None:
        """Start all but the wiring; ``models`` are the folders that are mounted as trained models,
        by their pods."""
        for name, entrypoint in PAIRS.items():
            more = {"EARG_ENTRYPOINT": f"counting_models:{entrypoint}"}
            if name in models:
                more["HOGAR_ARTIFACT"] = str(models[name])
            fenced = {"FENCED": "true"} if entrypoint == "Count" else {}
            self._start(f"{name} model", ["-m", "earg.model"], name, more)
            self._start(f"{name} proxy", ["-m", "earg.proxy"], name, fenced)
        more = {
            "ENTRY_PROXY_NAME": self.ips["hello-greet"],
            "ENTRY_PROXY_PORT": str(EARG_PORTS.proxy),
            "GRAPH_NAME": "hello",
            "GRAPH_VERSION": "1",
            "NODE_NAMES": "Greet,Count",
        }
        self._start("frontend", ["-m", "earg.frontend"], "hello-frontend", more)

    def mount(self, deployment: dict[str, Any], config_maps: list[dict[str, Any]]) -> Path:
        """The folder that a pod of the workload has in the place of its trained model, made of a
        ConfigMap as a kubelet makes it."""
        pod = deployment["spec"]["template"]["spec"]
        (model,) = (one for one in pod["containers"] if one["name"] == "model")
        (told,) = (one["value"] for one in model["env"] if one["name"] == "HOGAR_ARTIFACT")
        (mount,) = (one for one in model["volumeMounts"] if one["mountPath"] == told)
        (volume,) = (one for one in pod["volumes"] if one["name"] == mount["name"])
        source = volume["configMap"]
        (data,) = (
            one["binaryData"] for one in config_maps if one["metadata"]["name"] == source["name"]
        )
        folder = self._folder / deployment["metadata"]["name"]
        for item in source["items"]:
            path = folder / item["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(base64.b64decode(data[item["key"]]))
            path.chmod(source["defaultMode"])
        return folder

    def start_wiring(self, deployment: dict[str, Any], config_map: dict[str, Any]) -> None:
        """Start the wiring with the files of its ConfigMap, by its pod's command; only the
        addresses are others."""
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        command, data = container["command"], config_map["data"]
        places = yaml.safe_load(data[PLACES])
        places["frontend"] = self.ips["hello-frontend"]
        for pairs in places["nodes"].values():
            for pair in pairs:
                host = self.ips[pair["proxy"].partition(".")[0]]
                pair.update(proxy=host, models=[host])
        (self._folder / CONFIG).write_text(data[CONFIG])
        (self._folder / PLACES).write_text(yaml.safe_dump(places))
        assert command[0] == "earg"
        arguments = [
            part.replace("/etc/earg", str(self._folder)).replace(
                "0.0.0.0", self.ips["hello-wiring"]
            )
            for part in command[1:]
        ]
        self._start("wiring", ["-m", "earg.cli", *arguments], "hello-wiring", {})

    def kill(self, name: str) -> None:
        """Kill one of them."""
        process = self._running.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        """Kill all."""
        for name in list(self._running):
            self.kill(name)

    def _start(self, name: str, command: list[str], host: str, more: dict[str, str]) -> None:
        ip = self.ips[host]
        variables = {
            "LISTEN_IP": ip,
            "PROXY_NAME": ip,
            "MODEL_PORT": str(EARG_PORTS.model),
            "PROXY_PORT": str(EARG_PORTS.proxy),
            "METRICS_PORT": str(EARG_PORTS.metrics),
            "HTTP_PORT": str(HTTP_PORT),
            "EARG_FOLDER": str(self._folder),
            "EARG_TOKEN_FILE": str(self._folder / "token"),
        }
        with (self._folder / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, *command],
                env=os.environ | variables | more,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def logs(self) -> str:
        """The ends of all logs, for a failure."""
        parts = [
            f"--- {path.name}\n{path.read_text()[-1500:]}"
            for path in sorted(self._folder.glob("*.log"))
        ]
        return "\n".join(parts)
