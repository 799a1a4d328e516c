"""References for the suite: the same weights and the same numbers, computed as lifters are usually published.

Attention builds its matrix (and GRAND an identity to subtract), VideoPose3D also slides over frames that it does not
answer for, windows are cut, padded and copied one by one, every step waits for its loss, a test set is read again for
each action and lifted one window at a time, metrics loop over frames. Only `perf` uses any of it.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from baselines.layers import Attention
from bench import metrics
from bench.config.schema import Recipe
from bench.data.batch import Batch
from bench.data.pose_dataset import PoseDataset
from bench.data.windows import SEQUENCE, Table, block_rows, counted_frames, gather, mirror, test_windows
from bench.method import Method, Window
from bench.training.loop import training_windows
from perf import samples

Array = NDArray[Any]


@dataclass(frozen=True)
class Part:
    """What a reference returns that does a part of the work: its result, and the seconds that all of it would take."""

    result: Any
    seconds: float


# --- the machine


class Products:
    """What the machine can do: products of square matrices by `torch.mm`, of the size that is the fastest."""

    SIZES = (512, 1024, 2048)

    def __init__(self, device: torch.device, seconds: float = 1.0) -> None:
        self.device = device
        self.seconds = seconds
        rates = {size: self._rate(size) for size in self.SIZES}
        self.size = max(rates, key=lambda size: rates[size])

    def take(self, macs: float) -> Part:
        """The seconds of so many multiply-accumulates, from products that run for about `seconds`."""
        return Part(None, macs / self._rate(self.size))

    def _rate(self, size: int) -> float:
        """Multiply-accumulates per second."""
        a, b, out = (torch.ones(size, size, device=self.device) for _ in range(3))
        torch.mm(a, b, out=out)
        done, started = 0, time.perf_counter()
        while (spent := time.perf_counter() - started) < self.seconds:
            torch.mm(a, b, out=out)
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            done += 1
        return done * size**3 / spent


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

    table: (windows, 4). flipped: (windows,). An item is the keypoints_2d of a `Batch`, and poses_3d and supervised of
    the frames that the window answers for.
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
        frames = np.arange(start, stop, self.window.step)[self.window.answered]
        cut = [
            self._cut(self.keypoints_2d[sequence], start, stop),
            self._cut(self.poses_3d[sequence], frames[0], frames[-1] + 1),
        ]
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


# --- training


def train_epoch(method: Method, dataset: PoseDataset, recipe: Recipe, seed: int) -> float:
    """The first epoch of `bench.training.loop.fit`, in the same order: the mean loss over windows.

    One window at a time is cut and copied, AdamW loops over the parameters, every step waits for its loss. For methods
    whose loss draws no random numbers.
    """
    table = training_windows(dataset, method, recipe)
    order = np.random.default_rng([seed, 0]).permutation(len(table) * (2 if recipe.flip else 1))
    loader = batches(dataset, table[order % len(table)], method.window, order >= len(table), recipe.batch_windows)
    optimizer = torch.optim.AdamW(method.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    method.train()
    total = 0.0
    for keypoints_2d, poses_3d, supervised in loader:
        batch = _answered_batch(keypoints_2d, poses_3d, supervised, method.window)
        optimizer.zero_grad()
        loss = method.loss(batch)["total"]
        loss.backward()
        optimizer.step()
        total += loss.item() * len(keypoints_2d)
    return total / len(order)


def _answered_batch(keypoints_2d: Tensor, poses_3d: Tensor, supervised: Tensor, window: Window) -> Batch:
    """A batch as a method's loss takes it: the frames that are not answered for have a target that nobody reads."""
    shape = keypoints_2d.shape[:2]
    targets = poses_3d[:, :1].expand(-1, shape[1], -1, -1) if window.targets != "all" else poses_3d
    counted = supervised[:, :1].expand(shape) if window.targets != "all" else supervised
    return Batch(keypoints_2d, targets, counted)


# --- evaluation

SCORED = ("mpjpe", "p_mpjpe", "n_mpjpe", "mpjve")  # functions below, and metrics of the suite


def evaluate(method: Method, path: Path, every: int = 1) -> Part:
    """A test set action by action: read it again, lift one window at a time, once more for its mirror image, average.

    every: only every so many windows are lifted and scored, and the seconds of that stand for all of them. The result
    is a list: the poses of the frames that were counted, then the mean over actions of every metric in `SCORED`.
    """
    reading = lifting = 0.0
    poses, means = [], []
    for action in samples.ACTIONS:
        started = time.perf_counter()
        dataset = samples.read_test_set(path)
        table = test_windows(dataset.lengths, method.window)
        table = table[(dataset.sequences["action"] == action).to_numpy()[table[:, SEQUENCE]]]
        loader = batches(dataset, table[::every], method.window, np.zeros(len(table), bool), batch_windows=1)
        read = time.perf_counter()
        videos = _lifted_videos(method, loader, table[::every, SEQUENCE], dataset.skeleton.mirror)
        means.append([_mean(videos, metric) for metric in SCORED])
        poses += [predicted for predicted, _ in videos]
        reading += read - started
        lifting += time.perf_counter() - read
    result = [torch.from_numpy(np.concatenate(poses)), torch.tensor(means, dtype=torch.float64).mean(dim=0)]
    return Part(result, reading + every * lifting)


def scored_rows(dataset: PoseDataset, window: Window, every: int = 1) -> NDArray[np.int64]:
    """The rows of the blocks that `evaluate` scores, in its order."""
    table = test_windows(dataset.lengths, window)
    actions = dataset.sequences["action"].to_numpy()[table[:, SEQUENCE]]
    table = np.concatenate([table[actions == action][::every] for action in samples.ACTIONS])
    rows: NDArray[np.int64] = block_rows(dataset, table, window)[counted_frames(table, window)]
    return rows


def _lifted_videos(
    method: Method, loader: DataLoader[Any], videos: NDArray[np.int64], mirrored: tuple[int, ...]
) -> list[tuple[Array, Array]]:
    """Predicted and true poses of each video, (frames, joints, 3), the predicted root at zero."""
    found: dict[int, list[tuple[Array, Array]]] = {}
    for video, (keypoints_2d, poses_3d, counted) in zip(videos.tolist(), loader, strict=True):
        with torch.no_grad():
            plain = method.lift(keypoints_2d)
            other = mirror(method.lift(mirror(keypoints_2d, mirrored)), mirrored)
        predicted = ((plain + other) / 2)[counted]
        predicted[:, 0] = 0
        found.setdefault(video, []).append((predicted.numpy(), poses_3d[counted].numpy()))
    return [tuple(np.concatenate(part) for part in zip(*pieces, strict=True)) for pieces in found.values()]


def _mean(videos: list[tuple[Array, Array]], metric: str) -> float:
    """A metric in mm, the mean over the frames of some videos; velocities are between two of them."""
    function = {"mpjpe": mpjpe, "p_mpjpe": p_mpjpe, "n_mpjpe": n_mpjpe, "mpjve": mpjve}[metric]
    first = 1 if metric == "mpjve" else 0
    videos = [video for video in videos if len(video[0]) > first]
    values = [function(1000.0 * p.astype(float), 1000.0 * g.astype(float)) for p, g in videos]
    return float(np.average(values, weights=[len(p) - first for p, _ in videos]))


def lift_windows(method: Method, dataset: PoseDataset, windows_per_pass: int, every: int = 1) -> Part:
    """Lift videos window by window, several windows and their mirror images in each pass, as before `lift_video`.

    every: only every so many passes are made. The result are the poses of the windows that were lifted.
    """
    window, permutation = method.window, dataset.skeleton.mirror
    table = test_windows(dataset.lengths, window)
    firsts = range(0, len(table), windows_per_pass)
    poses, started = [], time.perf_counter()
    for first in firsts[::every]:
        keypoints_2d = gather(dataset, table[first : first + windows_per_pass], window).keypoints_2d
        with torch.inference_mode():
            lifted = method.lift(torch.cat([keypoints_2d, mirror(keypoints_2d, permutation)]))
            plain, mirrored = lifted.chunk(2)
            poses.append((plain + mirror(mirrored, permutation)) / 2)
    spent = time.perf_counter() - started
    result = torch.cat(poses)
    return Part(result, spent * len(table) / len(result))


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
