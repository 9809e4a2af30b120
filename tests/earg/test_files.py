"""Files that the runtime reads are bounded, and say nothing that is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from earg import ledger
from earg.images import ImagesError, read_images
from earg.ledger import LedgerError


def test_a_few_lines_of_aliases_do_not_fill_the_memory(tmp_path: Path) -> None:
    bomb = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    bomb += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    bomb += ["image: {entrypoint: 'm:C', env: {X: *a11}}"]
    path = tmp_path / "images.yaml"
    path.write_text("\n".join(bomb), encoding="utf-8")
    with pytest.raises(ImagesError, match=r"aliases .* are not taken"):
        read_images(path)


def test_an_images_file_makes_no_python_objects(tmp_path: Path) -> None:
    path = tmp_path / "images.yaml"
    path.write_text("x: !!python/object/apply:os.getpid []", encoding="utf-8")
    with pytest.raises(ImagesError, match="is not YAML"):
        read_images(path)


@pytest.mark.parametrize("value", ["[1, 2]", "{a: b}"])
def test_an_environment_variable_is_one_value(tmp_path: Path, value: str) -> None:
    path = tmp_path / "images.yaml"
    path.write_text(f"image: {{entrypoint: 'm:C', env: {{X: {value}}}}}", encoding="utf-8")
    with pytest.raises(ImagesError, match="env X must be one value"):
        read_images(path)


def test_a_ledger_is_read_no_further_than_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "MAX_BYTES", 1000)
    path = tmp_path / "ledger.json"
    path.write_text(" " * 1001, encoding="utf-8")
    with pytest.raises(LedgerError, match="larger than 1000 bytes"):
        ledger.read(path)
    path.write_text("[" * 999, encoding="utf-8")
    with pytest.raises(LedgerError, match="damaged"):
        ledger.read(path)
