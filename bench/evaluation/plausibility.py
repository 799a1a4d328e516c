"""Detect mistakes that a score would hide: another unit, absolute coordinates, other axes, another order of joints.

Poses from elsewhere are compared with the ground truth before they are scored. What is refused is not a bad method, but
good poses in a wrong format.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from bench.data.pose_dataset import PoseDataset
from bench.evaluation.predictions import Predictions
from bench.evaluation.predictions_file import keys
from bench.geometry.skeleton import Skeleton
from bench.system.errors import BenchError

Poses = NDArray[np.float32]

TIMES = 10.0  # no method's poses are so many times larger or smaller than the people in the data
UNITS = (
    (300.0, "millimetres; divide by 1000"),
    (30.0, "centimetres; divide by 100"),
)  # at least this many times as large -> the unit
FAR = 1.0  # metres: no root-relative pose has its root so far from zero
SAMPLE = 300  # frames on which other axes and joint orders are tried
BETTER = 0.5  # another reading is taken to be meant if it reduces the error to this share ...
GOOD = 0.150  # ... and to less than this, metres
AXES = ("x", "y", "z")


def check(predictions: Predictions, testing: PoseDataset, where: str) -> None:
    """Raise BenchError if poses are not in metres, root-relative, in camera axes and in the data set's joint order.

    where: what the poses come from, as the message calls it.
    """
    poses = predictions.per_frame(testing)[testing.counted]
    target = testing.poses_3d.numpy()[testing.counted]
    _check_units(poses, target, testing, where)
    chosen = np.linspace(0, len(poses) - 1, min(SAMPLE, len(poses))).astype(np.int64)
    _check_order(poses[chosen], target[chosen], testing.skeleton, where)
    _check_root(poses, testing, where)  # last: with joints in another order, another joint is taken for the root


def _check_units(poses: Poses, target: Poses, testing: PoseDataset, where: str) -> None:
    found, expected = (_by_video(_size(block, testing.skeleton.root), testing) for block in (poses, target))
    times = np.divide(found, expected, out=np.ones_like(found), where=expected > 0)
    wrong = np.flatnonzero((times > TIMES) | (times < 1 / TIMES))
    for video in wrong[:1]:
        unit = next((name for least, name in UNITS if times[video] > least), "another unit")
        raise BenchError(
            f"{where}: poses must be in metres. In {_named(wrong, testing)} joints lie {found[video]:.4g} from the "
            f"root on average; in the data {expected[video]:.2g} m. It looks like {unit}"
        )


def _check_order(poses: Poses, target: Poses, skeleton: Skeleton, where: str) -> None:
    given = float(np.linalg.norm(poses - target, axis=-1).mean())
    for error, axes, order in _other_orders(poses, target):
        if error < min(BETTER * given, GOOD):
            found = [f"its axes are taken as ({', '.join(axes)})"] if axes != list(AXES) else []
            if order == list(skeleton.mirror):
                found.append("left and right joints are swapped")
            elif order != sorted(order):
                names = ", ".join(skeleton.joints[joint] for joint in np.argsort(order))
                found.append(f"its joints are, in its own order, {names}")
            raise BenchError(
                f"{where}: poses must be in camera axes (x right, y down, z forward) and in the joint order of "
                f"{skeleton.name}. As they are, MPJPE is {given * 1000:.0f} mm; it is {error * 1000:.0f} mm if "
                f"{' and '.join(found)}"
            )


def _check_root(poses: Poses, testing: PoseDataset, where: str) -> None:
    root = testing.skeleton.root
    distance = _by_video(np.linalg.norm(poses[:, root], axis=-1), testing)
    wrong = np.flatnonzero(distance > FAR)
    for video in wrong[:1]:
        raise BenchError(
            f"{where}: poses must be root-relative. In {_named(wrong, testing)} the root lies {distance[video]:.1f} m "
            f"from zero, as in absolute coordinates. Subtract joint {root} ({testing.skeleton.joints[root]})"
        )


def _other_orders(poses: Poses, target: Poses) -> Iterator[tuple[float, list[str], list[int]]]:
    """(error in metres, axes, order) of other readings of the same numbers, the simplest first.

    axes: what each of x, y and z is taken from; order[j]: the predicted joint that is taken as joint j.
    """
    same = list(range(poses.shape[1]))
    readings = []
    for columns, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        axes = [("" if sign > 0 else "-") + AXES[column] for column, sign in zip(columns, signs, strict=True)]
        readings.append((axes, poses[..., list(columns)] * np.array(signs, np.float32)))
    for axes, turned in readings:
        yield float(np.linalg.norm(turned - target, axis=-1).mean()), axes, same
    for axes, turned in readings:
        apart = np.stack([np.linalg.norm(turned - target[:, [joint]], axis=-1).mean(axis=0) for joint in same])
        joints, taken = linear_sum_assignment(apart)
        yield float(apart[joints, taken].mean()), axes, taken.tolist()


def _named(videos: NDArray[np.int64], testing: PoseDataset) -> str:
    """The first of some videos, and how many more there are."""
    more = f" and {len(videos) - 1} other videos" if len(videos) > 1 else ""
    return f"{keys(testing)[videos[0]]!r}{more}"


def _size(poses: Poses, root: int) -> NDArray[np.float32]:
    """How far the joints of each pose lie from its root, on average."""
    size: NDArray[np.float32] = np.linalg.norm(poses - poses[:, [root]], axis=-1).mean(axis=-1)
    return size


def _by_video(values: NDArray[np.float32], testing: PoseDataset) -> NDArray[np.float64]:
    """The median over the scored frames of each video, (videos,); NaN where none is. values: per scored frame."""
    videos = len(testing.lengths)
    video = np.repeat(np.arange(videos), testing.lengths)[testing.counted]
    medians = pd.Series(values).groupby(video).median().reindex(range(videos))
    return np.asarray(medians, np.float64)
