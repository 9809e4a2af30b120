"""HOGAR's Airflow provider: UDGL files become DAGs that deploy, probe and serve ML graphs.

Airflow calls :func:`get_provider_info` in every process it starts, so nothing heavy is imported
here.
"""

from __future__ import annotations

from typing import Any

DISTRIBUTION = "airflow-provider-hogar"


def get_provider_info() -> dict[str, Any]:
    """What Airflow shows of, and takes from, this provider (``provider_info.schema.json``).

    The connection form stands here because Airflow 3.2 and later draw it without importing the
    hook; older ones ask the hook for the same.
    """
    from importlib.metadata import version

    from hogar_provider.configuration import SECTION, provider_section

    return {
        "package-name": DISTRIBUTION,
        "name": "HOGAR",
        "description": "ML serving graphs: a UDGL file becomes a DAG that deploys, probes and "
        "serves it on EARG.",
        "versions": [version(DISTRIBUTION)],
        "integrations": [{"integration-name": "EARG", "tags": ["software"]}],
        "operators": [
            {
                "integration-name": "EARG",
                "python-modules": [
                    "hogar_provider.operators.batch",
                    "hogar_provider.operators.compile",
                    "hogar_provider.operators.deploy",
                    "hogar_provider.operators.probe",
                    "hogar_provider.operators.send",
                    "hogar_provider.operators.serve",
                    "hogar_provider.operators.train",
                    "hogar_provider.operators.undeploy",
                    "hogar_provider.operators.wire",
                ],
            }
        ],
        "sensors": [
            {"integration-name": "EARG", "python-modules": ["hogar_provider.sensors.graph"]},
        ],
        "triggers": [
            {
                "integration-name": "EARG",
                "python-modules": [
                    "hogar_provider.triggers.graph",
                    "hogar_provider.triggers.node",
                ],
            }
        ],
        "hooks": [
            {"integration-name": "EARG", "python-modules": ["hogar_provider.hooks.earg"]},
        ],
        "connection-types": [
            {
                "connection-type": "earg",
                "hook-class-name": "hogar_provider.hooks.earg.EargHook",
                "hook-name": "EARG",
                "ui-field-behaviour": {
                    "hidden-fields": ["host", "port", "schema", "login"],
                    "relabeling": {"password": "Token"},
                    "placeholders": {
                        "password": "only where the graphs ask for a token (EARG_TOKEN_FILE)"
                    },
                },
                "conn-fields": {
                    "engine": {
                        "label": "Engine",
                        "description": "What nodes run on: processes of the machine of the "
                        "Airflow task, containers of Docker hosts, or a Kubernetes namespace. "
                        "The others' settings stand in the extra (docs/engines.md).",
                        "schema": {
                            "type": "string",
                            "enum": ["local", "docker", "kubernetes"],
                            "default": "local",
                        },
                    },
                    "home": {
                        "label": "Agent's folder",
                        "description": "Where the agent on this machine keeps its socket and "
                        "logs. Empty: $EARG_HOME, else ~/.local/state/earg.",
                        "schema": {"type": ["string", "null"]},
                    },
                    "start": {
                        "label": "Start the agent",
                        "description": "Start an agent where none runs. Say no where the machine "
                        "has a service of its own for it.",
                        "schema": {"type": "boolean", "default": True},
                    },
                },
            }
        ],
        "bundles": [
            {"integration-name": "EARG", "python-modules": ["hogar_provider.bundles"]},
        ],
        "extra-links": [
            "hogar_provider.links.LiveViewLink",
            "hogar_provider.links.MetricsLink",
            "hogar_provider.links.NodeLogLink",
        ],
        "asset-uris": [{"schemes": ["earg"], "handler": None}],
        "cli": ["hogar_provider.cli.definition.get_hogar_cli_commands"],
        "config": {SECTION: provider_section()},
    }
