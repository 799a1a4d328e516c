"""Where things lie: one place for every folder the suite reads or writes."""

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
    """Records, tables, caches and the MLflow store. $BENCH_RESULTS moves them, it never changes a number."""
    return Path(os.environ.get("BENCH_RESULTS") or root() / "results")


def records() -> Path:
    return results() / "records"


def own_records() -> Path:
    """Git-ignored: records of runs of this checkout where `records` holds one of the same run, made elsewhere."""
    return results() / "own"


def trial_records() -> Path:
    """Git-ignored: records of runs with other settings than a benchmark's file states (`--set`)."""
    return results() / "trials"


def cache() -> Path:
    """Git-ignored: memory-mapped data, checkpoints, predictions."""
    return results() / "cache"


def data() -> Path:
    """Where data sets are looked for unless a command says otherwise."""
    return Path(os.environ.get("BENCH_DATA") or root() / "data")


def checkpoints() -> Path:
    """Git-ignored: weights that `bench import` made of published checkpoints. $BENCH_CHECKPOINTS moves them."""
    return Path(os.environ.get("BENCH_CHECKPOINTS") or root() / "checkpoints")


def shown(path: Path) -> str:
    """A path as a person wants to read it: relative to the current folder where that is shorter."""
    with contextlib.suppress(ValueError):
        return str(path.resolve().relative_to(Path.cwd()))
    return str(path)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; it becomes `path` only if the block ends well.

    Raises UnwritableError, naming `path`, if that or the block cannot write.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        unfinished = Path(name)
        try:
            yield unfinished
            umask = os.umask(0)
            os.umask(umask)
            unfinished.chmod(0o666 & ~umask)  # mkstemp's 0600 is meant for secrets
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except BenchError:
        raise
    except OSError as error:
        raise UnwritableError(f"{shown(path)} cannot be written: {error.strerror or error}") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with whole_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
