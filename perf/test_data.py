"""The data path: batches of training windows, half of them mirrored, in a random order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.data.pose_dataset import PoseDataset
from bench.data.windows import train_windows
from bench.method import Window
from bench.training.feed import Feed
from perf import reference, samples

BATCHES = 8


@pytest.fixture(scope="module")
def dataset(toy) -> PoseDataset:
    """About 150,000 frames in 560 videos: more than the caches of a processor hold."""
    return samples.equal_videos(10 if toy else 560, 275)


@pytest.mark.benchmark(group="data")
@pytest.mark.parametrize(
    ("window", "batch_windows"),
    [
        (Window(27), 64),
        (Window(243), 16),
        (Window(27, "centre"), 256),
        (Window(243, "centre"), 256),
        (Window(243, "centre", step=2), 256),
    ],
    ids=str,
)
def test_batches(measure, dataset, device, window, batch_windows):
    """As a training makes them: what it keeps on the device is there before the first batch."""
    table = train_windows(dataset.lengths, window)
    rng = np.random.default_rng(4)
    order = rng.permutation(2 * len(table))[: BATCHES * batch_windows]
    rows, flipped = table[order % len(table)], order >= len(table)
    feed = Feed(dataset, table, window, device, flip=True)

    def ours() -> list[torch.Tensor]:
        for batch in feed.batches(order, batch_windows):
            last = batch
        targets = (block[:, window.answered] for block in (last.poses_3d, last.supervised))
        return [block.cpu() for block in (last.keypoints_2d, *targets)]

    def plain() -> list[torch.Tensor]:
        last = []
        for batch in reference.batches(dataset, rows, window, flipped, batch_windows):
            last = list(batch)
        return last

    step = f" every {window.step}nd" if window.step > 1 else ""
    case = f"{batch_windows} windows of {window.frames} frames{step}, answering for {window.targets}"
    title = f"batches of {window.frames} frames{step}, answer for {window.targets}"
    aim = {"reach": 10, "title": title} if window.frames == 243 and window.step == 1 else {}
    measure(case, ours, plain, rounds=5, batches=-(-len(rows) // batch_windows), **aim)
