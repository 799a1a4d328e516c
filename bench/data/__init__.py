"""Data sets by name. Each is read once, checked, and then memory-mapped from a cache keyed by what it was made from."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from bench import paths
from bench.errors import unknown

if TYPE_CHECKING:
    from bench.data.pose_dataset import PoseDataset

LOADERS = {
    "3dhp": "bench.data.mpi_inf_3dhp",
    "cmu": "bench.data.cmu",
    "h36m": "bench.data.human36m",
    "synthetic": "bench.data.synthetic",
}


def loader(name: str) -> ModuleType:
    """The module that reads data set `name`.

    It holds `KEYPOINTS` (what a user may ask for: what it is called inside), `SKELETON` (that of its poses),
    `fingerprint(root, keypoints) -> str` (which also checks that the files are there),
    `collect(root, keypoints, fingerprint) -> Builder`, every video of the files, and `read`, which takes the same and
    gives the PoseDataset that they build.
    Raises BenchError for a name that is not known.
    """
    if name not in LOADERS:
        raise unknown("data set", name, LOADERS)
    return importlib.import_module(LOADERS[name])


def load_dataset(name: str, root: str | Path | None = None, keypoints: str = "gt") -> PoseDataset:
    """A data set, memory-mapped. root: the folder of its files ($BENCH_DATA, else `data/`).

    keypoints: where the 2D comes from, `gt` or a detector the data set knows (`cpn` for h36m, `det` for cmu and
    synthetic). Raises MissingDataError if files are missing, BenchError if they are not what they should be.
    """
    from bench.data import archive

    module = loader(name)
    kinds: dict[str, str] = module.KEYPOINTS
    if keypoints not in kinds and keypoints not in kinds.values():
        raise unknown(f"{name} keypoints", keypoints, kinds)
    kind = kinds.get(keypoints, keypoints)
    folder = Path(root) if root is not None else paths.data()
    fingerprint: str = module.fingerprint(folder, kind)
    cached = paths.cache() / "data" / f"{name}-{kind}-{fingerprint[:16]}"
    if not archive.is_cached(cached):
        archive.store(module.collect(folder, kind, fingerprint), cached)
    return archive.memory_mapped(cached)


def describe(name: str, root: str | Path | None = None, keypoints: str = "gt") -> str:
    """What a data set holds, as text: videos and frames of each subject, actions, fingerprint."""
    from tabulate import tabulate

    dataset = load_dataset(name, root, keypoints)
    videos = dataset.sequences
    by_subject = videos.groupby("subject", sort=False).agg(
        videos=("frames", "size"),
        frames=("frames", "sum"),
        actions=("action", "nunique"),
        cameras=("camera", "nunique"),
    )
    if dataset.valid is not None:
        by_subject.insert(2, "valid", [len(dataset.subset([subject]).counted) for subject in by_subject.index])
    total = (
        f"{len(videos):,} videos, {int(dataset.lengths.sum()):,} frames at {dataset.fps:g} fps, {dataset.skeleton.name}"
    )
    return "\n".join(
        [
            f"{dataset.name}, {dataset.keypoints} keypoints, {dataset.skeleton.name}: {total}",
            f"actions: {', '.join(sorted(set(videos['action'])))}",
            f"fingerprint: {dataset.fingerprint}",
            "",
            tabulate(by_subject.reset_index().to_dict("list"), headers="keys", intfmt=","),
        ]
    )
