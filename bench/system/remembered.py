"""Answers that take seconds and rarely change: kept in the cache until a file that they were made of changes.

What an answer is made of is the code that was loaded when it was made: every module of the process, the installed
packages included. Python itself decides in the same way, by size and time stamp, whether a compiled file is current.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.system import paths
from bench.system.errors import UnwritableError


class Remembered:
    """The answer to one question, kept as `NAME.json` in the cache.

    question: plain data; the answer to another question is not used. An answer may depend on nothing but the question,
    code, and files that `keep` is told of. The code must not have been loaded before the question is asked: a process
    that has loaded it may hold older code than the files.
    """

    def __init__(self, name: str, question: Any) -> None:
        self._file = paths.cache() / f"{name}.json"
        self._question = question
        self._asked = time.time_ns()

    @property
    def answer(self) -> str | None:
        """The kept answer; None if there is none, it answers another question, or one of its files has changed."""
        try:
            kept = json.loads(self._file.read_text(encoding="utf-8"))
            files = kept["files"].items()
            if kept["question"] == self._question and all(stamp(Path(path)) == known for path, known in files):
                return str(kept["answer"])
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            pass  # the first time, or a file that is damaged or of another version
        return None

    def keep(self, answer: str, files: Iterable[Path] = ()) -> None:
        """Keep an answer until one of `files`, or a file of a module that is loaded now, changes.

        Not if one of them was written after the question was asked, since what was loaded may be older than the file,
        nor if the cache cannot be written.
        """
        stamps = {str(path): found for path in (*_loaded(), *files) if (found := stamp(path))}
        if all(max(written, changed) < self._asked for _, written, changed in stamps.values()):
            content = {"question": self._question, "files": stamps, "answer": answer}
            with contextlib.suppress(UnwritableError):
                paths.write_text(self._file, json.dumps(content))


def stamp(path: Path) -> list[int] | None:
    """Size of a file, and when it was written and changed; None if there is no such file.

    Tools that copy files can set the first time (mtime), but not the second (ctime).
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _loaded() -> set[Path]:
    """The files of the modules that this process has loaded."""
    found = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return {Path(file) for file in found if isinstance(file, str)}
