"""A simulated 2D detector, for data that come without images.

Errors of real detectors are not white: they follow a joint for a while, grow with the person's size in the image and
towards the ends of the limbs, jump when a joint is hidden, and now and then take the left leg for the right one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.geometry.skeleton import Skeleton

Array = NDArray[Any]

# Difficulty relative to an average joint, by the last word of the joint's name; 1 for joints not listed here.
DIFFICULTY = {
    "pelvis": 0.6, "hip": 0.8, "spine": 0.8, "thorax": 0.7, "neck": 0.7, "head": 0.8,
    "shoulder": 0.9, "elbow": 1.2, "wrist": 1.6, "knee": 1.1, "ankle": 1.4,
}  # fmt: skip


@dataclass(frozen=True)
class Detector:
    """How a detector errs. Sizes are standard deviations per axis, as a fraction of the person's size in the image.

    The person's size is the diagonal of the joints' bounding box in that frame; `DIFFICULTY` scales all four errors.
    The defaults miss a person of 430 pixels by about 5 on average. They were chosen by hand, not fitted to a detector.
    """

    drift: float = 0.0065  # error that follows a joint through time
    drift_seconds: float = 0.15  # after which it has decayed to 1/e
    jitter: float = 0.002  # error that is new in every frame
    bias: float = 0.005  # error that stays for the whole video
    occlusions_per_second: float = 0.4  # of the whole person; harder joints are hidden more often
    occlusion_seconds: float = 0.4  # mean length (exponential); the error swells and fades within it
    occlusion_error: float = 0.03  # error at the height of an occlusion
    occlusion_pull: float = 0.4  # at its height, largest share (0..1) of its way to the parent that a joint moves
    swaps_per_second: float = 0.03  # per pair of limbs
    swap_seconds: float = 0.15  # mean length (exponential)

    def __post_init__(self) -> None:
        for setting in fields(self):
            if not 0 <= getattr(self, setting.name) < np.inf:
                raise ValueError(f"Detector: {setting.name} is {getattr(self, setting.name)}, not a positive number")
        if self.occlusion_pull > 1:
            raise ValueError(f"Detector: occlusion_pull is {self.occlusion_pull}, not in 0..1")


def detect(
    keypoints_px: Array, skeleton: Skeleton, fps: float, rng: np.random.Generator, settings: Detector | None = None
) -> Array:
    """What the detector reports for one video of one person.

    keypoints_px: (frames, joints, 2) true pixels; returns the same shape and type. fps: frames per second.
    The result is determined by `rng` alone. Raises ValueError if the joints are not the skeleton's.
    """
    settings = settings or Detector()
    if keypoints_px.ndim != 3 or keypoints_px.shape[1:] != (len(skeleton), 2):
        raise ValueError(f"keypoints are {keypoints_px.shape}, not (frames, {len(skeleton)}, 2)")
    truth = keypoints_px.astype(np.float64)
    if not len(truth):
        return keypoints_px.copy()
    difficulty = np.array([DIFFICULTY.get(joint.split()[-1], 1.0) for joint in skeleton.joints])
    size = np.linalg.norm(np.ptp(truth, axis=1), axis=-1)
    scale = size[:, None, None] * difficulty[:, None]  # (frames, joints, 1) pixels
    errors = (
        settings.drift * _autoregressive(truth.shape, np.exp(-1 / max(fps * settings.drift_seconds, 1e-6)), rng)
        + settings.jitter * rng.standard_normal(truth.shape)
        + settings.bias * rng.standard_normal(truth.shape[1:])
    )
    seen = truth + scale * errors + _occlusion_errors(truth, scale, skeleton, difficulty, fps, rng, settings)
    _swap_limbs(seen, skeleton, fps, rng, settings)
    return np.asarray(seen, keypoints_px.dtype)


def _autoregressive(shape: tuple[int, ...], keep: float, rng: np.random.Generator) -> Array:
    """Stationary AR(1) noise of unit variance along the first axis: x_t = keep x_(t-1) + sqrt(1 - keep^2) n_t."""
    noise = rng.standard_normal(shape)
    noise[1:] *= np.sqrt(1 - keep**2)
    for frame in range(1, len(noise)):
        noise[frame] += keep * noise[frame - 1]
    return noise


def _occlusion_errors(
    truth: Array,
    scale: Array,
    skeleton: Skeleton,
    difficulty: Array,
    fps: float,
    rng: np.random.Generator,
    settings: Detector,
) -> Array:
    """(frames, joints, 2) pixels: hidden joints drift off, partly towards their parents, and come back."""
    errors, pull = np.zeros_like(truth), np.zeros(truth.shape[:2])
    joints = [joint for joint, _ in skeleton.bones]
    chances = difficulty[joints] / difficulty[joints].sum()
    for start, stop in _bursts(len(truth), fps, settings.occlusions_per_second, settings.occlusion_seconds, rng):
        joint = rng.choice(joints, p=chances)
        swell = np.sin(np.pi * (np.arange(stop - start) + 0.5) / (stop - start)) ** 2
        frames = slice(max(start, 0), stop)
        swell = swell[frames.start - start :][: len(truth) - frames.start]
        offset = settings.occlusion_error * rng.standard_normal(2)
        errors[frames, joint] += swell[:, None] * offset * scale[frames, joint]
        pull[frames, joint] = np.maximum(pull[frames, joint], settings.occlusion_pull * rng.uniform() * swell)
    parents = [max(parent, joint * (parent < 0)) for joint, parent in enumerate(skeleton.parents)]
    return np.asarray(errors + pull[..., None] * (truth[:, parents] - truth))


def _swap_limbs(seen: Array, skeleton: Skeleton, fps: float, rng: np.random.Generator, settings: Detector) -> None:
    """Exchange whole limbs, left for right, in place."""
    for left, right in _limbs(skeleton):
        for start, stop in _bursts(len(seen), fps, settings.swaps_per_second, settings.swap_seconds, rng):
            frames = slice(max(start, 0), stop)
            seen[frames, left + right] = seen[frames, right + left]


def _bursts(
    frames: int, fps: float, per_second: float, seconds: float, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """(first, last + 1) frames of events that begin at random. Some have begun before the video, some outlast it."""
    before = int(5 * seconds * fps)  # events that began earlier are over with a probability of 99 %
    count = rng.poisson(per_second * (frames + before) / fps)
    starts = rng.integers(-before, frames, count)
    stops = starts + np.maximum(1, np.round(rng.exponential(seconds, count) * fps)).astype(int)
    return [(int(start), int(stop)) for start, stop in zip(starts, stops, strict=True) if stop > 0]


def _limbs(skeleton: Skeleton) -> list[tuple[list[int], list[int]]]:
    """Pairs of limbs: chains of connected left joints, and the right joints in the same order."""
    limbs: dict[int, tuple[list[int], list[int]]] = {}
    for left, right in zip(skeleton.left, skeleton.right, strict=True):
        top = left
        while skeleton.parents[top] in skeleton.left:
            top = skeleton.parents[top]
        limb = limbs.setdefault(top, ([], []))
        limb[0].append(left)
        limb[1].append(right)
    return list(limbs.values())
