"""A picture of a data set: a few frames from all over it, 2D beside 3D, to be checked by eye."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from bench.data import load_dataset
from bench.show.draw import Sample, input_sheet


def picture(path: Path, name: str, root: str | Path | None = None, keypoints: str = "gt", count: int = 16) -> None:
    """Write a sheet of up to `count` frames of different subjects, actions and cameras. The suffix decides the format.

    Raises what `load_dataset` raises.
    """
    dataset = load_dataset(name, root, keypoints)
    chosen = _spread(dataset.sequences, count)
    table, counted = dataset.sequences, dataset.counted
    samples = []
    for turn, video in enumerate(chosen):
        subject, sequence, camera = (table[column].iloc[video] for column in ("subject", "sequence", "camera"))
        start, frames = dataset.starts[video], dataset.lengths[video]
        rows = counted[np.searchsorted(counted, start) : np.searchsorted(counted, start + frames)]
        if not len(rows):
            continue  # no frame of it is scored
        row = int(rows[(2 * turn + 1) * len(rows) // (2 * len(chosen))])  # early in the first video, late in the last
        where = subject if subject == sequence else f"{subject} {sequence}"
        label = f"{where}, camera {camera}, frame {row - start:,}"
        samples.append(Sample(label, dataset.keypoints_2d[row].numpy(), dataset.poses_3d[row].numpy()))
    title = f"{dataset.name}: {dataset.keypoints} keypoints and their 3D poses"
    input_sheet(path, samples, skeleton=dataset.skeleton, title=title)


def _spread(videos: pd.DataFrame, count: int) -> list[int]:
    """Rows of the table: each subject in turn, each time the action and camera chosen least so far."""
    rows = list(zip(videos["subject"], videos["action"], videos["camera"], strict=True))
    subjects = list(dict.fromkeys(subject for subject, _, _ in rows))
    subjects = subjects[:: -(-len(subjects) // count)]
    actions, cameras = Counter[str](), Counter[str]()
    chosen: list[int] = []
    for turn in range(count):
        left = [row for row, (subject, *_) in enumerate(rows) if subject == subjects[turn % len(subjects)]]
        left = [row for row in left if row not in chosen]
        if left:
            best = min(left, key=lambda row: (actions[rows[row][1]], cameras[rows[row][2]]))
            actions[rows[best][1]] += 1
            cameras[rows[best][2]] += 1
            chosen.append(best)
    return chosen
