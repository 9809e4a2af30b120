"""Which files of a folder are graphs, in which order, and which images file each has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hogar_provider.graph_files import find_graph_files, images_for


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_graph_files(folder)]


def test_files_come_by_name_and_before_those_of_subfolders(tmp_path: Path) -> None:
    put(tmp_path, "b.udgl", "a/z.udgl", "a/b/c.udgl", "a.udgl", "a/y.udgl", "a.udgl.txt", "a.py")
    assert found(tmp_path) == ["a.udgl", "b.udgl", "a/y.udgl", "a/z.udgl", "a/b/c.udgl"]


def test_a_copy_comes_after_what_it_was_copied_from(tmp_path: Path) -> None:
    put(tmp_path, "g copy.udgl", "g (1).udgl", "g-2.udgl", "g.udgl")
    assert found(tmp_path)[0] == "g.udgl"


def test_odd_names_are_names(tmp_path: Path) -> None:
    put(tmp_path, "größe →.udgl", "a b/c'd.udgl", "UPPER.UDGL", "-.udgl")
    assert len(found(tmp_path)) == 4


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    put(tmp_path, ".a.udgl", ".git/b.udgl", "c/.d/e.udgl", "f.udgl")
    assert found(tmp_path) == ["f.udgl"]


def test_a_folder_below_a_hidden_one_is_not_hidden(tmp_path: Path) -> None:
    put(tmp_path / ".airflow/dags", "a.udgl")
    assert found(tmp_path / ".airflow/dags") == ["a.udgl"]


def test_folders_that_are_called_like_a_graph_are_none(tmp_path: Path) -> None:
    put(tmp_path, "folder.udgl/a.udgl")
    assert found(tmp_path) == ["folder.udgl/a.udgl"]


def test_what_airflow_ignores_is_ignored(tmp_path: Path) -> None:
    put(tmp_path, "a.udgl", "drafts/b.udgl", "c/d.udgl", "c/e.udgl")
    (tmp_path / ".airflowignore").write_text("drafts/\n")
    (tmp_path / "c/.airflowignore").write_text("e.*\n")
    assert found(tmp_path) == ["a.udgl", "c/d.udgl"]


def test_links_are_followed(tmp_path: Path) -> None:
    put(tmp_path, "elsewhere/a.udgl", "dags/b.udgl")
    (tmp_path / "dags/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "dags/c.udgl").symlink_to(tmp_path / "elsewhere/a.udgl")
    (tmp_path / "dags/d.udgl").symlink_to(tmp_path / "nowhere.udgl")
    assert found(tmp_path / "dags") == ["b.udgl", "c.udgl", "linked/a.udgl"]


def test_a_loop_of_links_is_followed_once(tmp_path: Path) -> None:
    put(tmp_path, "a/b.udgl", "c.udgl")
    (tmp_path / "a/back").symlink_to(tmp_path / "a")
    (tmp_path / "a/up").symlink_to("..")
    (tmp_path / "itself").symlink_to("itself")
    (tmp_path / "itself.udgl").symlink_to("itself.udgl")
    assert found(tmp_path) == ["c.udgl", "a/b.udgl"]


def test_of_two_ways_to_a_folder_the_one_without_a_link_is_taken(tmp_path: Path) -> None:
    put(tmp_path, "z/b.udgl")
    (tmp_path / "a").symlink_to("z")
    assert found(tmp_path) == ["z/b.udgl"]


def test_a_folder_that_cannot_be_read_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a/b.udgl", "c/d.udgl")
    scandir = os.scandir

    def refusing(path: str) -> object:
        if Path(path).name == "a":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert found(tmp_path) == ["c/d.udgl"]


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (["images.yaml"], "../../images.yaml"),
        (["images.yaml", "a/images.yaml"], "../images.yaml"),
        (["images.yaml", "a/b/images.yaml"], "images.yaml"),
        ([], "images.yaml"),
        (["../images.yaml"], "images.yaml"),
    ],
)
def test_the_images_file_is_the_nearest_one_up_to_the_dags_folder(
    there: list[str], expected: str, tmp_path: Path
) -> None:
    folder = tmp_path / "dags"
    put(folder, "a/b/g.udgl", *there)
    assert images_for(folder / "a/b/g.udgl", folder) == expected
