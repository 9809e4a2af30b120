"""Building the front end as setup.py does, where something is missing."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
WWW = ROOT / "hogar_provider" / "plugins" / "www"


@pytest.fixture
def build_www() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_www", ROOT / "scripts" / "build_www.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault("build_www", module)
    spec.loader.exec_module(module)
    return module


def node(folder: Path, version: str) -> None:
    for name in ("node", "npm"):
        program = folder / name
        program.write_text(f"#!/bin/sh\necho {version}\n")
        program.chmod(0o755)


@pytest.mark.parametrize(
    ("version", "fetched"), [("v20.19.0", False), ("v24.1.0", False), ("v18.20.4", True)]
)
def test_node_is_fetched_where_the_machine_has_none_that_is_new_enough(
    version: str,
    fetched: bool,
    build_www: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(build_www.SKIP, raising=False)
    node(tmp_path, version)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert build_www.build_requires() == ([build_www.NODE_PACKAGE] if fetched else [])


def test_whoever_wants_no_live_view_needs_no_node(
    build_www: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv(build_www.SKIP, "1")
    assert build_www.build_requires() == []
    build_www.build_for_setup(tmp_path / "dist")
    assert not (tmp_path / "dist").exists()
    assert "without the live view" in capsys.readouterr().err


def test_a_registry_that_cannot_be_reached_is_told_in_a_sentence(
    build_www: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(build_www.SKIP, raising=False)
    node(tmp_path, "v22.12.0")
    (tmp_path / "npm").write_text("#!/bin/sh\necho npm error code ENOTFOUND\nexit 1\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(SystemExit, match="npm cannot reach its registry") as stopped:
        build_www.build_for_setup(tmp_path / "dist")
    assert "HOGAR_SKIP_WWW=1" in str(stopped.value)
    assert not (tmp_path / "dist").exists()


def test_the_lock_pins_contents_and_names_no_host() -> None:
    text = (WWW / "package-lock.json").read_text()
    assert "://" not in "".join(line for line in text.splitlines() if '"url"' not in line)
    packages = json.loads(text)["packages"]
    assert len(packages) > 20
    for name, package in packages.items():
        assert "resolved" not in package
        assert not name or package["integrity"].startswith("sha512-")
