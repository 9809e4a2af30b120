"""The build steps that setup.cfg cannot say: the gRPC code from earg/protos/*.proto, and the live
view's front end from hogar_provider/plugins/www/."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent

# A build backend does not put the folder of setup.py on the path.
sys.path.insert(0, str(ROOT / "scripts"))
import build_www  # noqa: E402
import node_package  # noqa: E402


class BuildWithOutput(build_py):
    """``build_py`` that puts ``*_pb2`` modules beside the ``.proto`` files they come from, and the
    front end into ``hogar_provider/plugins/www/dist/``.

    In an editable install both go into the checkout, where git ignores them; otherwise into the
    build folder, and the checkout stays as it is.
    """

    def run(self) -> None:
        super().run()
        target = ROOT if self.editable_mode else Path(self.build_lib)
        write_protos(target)
        if not node_package.chosen():
            build_www.build_for_setup(target / "hogar_provider" / "plugins" / "www" / "dist")


def write_protos(target: Path) -> None:
    """Run protoc on every ``.proto`` file; ``target`` is the folder that holds ``earg/``."""
    from grpc_tools import protoc

    (target / "earg" / "protos").mkdir(parents=True, exist_ok=True)
    sources = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "earg/protos").glob("*.proto"))
    arguments = [
        "protoc",
        f"--proto_path={ROOT}",
        f"--proto_path={files('grpc_tools') / '_proto'}",
        f"--python_out={target}",
        f"--pyi_out={target}",
        f"--grpc_python_out={target}",
        *sources,
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc failed; its messages are above")


setup(
    cmdclass={"build_py": BuildWithOutput},
    # pip reads these before it builds: a machine with a Node of its own fetches no other.
    setup_requires=[] if node_package.chosen() else build_www.build_requires(),
    **node_package.arguments(),
)
