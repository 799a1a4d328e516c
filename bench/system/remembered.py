"""Answers that take seconds and rarely change: kept in the cache until a file that they were made of changes.

What an answer is made of is the code that was loaded when it was made: every module of the process, the installed
packages included. Python itself decides in the same way, by size and time stamp, whether a compiled file is current.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bench.system import paths
from bench.system.errors import UnwritableError

Stamp = list[int]


def remembered(name: str, question: Any, make: Callable[[], tuple[str, bool]]) -> str:
    """The answer that was kept under `name`, or, if there is none or it is out of date, the one that `make` gives.

    question: plain data; an answer to another question is not used. make: the answer, and whether to keep it. It is
    kept as `NAME.json` in the cache, together with the size and time stamps of the files of all modules that the
    process has loaded by then; not if one of them was written after this call began, as the loaded code may be older
    than the file, nor if the cache cannot be written. `make` must depend on nothing but `question` and code, and what
    it depends on must not have been loaded before: a process that has loaded it may hold older code than the files.
    """
    file = paths.cache() / f"{name}.json"
    if (answer := _kept(file, question)) is not None:
        return answer
    began = time.time_ns()
    answer, keep = make()
    stamps = {str(path): stamp for path in _loaded() if (stamp := _stamp(path))}
    if keep and all(max(written, changed) < began for _, written, changed in stamps.values()):
        with contextlib.suppress(UnwritableError):
            paths.write_text(file, json.dumps({"question": question, "files": stamps, "answer": answer}))
    return answer


def _kept(file: Path, question: Any) -> str | None:
    """The answer in a file; None if there is none, it answers another question, or is out of date."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["question"] == question and all(_stamp(Path(path)) == stamp for path, stamp in kept["files"].items()):
            return str(kept["answer"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        pass  # the first call, or a file that is damaged or of another version
    return None


def _loaded() -> Iterable[Path]:
    """The files of the modules that this process has loaded."""
    found = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return sorted({Path(file) for file in found if isinstance(file, str)})


def _stamp(path: Path) -> Stamp | None:
    """Size, and when it was written and changed; None if there is no such file.

    Tools that copy files can set the first time (mtime), but not the second (ctime).
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
