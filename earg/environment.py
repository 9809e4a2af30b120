"""The environment that the runtime's processes get: what a program needs to run, no secrets.

Whoever starts the agent may hold passwords in its environment (a scheduler's task does); a model
sees only the names below and what its own images entry says. The frontend alone, which exports
traces, gets OpenTelemetry's variables (OTEL_*): among them are headers that hold keys.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from earg.security import SETTINGS

_PASSED_ON = re.compile(
    r"""(?x)
    PATH | HOME | USER | LOGNAME | SHELL | LANG | LANGUAGE | LC_\w+ | TZ | TMPDIR
    | VIRTUAL_ENV | PYTHONPATH | PYTHONHOME | LD_LIBRARY_PATH | LD_PRELOAD
    | XDG_\w+ | SSL_CERT_FILE | SSL_CERT_DIR | REQUESTS_CA_BUNDLE
    | CUDA_\w+ | NVIDIA_\w+ | ROCR_\w+ | HIP_\w+
    | OMP_\w+ | MKL_\w+ | OPENBLAS_\w+ | NUMEXPR_\w+
    | HF_HOME | HF_HUB_OFFLINE | TRANSFORMERS_OFFLINE | TORCH_HOME | NLTK_DATA
    | EARG_\w+
    """
)

_EARG = re.compile(r"EARG_\w+")

QUIET = {"PYTHONUNBUFFERED": "1", "GRPC_VERBOSITY": "ERROR"}
"""For processes that write into a log: what they print is there at once, and gRPC does not add a
line for each stranger that knocks, which would let the log grow as fast as strangers like."""


_TELEMETRY = re.compile(r"OTEL_\w+")


def process_environment(
    environment: Mapping[str, str] | None = None, *, telemetry: bool = False
) -> dict[str, str]:
    """The part of ``environment`` (the process's own by default) that is handed on; with
    ``telemetry`` OpenTelemetry's variables, too."""
    source = os.environ if environment is None else environment
    return {
        name: value
        for name, value in source.items()
        if _PASSED_ON.fullmatch(name) or (telemetry and _TELEMETRY.fullmatch(name))
    }


def model_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """What of it a model gets: of the runtime's own settings only those without which its proxy
    could not speak to it, and EARG_HOME, which tells whose process it is."""
    return {
        name: value
        for name, value in process_environment(environment).items()
        if name in (*SETTINGS, "EARG_HOME") or not _EARG.fullmatch(name)
    }
