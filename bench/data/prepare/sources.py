"""Find raw files: unpacked below a folder, or still inside the downloaded archives."""

from __future__ import annotations

import itertools
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bench.system.errors import BenchError, MissingDataError
from bench.system.paths import shown
from bench.system.progress import say

_ABOVE = ("", "*/", "*/*/")  # folders that may lie between the given folder and that of the data set


@dataclass(frozen=True)
class Source:
    """One raw file. path: its path, or that of the archive that holds it as `member`."""

    path: Path
    member: str | None = None

    @property
    def inside(self) -> PurePath:
        """Its path, whose last parts identify it."""
        return self.path if self.member is None else PurePosixPath(self.member)

    @property
    def stamp(self) -> str:
        """A text that changes when the file changes."""
        status = self.path.stat()
        return f"{self.path.resolve()} {self.member} {status.st_size} {status.st_mtime_ns}"

    def __str__(self) -> str:
        return shown(self.path) if self.member is None else f"{self.member} in {shown(self.path)}"


def find(raw: Path, layouts: Sequence[str], archives: Sequence[str]) -> dict[str, list[Source]]:
    """The files of each layout below `raw`, and in the archives in it, without hidden files.

    layouts: path patterns such as "S*/Seq*/annot.mat". archives: name patterns such as "*.zip". raw may be an archive.
    Raises MissingDataError if there is no `raw`, BenchError if an archive is damaged.
    """
    if not raw.exists():
        raise MissingDataError(f"{shown(raw)} not found; --raw names the folder that holds the raw download")
    found = {
        layout: [Source(path) for above in _ABOVE for path in sorted(raw.glob(above + layout)) if path.is_file()]
        for layout in layouts
    }
    packed = [raw] if raw.is_file() else sorted({path for pattern in archives for path in raw.glob(pattern)})
    for archive in packed:
        say(f"looking into {shown(archive)}")
        with _opened(archive) as members:
            for layout in layouts:
                found[layout] += [Source(archive, name) for name in members if PurePosixPath(name).match(layout)]
    return {
        layout: [source for source in sources if not source.inside.name.startswith(".")]
        for layout, sources in found.items()
    }


def once(named: Iterable[tuple[str, Source]]) -> dict[str, Source]:
    """Sources by name; an unpacked file takes precedence over its archive. Raises BenchError for duplicates."""
    known: dict[str, Source] = {}
    for name, source in named:
        first = known.setdefault(name, source)
        if first is not source and not (first.member is None and source.member is not None):
            raise BenchError(f"{name!r} is there twice: {first} and {source}; move one away")
    return known


def on_disk(sources: Iterable[Source]) -> Iterator[tuple[Source, Path]]:
    """Each source with a path to read it from.

    Archive members are unpacked one at a time, under a name chosen here: paths of the archive are never written to.
    """
    for path, group in itertools.groupby(sources, key=lambda source: source.path):
        members = [source for source in group if source.member is not None]
        if not members:
            yield Source(path), path
            continue
        with _opened(path) as archive, tempfile.TemporaryDirectory(prefix="bench-") as folder:
            unpacked = Path(folder) / "member"
            for source in members:
                with blamed(source):
                    content = archive[str(source.member)]().read()
                unpacked.write_bytes(content)
                yield source, unpacked


@contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, Callable[[], IO[bytes]]]]:
    """The files in an archive, in its order: name -> function that opens it."""
    kind = zipfile.ZipFile if zipfile.is_zipfile(path) else tarfile.open
    with blamed(Source(path)):
        archive: Any = kind(path)
    with archive:
        with blamed(Source(path)):
            if isinstance(archive, zipfile.ZipFile):
                members = {one.filename: partial(archive.open, one) for one in archive.infolist() if not one.is_dir()}
            else:
                members = {one.name: partial(archive.extractfile, one) for one in archive if one.isfile()}
        yield members


# --- errors in raw files


@contextmanager
def blamed(source: Source) -> Iterator[None]:
    """Context for reading a raw file: any exception of its reader becomes a BenchError that names the file."""
    try:
        yield
    except BenchError:
        raise
    except Exception as error:  # the readers of CDF, MAT, HDF5 and archives do not document what they raise
        what = f"{type(error).__name__}: {error}"
        raise BenchError(
            f"{source} cannot be read ({what}); it is damaged or of another kind: copy it again"
        ) from error


def require(source: Source, name: str, found: Iterable[str]) -> None:
    """Raise BenchError unless a file has the variable `name`."""
    names = sorted(one for one in found if not one.startswith("__"))
    if name not in names:
        raise BenchError(
            f"{source}: expected a variable {name!r}, found {', '.join(names) or 'none'}; was the file copied whole?"
        )


def finite(source: object, recorded: NDArray[Any]) -> None:
    """Raise BenchError unless all are finite numbers. recorded: (frames, ...); source: what to name."""
    if recorded.dtype.kind not in "fiu":
        raise BenchError(f"{source}: expected numbers, found {recorded.dtype}")
    if not np.isfinite(recorded).all():
        frame = int(np.argwhere(~np.isfinite(recorded))[0, 0])
        raise BenchError(f"{source}: frame {frame} holds numbers that are not finite")
