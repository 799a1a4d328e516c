"""Data sets by name. Each is read once, checked, and then memory-mapped from a cache keyed by what it was made from."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from bench.system import paths
from bench.system.errors import MissingDataError, unknown

if TYPE_CHECKING:
    from bench.data.pose_dataset import PoseDataset

LOADERS = {
    "3dhp": "bench.data.mpi_inf_3dhp",
    "3dhp-annot3": "bench.data.mpi_inf_3dhp_annot3",
    "cmu": "bench.data.cmu",
    "h36m": "bench.data.human36m",
    "synthetic": "bench.data.synthetic",
}


def loader(name: str) -> ModuleType:
    """The module that reads data set `name`.

    It holds `KEYPOINTS` (what a user may ask for: what it is called inside), `SKELETON` (that of its poses),
    `camera(subject, name) -> View` (with its lens, a Camera, where that is known),
    `fingerprint(root, keypoints) -> str` (which also checks that the files are there),
    `collect(root, keypoints, fingerprint) -> Builder`, every video of the files, and `read`, which takes the same and
    gives the PoseDataset that they build.
    Raises BenchError for a name that is not known.
    """
    if name not in LOADERS:
        raise unknown("data set", name, LOADERS)
    return importlib.import_module(LOADERS[name])


def kind_of(name: str, keypoints: str) -> str:
    """What a data set calls the keypoints that a user asks for. Raises BenchError for either that is not known."""
    kinds: dict[str, str] = loader(name).KEYPOINTS
    if keypoints not in kinds and keypoints not in kinds.values():
        raise unknown(f"{name} keypoints", keypoints, kinds)
    return kinds.get(keypoints, keypoints)


def available(name: str, root: str | Path | None = None) -> list[str]:
    """The kinds of keypoints whose files are there."""
    module, folder = loader(name), Path(root) if root is not None else paths.data()
    found = []
    for keypoints, kind in module.KEYPOINTS.items():
        with contextlib.suppress(MissingDataError):
            module.fingerprint(folder, kind)
            found.append(keypoints)
    return found


def load_dataset(name: str, root: str | Path | None = None, keypoints: str = "gt") -> PoseDataset:
    """A data set, memory-mapped. root: the folder of its files ($BENCH_DATA, else `data/`).

    keypoints: where the 2D comes from, `gt` or a detector the data set knows (`cpn` for h36m, `det` for cmu and
    synthetic). Raises MissingDataError if files are missing, BenchError if they are not what they should be.
    """
    from bench.data.files import archive

    module, kind = loader(name), kind_of(name, keypoints)
    folder = Path(root) if root is not None else paths.data()
    fingerprint: str = module.fingerprint(folder, kind)
    cached = paths.cache() / "data" / f"{name}-{kind}-{fingerprint[:16]}"
    if not archive.is_cached(cached):
        archive.store(module.collect(folder, kind, fingerprint), cached)
    return archive.memory_mapped(cached)


def describe(name: str, root: str | Path | None = None, keypoints: str = "gt") -> str:
    """What a data set holds, as text: videos and frames of each subject and action, images, fingerprint."""
    import numpy as np
    from tabulate import tabulate

    from bench.data.mpi_inf_3dhp_labels import ACTIVITIES

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
    by_action = videos.groupby("action").agg(
        videos=("frames", "size"), frames=("frames", "sum"), subjects=("subject", "nunique")
    )
    views = [loader(name).camera(*where) for where in set(zip(videos["subject"], videos["camera"], strict=True))]
    sizes = sorted({f"{view.width} x {view.height}" for view in views})
    total = (
        f"{len(videos):,} videos, {int(dataset.lengths.sum()):,} frames at {dataset.fps:g} fps, {dataset.skeleton.name}"
    )
    tables = (tabulate(table.reset_index().to_dict("list"), "keys", intfmt=",") for table in (by_subject, by_action))
    doing = []
    if dataset.activities is not None:
        counts = np.bincount(dataset.activities.numpy()[dataset.counted], minlength=len(ACTIVITIES) + 1)[1:]
        named = ", ".join(f"{name} {count:,}" for name, count in zip(ACTIVITIES, counts.tolist(), strict=True))
        doing = [f"valid frames by activity: {named}"]
    return "\n".join(
        [
            f"{dataset.name}, {dataset.keypoints} keypoints: {total}",
            f"actions: {', '.join(sorted(set(videos['action'])))}",
            f"images: {', '.join(sizes)} pixels",
            f"keypoints with files: {', '.join(available(name, root))}",
            *doing,
            f"fingerprint: {dataset.fingerprint}",
            "",
            "\n\n".join(tables),
        ]
    )
