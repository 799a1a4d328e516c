"""Converted arrays are kept until a preparation is complete, so that an interrupted one resumes.

A converted file is a folder of .npy arrays below the cache, named after what it was made from. The final .npz files
are written from there, one array in memory at a time.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.files import archive
from bench.data.prepare.sources import Source, on_disk
from bench.system import paths
from bench.system.errors import BenchError, UnwritableError
from bench.system.paths import shown
from bench.system.progress import Progress, say

Array = NDArray[Any]


@dataclass(frozen=True)
class Kept:
    """An array on disk. It is only read when pickled, and pickles as an ordinary array."""

    path: Path

    def array(self) -> Array:
        array: Array = np.load(self.path, allow_pickle=False)
        return array

    def __len__(self) -> int:
        return len(np.load(self.path, mmap_mode="r", allow_pickle=False))

    def __reduce__(self) -> Any:
        return self.array().__reduce__()


class Conversion:
    """Converts each raw file to arrays once. name: a folder below the cache; reader: the version of the reader."""

    def __init__(self, name: str, reader: str) -> None:
        self._folder, self._reader = paths.cache() / "prepare" / name, reader

    def convert(
        self, sources: Sequence[Source], read: Callable[[Source, Path], Mapping[str, Array]]
    ) -> list[dict[str, Kept]]:
        """The arrays of each source by name, in their order; `read(source, path)` converts those not kept yet."""
        waiting = [source for source in sources if not self._place(source).is_dir()]
        done = len(sources) - len(waiting)
        if done:
            say(f"{done} of {len(sources)} files were converted before; going on")
        with Progress("convert", len(sources), done, unit="file") as progress:
            for source, path in on_disk(waiting):
                self._keep(source, read(source, path))
                progress.update(1)
        return [{path.stem: Kept(path) for path in sorted(self._place(source).glob("*.npy"))} for source in sources]

    def forget(self) -> None:
        """Delete the kept arrays, after a complete preparation."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _place(self, source: Source) -> Path:
        return self._folder / hashlib.sha256(f"{self._reader} {source.stamp}".encode()).hexdigest()[:24]

    def _keep(self, source: Source, arrays: Mapping[str, Array]) -> None:
        try:
            self._write(source, arrays)
        except OSError as error:
            raise BenchError(
                f"{shown(self._folder)} cannot be written: {error.strerror or error}. Converted arrays are kept there "
                "until all are written; $BENCH_RESULTS changes the folder"
            ) from error

    def _write(self, source: Source, arrays: Mapping[str, Array]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".", dir=self._folder))
        try:
            for name, array in arrays.items():
                np.save(unfinished / f"{name}.npy", array)
            if not self._place(source).is_dir():  # else another process was faster; its copy is the same
                paths.publish(unfinished, self._place(source))
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def write(files: Mapping[Path, Mapping[str, Any]], force: bool = False) -> list[str]:
    """Write each .npz file whole or not at all; returns one line of text per file.

    files: path -> its arrays by name; dictionaries and lists of `Kept` become the community's pickled object arrays.
    Raises BenchError, before anything is written, if a file with other content exists, unless `force`.
    """
    same = {path for path, content in files.items() if path.exists() and not force and _holds(path, content)}
    for path, content in files.items():
        if path not in same:
            say(f"writing {shown(path)}")
            try:
                with paths.whole_file(path) as unfinished:
                    np.savez_compressed(unfinished, **content)
            except UnwritableError as error:
                raise BenchError(f"{error}; --output names another folder") from error
    return [
        f"{shown(path)} {'is there already, with the same content' if path in same else 'written'}" for path in files
    ]


def _holds(path: Path, content: Mapping[str, Any]) -> bool:
    """Whether a file exists with this content. Raises BenchError, naming the first difference, if not."""
    try:
        difference = _difference(archive.read_npz(path), content)
    except BenchError as error:
        raise BenchError(f"{error}. To replace it: --force") from error
    if difference is not None:
        raise BenchError(
            f"{shown(path)} is there already and holds something else (first difference: {difference or 'its keys'}). "
            "To keep it, choose another --output; to replace it: --force"
        )
    return True


def _difference(found: Any, wanted: Any, where: str = "") -> str | None:
    """The first difference between two trees of dictionaries, lists and arrays; None if they are equal."""
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping) or set(found) != set(wanted):
            return where
        branches = [(found[key], wanted[key], f"{where} {key!r}".strip()) for key in wanted]
    elif isinstance(wanted, (list, tuple)):
        if not isinstance(found, (list, tuple)) or len(found) != len(wanted):
            return where
        branches = [(*pair, f"{where} [{index}]") for index, pair in enumerate(zip(found, wanted, strict=True))]
    else:
        array = wanted.array() if isinstance(wanted, Kept) else np.asarray(wanted)
        alike = np.asarray(found)
        return None if alike.dtype == array.dtype and np.array_equal(alike, array) else where
    return next((there for branch in branches if (there := _difference(*branch)) is not None), None)
