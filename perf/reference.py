"""References for the suite: the same weights and the same numbers, computed as lifters are usually published.

Attention builds its matrix (and GRAND an identity to subtract), VideoPose3D also slides over frames that it does not
answer for, windows are cut, padded and copied one by one, metrics loop over frames. Only `perf` uses any of it.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from baselines.layers import Attention
from bench import metrics
from bench.data.pose_dataset import PoseDataset
from bench.data.windows import Table
from bench.method import Method, Window

Array = NDArray[Any]

# --- methods


def plain(method: Method) -> Method:
    """A copy of a method, weights included, with the plain form of what the suite computes in another way.

    Raises ValueError for a method that has no such part.
    """
    copied = copy.deepcopy(method)
    if method.name == "videopose3d":
        copied.network = SlidingNetwork(copied.network)
        return copied
    parents = [module for module in copied.modules() if any(isinstance(one, Attention) for one in module.children())]
    for parent in parents:
        for name, child in parent.named_children():
            if isinstance(child, Attention):
                setattr(parent, name, MaterialisedAttention(child))
    if not parents:
        raise ValueError(f"{method.name} has no plain form: nothing in it is an Attention")
    return copied


class MaterialisedAttention(nn.Module):
    """Attention by its formula, (rows, tokens, dim) to the same, with the projections of an `Attention`.

    In evaluation mode: in training, the two forms would drop different values.
    """

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.heads = attention.heads
        self.subtract_values = attention.subtract_values
        self.qkv = attention.qkv
        self.proj = attention.proj

    def forward(self, x: Tensor) -> Tensor:
        rows, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(rows, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        weights = attention_weights(qkv[0], qkv[1])
        if self.subtract_values:
            weights = weights - torch.eye(tokens, dtype=x.dtype, device=x.device)
        out: Tensor = self.proj((weights @ qkv[2]).transpose(1, 2).reshape(rows, tokens, dim))
        return out


def attention_weights(q: Tensor, k: Tensor) -> Tensor:
    """softmax(q kᵀ / sqrt(c)). (rows, heads, tokens, c) twice to (rows, heads, tokens, tokens)."""
    scale: float = q.shape[-1] ** -0.5
    return ((q @ k.transpose(-2, -1)) * scale).softmax(dim=-1)


class SlidingNetwork(nn.Module):
    """VideoPose3D's dilated form, (batch, frames, joints, 2) to (batch, 1, joints, 3), on the modules of a network.

    Made for whole videos (Pavllo et al., CVPR 2019, section 3). The centre frame of a window; evaluation mode, so
    that dropout and the statistics of a batch do not depend on the form.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, keypoints_2d: Tensor) -> Tensor:
        net = self.network
        x = keypoints_2d.flatten(start_dim=2).transpose(1, 2)  # (batch, joints * 2, frames)
        x = F.relu(net.expand_bn(net.expand_conv(x)))
        for block in range(0, len(net.layers_conv), 2):
            read = F.relu(net.layers_bn[block](net.layers_conv[block](x)))
            margin = (x.shape[-1] - read.shape[-1]) // 2
            mixed = F.relu(net.layers_bn[block + 1](net.layers_conv[block + 1](read)))
            x = x[:, :, margin : x.shape[-1] - margin] + mixed
        x = net.shrink(x).transpose(1, 2)
        out: Tensor = x.reshape(len(x), x.shape[1], -1, 3)
        return out


# --- the data path


class WindowCopies(Dataset[tuple[Array, Array, Array]]):
    """The rows of a window table one at a time, each cut out of its video, padded, mirrored and copied.

    table: (windows, 4). flipped: (windows,). An item is the keypoints_2d, poses_3d and supervised of a `Batch`.
    """

    def __init__(self, dataset: PoseDataset, table: Table, window: Window, flipped: NDArray[np.bool_]) -> None:
        places = list(zip(dataset.starts.tolist(), dataset.lengths.tolist(), strict=True))
        self.keypoints_2d = [dataset.keypoints_2d[start : start + frames].numpy() for start, frames in places]
        self.poses_3d = [dataset.poses_3d[start : start + frames].numpy() for start, frames in places]
        self.left, self.right = list(dataset.skeleton.left), list(dataset.skeleton.right)
        self.table = table
        self.window = window
        self.flipped = flipped

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, row: int) -> tuple[Array, Array, Array]:
        sequence, start, count_from, count_to = self.table[row].tolist()
        stop = start + (self.window.frames - 1) * self.window.step + 1
        frames = np.arange(start, stop, self.window.step)
        cut = [self._cut(videos[sequence], start, stop) for videos in (self.keypoints_2d, self.poses_3d)]
        if self.flipped[row]:
            cut = [self._mirrored(one) for one in cut]
        return cut[0], cut[1], (frames >= count_from) & (frames < count_to)

    def _cut(self, video: Array, start: int, stop: int) -> Array:
        inside = video[max(start, 0) : min(stop, len(video))]
        padding = (max(-start, 0), max(stop - len(video), 0))
        return np.pad(inside, (padding, (0, 0), (0, 0)), mode="edge")[:: self.window.step]

    def _mirrored(self, poses: Array) -> Array:
        mirrored = poses.copy()
        mirrored[..., 0] *= -1
        mirrored[:, self.left + self.right] = mirrored[:, self.right + self.left]
        return mirrored


def batches(
    dataset: PoseDataset, table: Table, window: Window, flipped: NDArray[np.bool_], batch_windows: int
) -> DataLoader[tuple[Array, Array, Array]]:
    """The rows of a table in their order, as triples of tensors (batch, ...)."""
    return DataLoader(WindowCopies(dataset, table, window, flipped), batch_size=batch_windows)


# --- metrics: predicted, target (frames, joints, 3); the mean over frames


def mpjpe(predicted: Array, target: Array) -> float:
    return float(np.mean([_distance(p, g) for p, g in zip(predicted, target, strict=True)]))


def p_mpjpe(predicted: Array, target: Array) -> float:
    errors = []
    for p, g in zip(predicted, target, strict=True):
        p0, g0 = p - p.mean(axis=0), g - g.mean(axis=0)
        p_norm, g_norm = np.sqrt((p0**2).sum()), np.sqrt((g0**2).sum())
        u, singular, vt = np.linalg.svd((g0 / g_norm).T @ (p0 / p_norm))
        v = vt.T
        if np.linalg.det(v @ u.T) < 0:
            v[:, -1] *= -1
            singular[-1] *= -1
        aligned = singular.sum() * g_norm / p_norm * p0 @ (v @ u.T) + g.mean(axis=0)
        errors.append(_distance(aligned, g))
    return float(np.mean(errors))


def n_mpjpe(predicted: Array, target: Array) -> float:
    scaled = [(p * g).sum() / (p * p).sum() * p for p, g in zip(predicted, target, strict=True)]
    return mpjpe(np.stack(scaled), target)


def mpjve(predicted: Array, target: Array) -> float:
    steps = range(1, len(target))
    return float(np.mean([_distance(predicted[t] - predicted[t - 1], target[t] - target[t - 1]) for t in steps]))


def pck(errors_mm: Array) -> float:
    """errors_mm: (frames, 17) in MPI-INF-3DHP order, as in `bench.metrics.pck`."""
    return _passed(errors_mm, metrics.PCK_THRESHOLD_MM)


def auc(errors_mm: Array) -> float:
    """errors_mm: (frames, 17) in MPI-INF-3DHP order, as in `bench.metrics.auc`."""
    return float(np.mean([_passed(errors_mm, threshold) for threshold in metrics.AUC_THRESHOLDS_MM]))


def _distance(p: Array, g: Array) -> float:
    return float(np.linalg.norm(p - g, axis=-1).mean())


def _passed(errors_mm: Array, threshold: float) -> float:
    counted = list(metrics.MPI_INF_3DHP_JOINTS)
    return 100 * float(np.mean([np.mean(frame[counted] < threshold) for frame in errors_mm]))


# --- the start: Python programs that print what their lazy counterparts print

IMPORT = "import mlflow, torch, bench.evaluation, bench.runs.launch; print(sorted(bench.__all__))"
HELP = "import mlflow, torch, bench.evaluation, bench.runs.launch, bench.cli; bench.cli.main(['--help'])"
