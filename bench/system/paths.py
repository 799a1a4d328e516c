"""Where files are, and how they are written: whole, or not at all.

One place for every folder that the suite reads or writes.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.system.errors import BenchError, UnwritableError


def root() -> Path:
    """The project folder: the checkout that is installed, else the current folder."""
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "configs").is_dir() else Path.cwd()


def configs() -> Path:
    return root() / "configs"


def results() -> Path:
    """Records, tables, caches and the store of tracked runs. $BENCH_RESULTS moves them, and changes no number."""
    return Path(os.environ.get("BENCH_RESULTS") or root() / "results")


def records() -> Path:
    return results() / "records"


def own_records() -> Path:
    """Git-ignored: records of runs of this checkout whose published record is in `records`."""
    return results() / "own"


def trial_records() -> Path:
    """Git-ignored: records of runs with other settings than a benchmark's file states (`--set`)."""
    return results() / "trials"


def cache() -> Path:
    """Memory-mapped data, checkpoints and predictions; git-ignored."""
    return results() / "cache"


def data() -> Path:
    """Where data sets are looked for unless a command says otherwise."""
    return Path(os.environ.get("BENCH_DATA") or root() / "data")


def checkpoints() -> Path:
    """Weights that `bench import` made of published checkpoints; git-ignored. $BENCH_CHECKPOINTS moves them."""
    return Path(os.environ.get("BENCH_CHECKPOINTS") or root() / "checkpoints")


def shown(path: Path) -> str:
    """A path for messages: relative to the current folder if it lies in it."""
    with contextlib.suppress(ValueError):
        return str(path.resolve().relative_to(Path.cwd()))
    return str(path)


@contextlib.contextmanager
def whole_file(path: Path, *, may_be_empty: bool = False) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; it becomes `path` only if the block ends without an error.

    Raises UnwritableError, naming `path`, if it or the block cannot write, or if the file is empty and must not be.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        unfinished = Path(name)
        try:
            yield unfinished
            if not (may_be_empty or unfinished.stat().st_size):
                raise OSError("nothing was written to it")
            umask = os.umask(0)
            os.umask(umask)
            unfinished.chmod(0o666 & ~umask)  # mkstemp's 0600 is meant for secrets
            publish(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except BenchError:
        raise
    except OSError as error:
        raise UnwritableError(f"{shown(path)} cannot be written: {error.strerror or error}") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all. Raises UnwritableError as `whole_file` does, also for an empty text."""
    with whole_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def publish(unfinished: Path, path: Path) -> None:
    """Give a finished file, or a folder with all that is in it, its final name on the same disk.

    The content reaches the disk before the name does: after a power cut there is the old content, the new one or
    none, never an empty or torn file under the final name. Raises OSError if the disk fails.
    """
    for each in [unfinished, *(unfinished.rglob("*") if unfinished.is_dir() else ())]:
        _synchronise(each)
    unfinished.replace(path)
    _synchronise(path.parent)


def _synchronise(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk. Not every file system supports this for folders."""
    if path.is_dir():
        if os.name != "nt":
            with contextlib.suppress(OSError):
                _fsync(path, os.O_RDONLY)
    else:
        _fsync(path, os.O_RDWR)  # Windows synchronises only what may be written to


def _fsync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
