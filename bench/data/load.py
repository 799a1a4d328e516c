"""Load a data set: it is read and checked once, then memory-mapped from a cache keyed by its fingerprint."""

from __future__ import annotations

import contextlib
from pathlib import Path

from bench.data.files import archive
from bench.data.pose_dataset import PoseDataset
from bench.data.registry import dataset_named, kind_of
from bench.system import paths
from bench.system.errors import BenchError, MissingDataError


def load_dataset(name: str, root: str | Path | None = None, keypoints: str = "gt") -> PoseDataset:
    """A data set, memory-mapped. root: the folder of its files (default: $BENCH_DATA, else `data/`).

    keypoints: where the 2D comes from, `gt` or a detector the data set knows (`cpn` for h36m, `det` for cmu and
    synthetic). Raises MissingDataError if files are missing, BenchError if their content is invalid.
    """
    dataset, kind = dataset_named(name), kind_of(name, keypoints)
    folder = Path(root) if root is not None else paths.data()
    fingerprint = dataset.fingerprint(folder, kind)
    cached = cache_folder(name, kind, fingerprint)
    if not archive.is_cached(cached):
        archive.store(dataset.collect(folder, kind, fingerprint), cached)
    stored = archive.memory_mapped(cached)
    if stored.skeleton != dataset.skeleton or stored.fps != dataset.fps:
        raise BenchError(
            f"{name}: its skeleton or frame rate has changed, but not what describe() says, so finished runs would "
            "be taken for runs on the new data; change an option there, such as the reader's version"
        )
    return stored


def cached_dataset(name: str, keypoints: str, fingerprint: str) -> PoseDataset:
    """The memory-mapped copy that `load_dataset` has made of a data set. Raises BenchError if there is none."""
    cached = cache_folder(name, kind_of(name, keypoints), fingerprint)
    if not archive.is_cached(cached):
        raise BenchError(f"{paths.shown(cached)} not found: {name} was not read into the cache")
    return archive.memory_mapped(cached)


def cache_folder(name: str, kind: str, fingerprint: str) -> Path:
    """The folder of the memory-mapped copy of a data set. kind: its keypoints, as the data set calls them."""
    return paths.cache() / "data" / f"{name}-{kind}-{fingerprint[:16]}"


def available(name: str, root: str | Path | None = None) -> list[str]:
    """The kinds of keypoints whose files exist."""
    dataset, folder = dataset_named(name), Path(root) if root is not None else paths.data()
    found = []
    for keypoints, kind in dataset.keypoints.items():
        with contextlib.suppress(MissingDataError):
            dataset.describe(folder, kind)
            found.append(keypoints)
    return found
