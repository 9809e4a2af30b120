"""Runs the pods of Kubernetes objects on a Docker daemon, as far as the objects here go.

A stand-in for a cluster, which tests cannot have: a pod's containers share a network namespace, a
headless Service is a name of its pods' addresses, volumes are folders. It heeds commands,
variables, mounts, users and what confines a container; it knows no scheduling, probes, policies
or budgets.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.containers.docker_host import DockerHost
from udgl.targets._pairs import NODE_IMAGE

Object = dict[str, Any]


@dataclass
class Pod:
    """A pod that runs; ``containers`` are Docker's ids by name."""

    name: str
    spec: Object
    labels: dict[str, str]
    names: list[str]
    ip: str = ""
    pause: str = ""
    containers: dict[str, str] = field(default_factory=dict)


class Kubelet:
    """Applies objects, in a network of their own."""

    def __init__(
        self, docker: DockerHost, folder: Path, secrets: dict[str, dict[str, str]]
    ) -> None:
        self._docker = docker
        self._folder = folder
        self._secrets = secrets
        self._config_maps: dict[str, dict[str, str]] = {}
        self._made: list[str] = []
        self.pods: dict[str, Pod] = {}

    def apply(self, text: str) -> None:
        """Run all pods of the objects."""
        self._docker.run("docker", "network", "create", "pods")
        objects = list(yaml.safe_load_all(text))
        services = [one for one in objects if one["kind"] == "Service"]
        for one in objects:
            if one["kind"] == "ConfigMap":
                self._config_maps[one["metadata"]["name"]] = one["data"]
        for one in objects:
            if one["kind"] not in ("Deployment", "StatefulSet"):
                continue
            template, name = one["spec"]["template"], one["metadata"]["name"]
            for number in range(one["spec"]["replicas"]):
                is_set = one["kind"] == "StatefulSet"
                labels = template["metadata"]["labels"]
                own = f"{name}-{number}" if is_set else f"{name}-5d59d67564-abcde"
                names = [
                    service["metadata"]["name"]
                    for service in services
                    if service["spec"]["selector"].items() <= labels.items()
                    and service["spec"].get("clusterIP") == "None"
                ]
                if is_set:
                    names.append(f"{own}.{one['spec']['serviceName']}")
                pod = self.pods[own] = Pod(own, template["spec"], labels, names)
                self._start(pod)

    def replace(self, pod: Pod) -> None:
        """End a pod and start another one in its place, at another address."""
        before = pod.ip
        self._docker.run("docker", "rm", "-f", *pod.containers.values(), pod.pause)
        # What it has given back may be what the next container takes.
        self._run("-i", "--network", "pods", NODE_IMAGE, "sh", "-c", "read end")
        self._start(pod)
        assert pod.ip != before

    def close(self) -> None:
        """End all pods."""
        if self._made:
            self._docker.run("docker", "rm", "-f", *reversed(self._made))
        self._docker.run("docker", "network", "rm", "pods")

    def _start(self, pod: Pod) -> None:
        aliases = [part for name in pod.names for part in ("--network-alias", name)]
        # It holds the network namespace, as a cluster's pause container does.
        options = ["--network", "pods", "--hostname", pod.name, *aliases]
        pause = pod.pause = self._run("-i", *options, NODE_IMAGE, "sh", "-c", "read end")
        found = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        pod.ip = self._docker.run("docker", "inspect", "-f", found, pause).strip()
        for container in pod.spec["initContainers"]:
            options = ["--network", "none", *self._options(pod, container)]
            self._docker.run("docker", "run", "--rm", *options)
        for container in pod.spec["containers"]:
            options = ["--restart", "always", "--network", f"container:{pause}"]
            pod.containers[container["name"]] = self._run(*options, *self._options(pod, container))

    def _run(self, *options: str) -> str:
        made = self._docker.run("docker", "run", "-d", *options).strip()
        self._made.append(made)
        return made

    def _options(self, pod: Pod, container: Object) -> list[str]:
        who = pod.spec["securityContext"]
        confined = container["securityContext"]
        options = ["--user", f"{who['runAsUser']}:{who['runAsGroup']}"]
        options += ["--cap-drop", *confined["capabilities"]["drop"]]
        if not confined["allowPrivilegeEscalation"]:
            options += ["--security-opt", "no-new-privileges:true"]
        if confined.get("readOnlyRootFilesystem"):
            options.append("--read-only")
        fields = {"status.podIP": pod.ip, "metadata.name": pod.name}
        for variable in container.get("env", ()):
            value = variable.get("value")
            if value is None:
                value = fields[variable["valueFrom"]["fieldRef"]["fieldPath"]]
            options += ["--env", f"{variable['name']}={value}"]
        volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
        for mount in container.get("volumeMounts", ()):
            folder = self._volume(pod, volumes[mount["name"]])
            mode = ":ro" if mount.get("readOnly") else ""
            options += ["--volume", f"{folder}:{mount['mountPath']}{mode}"]
        return [*options, container["image"], *container.get("command", ())]

    def _volume(self, pod: Pod, volume: Object) -> Path:
        folder = self._folder / re.sub(r"\W", "-", f"{pod.name}-{volume['name']}")
        if folder.exists():
            return folder
        folder.mkdir()
        data: dict[str, str] = {}
        if "secret" in volume:
            data = self._secrets[volume["secret"]["secretName"]]
        elif "configMap" in volume:
            data = self._config_maps[volume["configMap"]["name"]]
        for name, text in data.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o644)
        os.chown(folder, 0, pod.spec["securityContext"]["fsGroup"])
        folder.chmod(0o2775)
        return folder
