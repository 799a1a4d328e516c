"""Procedural human motion: seven people, sixteen actions, no download. For demonstrations and tests, not for science.

An action is a table of key angles over one cycle. Cubic B-splines join the keys (smooth, and never outside their
range), every take varies tempo, amplitude, posture, sides and heading, and forward kinematics turns angles into
joints. The lowest joints support the body: they set the height of the pelvis, and since they must not slide, walking
moves the person through the room.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.dataset import Dataset, Origin
from bench.data.mocap.actions import ACTIONS, HANGING_ARMS, LIMITS, SIDED, Action, Keys
from bench.data.mocap.detector import Detector
from bench.data.mocap.studio import LENSES, film, generator
from bench.data.pose_dataset import Video
from bench.geometry.skeleton import H36M_17
from bench.system.errors import unknown

Array = NDArray[Any]

SUBJECTS = ("S1", "S5", "S6", "S7", "S8", "S9", "S11")  # Human3.6M's names, so that its splits apply here too
FPS = 50.0
SEED = 36
MOTION_REVISION = 1  # raise it whenever the numbers change: it is part of the fingerprint


class Synthetic(Dataset):
    """Every subject, action and take, seen by four cameras; 2D is projected, or detected in simulation."""

    name = "synthetic"
    skeleton = H36M_17
    fps = FPS
    keypoints = {"gt": "gt", "det": "det"}
    cameras = LENSES  # their positions differ between sequences

    def describe(self, root: Path, keypoints: str) -> Origin:
        """Seed, version and detector. There are no files: `root` is ignored."""
        detector = [str(Detector())] if keypoints == "det" else []
        return Origin(["synthetic", keypoints, f"revision {MOTION_REVISION}", f"seed {SEED}", *detector])

    def read(self, root: Path, keypoints: str) -> Iterator[Video]:
        for subject in SUBJECTS:
            for action, how in ACTIONS.items():
                for take in range(how.takes):
                    yield from film(
                        self.skeleton,
                        self.fps,
                        subject=subject,
                        action=action,
                        sequence=f"{action} {take}" if take else action,
                        motion=motion(subject, action, take),
                        keypoints="det" if keypoints == "det" else "gt",
                        seed=SEED,
                    )


def motion(subject: str, action: str, take: int = 0, seed: int = SEED) -> Array:
    """One performance: (frames, 17, 3) metres, world axes, z up, at 50 frames per second, about the origin.

    The same arguments always give the same numbers. Raises BenchError for an unknown subject or action.
    """
    rng = _source(subject, action, take, seed)
    angles, heading = _perform(action, rng)
    return _place(_joints(angles, heading, bone_lengths(subject, seed)), angles["lift"], rng)


def joint_angles(subject: str, action: str, take: int = 0, seed: int = SEED) -> dict[str, Array]:
    """The angles behind `motion`: degree of freedom (the keys of `LIMITS`) to (frames,) degrees, `lift` in metres."""
    return _perform(action, _source(subject, action, take, seed))[0]


def bone_lengths(subject: str, seed: int = SEED) -> dict[str, float]:
    """A subject's bones in metres; left and right are equal. Typical adult proportions, chosen by hand."""
    if subject not in SUBJECTS:
        raise unknown("synthetic subject", subject, SUBJECTS)
    typical = {
        "hip": 0.13, "thigh": 0.45, "shin": 0.445, "lower spine": 0.235, "upper spine": 0.255, "neck": 0.12,
        "head": 0.115, "shoulder": 0.155, "upper arm": 0.28, "forearm": 0.25,
    }  # fmt: skip
    rng = generator(seed, subject)
    stature, own = rng.uniform(0.93, 1.06), rng.uniform(0.96, 1.04, len(typical))
    return {bone: float(length * stature * factor) for (bone, length), factor in zip(typical.items(), own, strict=True)}


# --- from an action to angles


def _source(subject: str, action: str, take: int, seed: int) -> np.random.Generator:
    if subject not in SUBJECTS:
        raise unknown("synthetic subject", subject, SUBJECTS)
    if action not in ACTIONS:
        raise unknown("synthetic action", action, ACTIONS)
    return generator(seed, subject, action, str(take))


def _perform(name: str, rng: np.random.Generator) -> tuple[dict[str, Array], Array]:
    """One take: every angle of `LIMITS` (frames,), and the heading in degrees (frames,)."""
    action = ACTIONS[name]
    frames = int(rng.integers(250, 301))
    tempo = rng.uniform(0.85, 1.15) * (1 + 0.05 * _wander(rng, frames, seconds=1.0))
    phase = rng.uniform() + np.cumsum(tempo.clip(0.5)) / (FPS * action.seconds)
    cycles = int(phase[-1]) + 3
    strength = rng.uniform(0.88, 1.06) * rng.uniform(0.9, 1.06, cycles)
    swapped = rng.uniform(size=cycles) < 0.5 if action.either else np.zeros(cycles, bool)

    keyed = _both_sides(HANGING_ARMS) | _both_sides(action.stance) | _both_sides(action.keys, action.alternate)
    angles = {}
    for channel, limits in LIMITS.items():
        legs = "hip" in channel or "knee" in channel or channel == "lift"
        own = rng.normal(0, 0.02 if legs else 0.1) + rng.normal(0, 0.02 if legs else 0.12, cycles)
        points = _keys(keyed, channel, swapped) * (strength * (1 + own))[:, None]
        values = _spline(points.ravel(), (phase + 1) * points.shape[1])  # one cycle of margin on the left
        if channel != "lift":
            width = 1.5 if legs or channel in ("tilt", "lean", "side") else 4.0
            values = values + rng.normal(0, width) + 0.6 * width * _wander(rng, frames, seconds=0.9)
            values = _soft_clip(values, *limits)
        angles[channel] = values
    return angles, rng.uniform(0, 360) + _turning(action, frames, rng)


def _both_sides(keys: dict[str, Keys], alternate: bool = False) -> dict[str, Keys]:
    """Expand sided names to left and right; `alternate` shifts the right side by half a cycle."""
    spelt: dict[str, Keys] = {}
    for name, values in keys.items():
        half = len(values) // 2 if alternate else 0
        if name in SIDED:
            spelt |= {f"left {name}": values, f"right {name}": values[half:] + values[:half]}
        else:
            spelt[name] = values
    return spelt


def _keys(keyed: dict[str, Keys], channel: str, swapped: Array) -> Array:
    """(cycles, keys) values of a degree of freedom; swapped cycles use the other side."""
    side, _, name = channel.partition(" ")
    there = f"{'right' if side == 'left' else 'left'} {name}" if name else channel
    sign = -1 if channel in ("lean", "yaw", "side", "twist", "look") else 1
    here, other = np.array(keyed.get(channel, (0,)), float), sign * np.array(keyed.get(there, (0,)), float)
    count = int(np.lcm(len(here), len(other)))
    here, other = here.repeat(count // len(here)), other.repeat(count // len(other))
    return np.where(np.append(swapped, swapped[-1:])[:, None], other, here)[: len(swapped)]


def _turning(action: Action, frames: int, rng: np.random.Generator) -> Array:
    """(frames,) degrees by which the heading has changed."""
    rate = rng.choice([-1, 1]) * action.turning * rng.uniform(0.8, 1.2)
    varied = 1 + 0.2 * _wander(rng, frames, 1.0) if action.steady else np.tanh(1.5 * _wander(rng, frames, 1.5))
    return np.asarray(np.cumsum(rate * varied) / FPS)


def _wander(rng: np.random.Generator, frames: int, seconds: float) -> Array:
    """(frames,) smooth noise of about unit size, correlated over about `seconds`."""
    at = 1 + np.arange(frames) / (FPS * seconds)
    return _spline(rng.normal(0, 1.4, int(at[-1]) + 3), at)


def _spline(points: Array, at: Array) -> Array:
    """Uniform cubic B-spline: twice differentiable, inside the range of its points. points (n,), at (m,) to (m,)."""
    first = np.floor(at).astype(int)
    u = at - first
    weights = ((1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3)
    return np.asarray(sum(weight * points[(first + k - 1) % len(points)] for k, weight in enumerate(weights)) / 6)


def _soft_clip(values: Array, low: float, high: float, width: float = 5.0) -> Array:
    """Clamp values smoothly between two limits; clamping starts `width` before a limit."""
    above = low + width * np.logaddexp(0, (values - low) / width)
    return np.asarray(high - width * np.logaddexp(0, (high - above) / width)).clip(low, high)


# --- from angles to joints


def _about(axis: int, degrees: Array) -> Array:
    """Rotations about x (0), y (1) or z (2): (frames,) degrees to (frames, 3, 3)."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    turn = np.zeros((len(degrees), 3, 3))
    turn[:, axis, axis] = 1
    turn[:, i, i] = turn[:, j, j] = cos
    turn[:, i, j], turn[:, j, i] = -sin, sin
    return turn


def _joints(angles: dict[str, Array], heading: Array, bones: dict[str, float]) -> Array:
    """Forward kinematics with the pelvis at the origin: (frames, 17, 3). Body axes: x forward, y left, z up."""
    a = angles
    facing = _about(2, heading + a["yaw"])
    pelvis = facing @ _about(1, a["tilt"]) @ _about(0, -a["lean"])
    half = _about(2, a["twist"] / 2) @ _about(1, a["bend"] / 2) @ _about(0, -a["side"] / 2)
    loins = pelvis @ half
    chest = loins @ half
    half = _about(2, a["look"] / 2) @ _about(1, a["nod"] / 2)
    neck = chest @ half
    skull = neck @ half

    at = {"pelvis": np.zeros((len(heading), 3))}
    at["spine"] = loins @ np.array([0, 0, bones["lower spine"]])
    at["thorax"] = at["spine"] + chest @ np.array([0, 0, bones["upper spine"]])
    at["neck"] = at["thorax"] + neck @ (bones["neck"] * np.array([0.5, 0, 0.866]))  # Human3.6M's lies near the nose
    at["head"] = at["neck"] + skull @ (bones["head"] * np.array([-0.174, 0, 0.985]))
    down = np.array([0, 0, -1.0])
    for side, sign in (("left", 1), ("right", -1)):

        def limb(base: Array, joint: str, side: str = side, sign: int = sign) -> Array:
            forward, out, inward = (a[f"{side} {joint}{which}"] for which in ("", " out", " in"))
            return base @ _about(1, -forward) @ _about(0, sign * out) @ _about(2, -sign * inward)

        thigh = limb(facing, "hip")
        at[f"{side} hip"] = pelvis @ np.array([0, sign * bones["hip"], 0])
        at[f"{side} knee"] = at[f"{side} hip"] + thigh @ (bones["thigh"] * down)
        at[f"{side} ankle"] = at[f"{side} knee"] + thigh @ _about(1, a[f"{side} knee"]) @ (bones["shin"] * down)
        arm = limb(chest, "shoulder")
        at[f"{side} shoulder"] = at["thorax"] + chest @ (bones["shoulder"] * np.array([0, sign * 0.98, -0.2]))
        at[f"{side} elbow"] = at[f"{side} shoulder"] + arm @ (bones["upper arm"] * down)
        at[f"{side} wrist"] = at[f"{side} elbow"] + arm @ _about(1, -a[f"{side} elbow"]) @ (bones["forearm"] * down)
    return np.stack([at[joint] for joint in H36M_17.joints], axis=1)


# Height of each joint when it supports the body, in metres.
_SUPPORTS = {
    "left ankle": 0.08, "right ankle": 0.08, "left knee": 0.06, "right knee": 0.06, "pelvis": 0.12,
}  # fmt: skip


def _place(joints: Array, lift: Array, rng: np.random.Generator, softness: float = 0.01) -> Array:
    """Put the body on the floor: the lowest supports share its weight and stay where they are. Returns world metres."""
    supports = joints[:, [H36M_17.joints.index(name) for name in _SUPPORTS]]
    heights = supports[..., 2] - np.array(list(_SUPPORTS.values()))
    share = np.exp((heights.min(axis=1, keepdims=True) - heights) / softness)
    share /= share.sum(axis=1, keepdims=True)
    steps = -(np.diff(supports[..., :2], axis=0) * (share[1:] + share[:-1])[..., None] / 2).sum(axis=1)
    floor = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    floor += rng.uniform(-0.3, 0.3, 2) - (floor.min(axis=0) + floor.max(axis=0)) / 2
    path = np.column_stack([floor, lift - (share * heights).sum(axis=1)])
    return np.asarray(joints + _cushioned(path)[:, None])


def _cushioned(path: Array, seconds: float = 0.14) -> Array:
    """Smooth the transitions of weight from one support to another. (frames, 3) to (frames, 3)."""
    reach = round(seconds * FPS / 2)
    window = np.hanning(2 * reach + 1)[1:-1] / np.hanning(2 * reach + 1).sum()
    ends = [2 * path[:1] - path[reach - 1 : 0 : -1], path, 2 * path[-1:] - path[-2 : -reach - 1 : -1]]
    padded = np.concatenate(ends)
    return np.column_stack([np.convolve(column, window, "valid") for column in padded.T])
