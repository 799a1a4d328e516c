"""Answers that are kept until the code that they were made of changes."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.system import paths
from bench.system.remembered import Remembered


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module that a test's answers are made of, written long ago; its file."""
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file = tmp_path / "answering.py"
    write(file, "ANSWER = 'one'\n")
    yield file
    sys.modules.pop("answering", None)


def write(file: Path, text: str) -> None:
    file.write_text(text)
    importlib.invalidate_caches()


def asked(question: Any = "how many", files: Iterable[Path] = ()) -> tuple[str, bool]:
    """The answer, and whether it had to be made. The module is loaded afresh, as in a new process."""
    sys.modules.pop("answering", None)
    about = Remembered("test", question)
    if (known := about.answer) is not None:
        return known, False
    answer = importlib.import_module("answering").ANSWER
    about.keep(answer, files)
    return answer, True


def test_the_second_answer_is_the_first(module):
    assert asked() == ("one", True)
    assert asked() == ("one", False)


def test_edited_code_answers_again(module):
    asked()
    write(module, "ANSWER = 'two'\n")
    assert asked() == ("two", True)


def test_code_with_an_older_time_stamp_answers_again(module):
    asked()
    before = module.stat()
    write(module, "ANSWER = 'two'\n")  # of the same size
    os.utime(module, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert asked() == ("two", True)


def test_code_that_is_gone_answers_again(module):
    asked()
    kept = json.loads((paths.cache() / "test.json").read_text())
    assert str(module) in kept["files"]
    kept["files"][str(module.with_name("gone.py"))] = [1, 1, 1]
    (paths.cache() / "test.json").write_text(json.dumps(kept))
    assert asked() == ("one", True)


def test_another_question_has_another_answer(module):
    asked()
    assert asked("how long") == ("one", True)


def test_a_file_that_an_answer_depends_on_answers_again(module, tmp_path):
    record = tmp_path / "record.json"
    record.write_text("{}")
    asked(files=[record])
    assert asked() == ("one", False)
    record.unlink()
    assert asked() == ("one", True)


def test_code_written_while_an_answer_is_made_is_not_trusted(module):
    about = Remembered("test", "how many")
    answer = importlib.import_module("answering").ANSWER
    write(module, "ANSWER = 'two'\n")
    about.keep(answer)
    assert asked() == ("two", True)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"question": "how many"}', b"\xff"])
def test_a_damaged_file_is_written_again(module, content):
    asked()
    (paths.cache() / "test.json").write_bytes(content)
    assert asked() == ("one", True)
    assert asked() == ("one", False)


def test_a_cache_that_cannot_be_written_is_no_error(module):
    paths.cache().parent.mkdir(parents=True)
    paths.cache().write_text("a file where the folder should be")
    assert asked() == ("one", True)
