"""Files are written whole and safe from a power cut, or an error names the one that cannot be."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from bench.system.errors import UnwritableError, missing_file
from bench.system.paths import publish, whole_file, write_text


@pytest.mark.parametrize("where", ["folder", "file/below.txt"])
def test_an_unwritable_path_is_named(tmp_path, where):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    with pytest.raises(UnwritableError, match=rf"{where} cannot be written: \w+"):
        write_text(tmp_path / where, "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_folder_in_place_of_a_file_is_reported(tmp_path):
    assert str(missing_file(str(tmp_path), "no weights there")).endswith("is a folder, not a file: no weights there")
    assert str(missing_file(str(tmp_path / "none"))).endswith("none not found")


@pytest.fixture
def events(monkeypatch) -> list[tuple[str, str]]:
    """What is synchronised with the disk and what is renamed, in order: ("sync", kind) and ("rename", new name)."""
    seen: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def noted_sync(handle: int) -> None:
        seen.append(("sync", "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"))
        fsync(handle)

    def noted_replace(source, target) -> None:
        seen.append(("rename", Path(target).name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(os, "replace", noted_replace)
    return seen


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_right_after(tmp_path, events):
    write_text(tmp_path / "record.json", "{}")
    assert events == [("sync", "file"), ("rename", "record.json"), ("sync", "folder")]
    assert (tmp_path / "record.json").read_text() == "{}"


def test_a_folder_is_published_with_everything_in_it_on_the_disk(tmp_path, events):
    (tmp_path / "new" / "inner").mkdir(parents=True)
    (tmp_path / "new" / "one.npy").write_text("1")
    (tmp_path / "new" / "inner" / "two.npy").write_text("2")
    publish(tmp_path / "new", tmp_path / "cache")
    assert sorted(events[:4]) == [("sync", "file"), ("sync", "file"), ("sync", "folder"), ("sync", "folder")]
    assert events[4:] == [("rename", "cache"), ("sync", "folder")]
    assert (tmp_path / "cache" / "inner" / "two.npy").read_text() == "2"


def test_a_folder_that_cannot_be_synchronised_is_no_reason_to_lose_the_file(tmp_path, monkeypatch):
    fsync = os.fsync

    def refuses_folders(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", refuses_folders)
    write_text(tmp_path / "record.json", "{}")
    assert (tmp_path / "record.json").read_text() == "{}"


def test_a_disk_that_fails_when_it_is_synchronised_leaves_the_old_file(tmp_path, monkeypatch):
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "record.json").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnwritableError, match=r"record\.json cannot be written: No space left on device"):
        write_text(tmp_path / "record.json", "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"record.json": "old"}


def test_an_empty_file_is_not_published_unless_asked_for(tmp_path):
    (tmp_path / "record.json").write_text("old")
    with pytest.raises(UnwritableError, match=r"record\.json cannot be written: nothing was written"):
        write_text(tmp_path / "record.json", "")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"record.json": "old"}
    with whole_file(tmp_path / "record.json", may_be_empty=True):
        pass
    assert (tmp_path / "record.json").read_text() == ""
