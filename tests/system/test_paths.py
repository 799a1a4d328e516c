"""Files are written whole, or an error names the one that cannot be."""

from __future__ import annotations

import pytest

from bench.system.errors import UnwritableError, missing_file
from bench.system.paths import write_text


@pytest.mark.parametrize("where", ["folder", "file/below.txt"])
def test_a_place_that_cannot_be_written_to_is_named(tmp_path, where):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    with pytest.raises(UnwritableError, match=rf"{where} cannot be written: \w+"):
        write_text(tmp_path / where, "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_folder_in_place_of_a_file_is_called_one(tmp_path):
    assert str(missing_file(str(tmp_path), "no weights there")).endswith("is a folder, not a file: no weights there")
    assert str(missing_file(str(tmp_path / "none"))).endswith("none not found")
