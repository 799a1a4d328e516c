"""A summary of a data set as text, for `bench data describe`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tabulate import tabulate

from bench.data.load import available, load_dataset
from bench.data.mpi_inf_3dhp_labels import ACTIVITIES
from bench.data.registry import dataset_named


def contents(name: str, root: str | Path | None = None, keypoints: str = "gt") -> str:
    """The content of a data set as text: videos and frames per subject and action, image sizes, fingerprint."""
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
    views = [dataset_named(name).camera(*where) for where in set(zip(videos["subject"], videos["camera"], strict=True))]
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
