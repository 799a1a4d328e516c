"""The windows of a training: where its data set lives, and how batches are cut out of it.

The 2D and the 3D block, each followed by its mirror image, stay on the device that trains if they fit there. A batch is
then a few numbers per window, sent to the device, and one lookup of rows. Blocks that do not fit stay in main memory,
and batches of them are copied while the device is busy with the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.batch import Batch, Window
from bench.data.pose_dataset import PoseDataset
from bench.data.windows import COUNT_FROM, COUNT_TO, SEQUENCE, START, Table, gather, mirror, taken
from bench.system.device import fits

Order = NDArray[np.int64]


class Feed:
    """Batches of training windows on a device.

    table: the windows, unmirrored. Window i + len(table) is the mirror image of window i; `flip` says whether there are
    any. resident: keep the blocks on the device; default: if they fit.
    """

    def __init__(
        self,
        dataset: PoseDataset,
        table: Table,
        window: Window,
        device: torch.device,
        *,
        flip: bool,
        resident: bool | None = None,
    ) -> None:
        self.table = table
        self.windows = (2 if flip else 1) * len(table)
        self._dataset, self._window, self._device, self._flip = dataset, window, device, flip
        size = (2 if flip else 1) * (dataset.keypoints_2d.nbytes + dataset.poses_3d.nbytes)
        self.resident = fits(size, device) if resident is None else resident

    def batches(self, order: Order, windows: int) -> Iterator[Batch]:
        """The windows with these numbers, so many at a time, in their order."""
        if not self.resident:
            for first in range(0, len(order), windows):
                yield self._streamed(order[first : first + windows])
            return
        for chosen in torch.split(torch.from_numpy(order).to(self._device), windows):
            yield self._cut(chosen)

    def _cut(self, chosen: Tensor) -> Batch:
        """Windows out of the blocks on the device."""
        start, first, last, count_from, count_to = self._columns[:, chosen, None]
        frames = start + torch.arange(self._window.frames, device=self._device) * self._window.step
        rows = frames.clamp(first, last)
        keypoints_2d, poses_3d = (taken(block, rows) for block in self._blocks)
        return Batch(keypoints_2d, poses_3d, (frames >= count_from) & (frames < count_to))

    def _streamed(self, chosen: Order) -> Batch:
        """Windows out of main memory. On a GPU their copy does not wait for the work that is queued there."""
        count = len(self.table)
        batch = gather(self._dataset, self.table[chosen % count], self._window, flipped=chosen >= count)
        if self._device.type != "cuda":
            return batch.to(self._device)
        return batch.pinned().to(self._device, asynchronously=True)

    @cached_property
    def _blocks(self) -> list[Tensor]:
        """Both blocks on the device, their mirror images after them if there are any."""
        blocks = [block.to(self._device) for block in (self._dataset.keypoints_2d, self._dataset.poses_3d)]
        permutation = self._dataset.skeleton.mirror
        return [torch.cat([block, mirror(block, permutation)]) for block in blocks] if self._flip else blocks

    @cached_property
    def _columns(self) -> Tensor:
        """For every window, as rows of the blocks: start, first and last row of its video, and what it counts.

        (5, windows), on the device, mirrored windows after the others.
        """
        sequence = self.table[:, SEQUENCE]
        offset = self._dataset.starts[sequence]
        columns = [offset + self.table[:, START], offset, offset + self._dataset.lengths[sequence] - 1]
        columns += [offset + self.table[:, COUNT_FROM], offset + self.table[:, COUNT_TO]]
        placed = np.stack(columns)
        if self._flip:
            placed = np.concatenate([placed, placed + len(self._dataset.poses_3d)], axis=1)
        return torch.from_numpy(placed).to(self._device)
