"""Procedural human motion: seven people, sixteen actions, no download. For demonstrations and tests, not for science.

An action is a table of key angles over one cycle. Cubic B-splines join the keys (smooth, and never outside their
range), every take varies tempo, amplitude, posture, sides and heading, and forward kinematics turns angles into
joints. The lowest joints carry the body: their height sets the pelvis' height, and since they must not slide, walking
moves through the room by itself.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.archive import fingerprint as digest
from bench.data.pose_dataset import Builder, PoseDataset
from bench.errors import unknown
from bench.skeleton import H36M_17

Array = NDArray[Any]
Keys = tuple[float, ...]

KEYPOINTS = {"gt": "gt", "det": "det"}
SUBJECTS = ("S1", "S5", "S6", "S7", "S8", "S9", "S11")  # Human3.6M's names, so that its splits hold here too
FPS = 50.0
SEED = 36
REVISION = 1  # raise it whenever the numbers change: it is part of the fingerprint

# Degrees of freedom, in degrees but for `lift` (metres above the support). Sided ones exist as "left ..." and
# "right ...". Thighs are measured from the vertical, so that a trunk that tilts leaves the feet where they are.
SIDED = {
    "hip": (-45.0, 130.0),  # forward
    "hip out": (-15.0, 50.0),
    "hip in": (-40.0, 40.0),  # turned about the thigh
    "knee": (0.0, 150.0),  # a hinge: the heel towards the seat
    "shoulder": (-60.0, 175.0),  # forward
    "shoulder out": (-35.0, 170.0),
    "shoulder in": (-100.0, 80.0),  # turned about the upper arm
    "elbow": (0.0, 150.0),  # a hinge: the hand towards the shoulder
}
MIDDLE = {
    "tilt": (-30.0, 80.0),  # pelvis forward
    "lean": (-25.0, 25.0),  # pelvis to the left
    "yaw": (-45.0, 45.0),  # pelvis to the left, about the vertical
    "bend": (-25.0, 70.0),  # spine forward
    "side": (-30.0, 30.0),  # spine to the left
    "twist": (-45.0, 45.0),  # spine to the left
    "nod": (-40.0, 45.0),  # head down
    "look": (-65.0, 65.0),  # head to the left
    "lift": (0.0, 1.0),
}
LIMITS = MIDDLE | {f"{side} {name}": limits for side in ("left", "right") for name, limits in SIDED.items()}


@dataclass(frozen=True)
class Action:
    """Key angles at equal steps of a cycle of `seconds`. A sided name without a side means both.

    alternate: the right side does what the left does, half a cycle later. either: each cycle picks its side.
    turning: degrees a second, at most, that the heading changes by; steady: at one rate, on a circle.
    """

    seconds: float
    keys: dict[str, Keys]
    alternate: bool = False
    either: bool = False
    turning: float = 0.0
    steady: bool = False
    takes: int = 1
    stance: dict[str, Keys] = field(default_factory=lambda: {"hip": (2,), "hip out": (5,), "knee": (5,)})


_ARMS: dict[str, Keys] = {"shoulder": (4,), "shoulder out": (9,), "elbow": (16,), "bend": (5,)}  # hanging

ACTIONS: dict[str, Action] = {
    "walk": Action(
        1.1,
        {
            "hip": (30, 24, 10, -4, -18, -8, 22, 36),
            "knee": (2, 18, 12, 2, 8, 50, 80, 34),
            "shoulder": (-24, -18, -4, 12, 24, 18, 4, -12),
            "elbow": (15, 12, 15, 25, 35, 32, 25, 18),
            "yaw": (-5, -4, 0, 4, 5, 4, 0, -4),
            "twist": (10, 8, 0, -8, -10, -8, 0, 8),
            "lean": (0, -3, -4, -2, 0, 3, 4, 2),
            "tilt": (4,),
        },
        alternate=True,
        turning=60,
        steady=True,
        takes=2,
        stance={"hip out": (2,)},
    ),
    "run": Action(
        0.75,
        {
            "hip": (32, 22, 2, -18, -26, 0, 38, 52),
            "knee": (15, 42, 30, 12, 25, 85, 125, 65),
            "shoulder": (-50, -36, -8, 20, 34, 26, -4, -38),
            "shoulder out": (16,),
            "shoulder in": (15,),
            "elbow": (95, 90, 80, 85, 100, 105, 100, 95),
            "yaw": (-8, -6, 0, 6, 8, 6, 0, -6),
            "twist": (16, 12, 0, -12, -16, -12, 0, 12),
            "lift": (0.03, 0, 0, 0.06, 0.03, 0, 0, 0.06),
            "tilt": (8,),
            "bend": (9,),
        },
        alternate=True,
        turning=95,
        steady=True,
        stance={"hip out": (2,)},
    ),
    "turn": Action(
        1.1,
        {
            "hip": (2, 2, 6, 22, 42, 22, 6, 2),
            "knee": (4, 4, 10, 45, 75, 40, 10, 4),
            "shoulder": (10, 12, 8, -6, -14, -6, 4, 8),
            "elbow": (30, 32, 30, 25, 20, 22, 25, 28),
            "look": (18, 10, -4, -18, -10, 4),
        },
        alternate=True,
        turning=130,
        stance={"hip out": (4,)},
    ),
    "sit": Action(
        5.0,
        {
            "hip": (2, 2, 40, 86, 90, 88, 90, 86, 40, 2),
            "hip out": (5, 5, 8, 10, 12, 8, 11, 9, 7, 5),
            "knee": (5, 5, 56, 92, 88, 82, 86, 92, 56, 5),
            "tilt": (0, 6, 32, 18, -6, -10, -5, 18, 32, 6),
            "bend": (5, 8, 22, 16, 8, 12, 8, 16, 22, 8),
            "shoulder": (4, 8, 35, 30, 20, 22, 22, 30, 35, 8),
            "shoulder in": (0, 0, 5, 12, 18, 12, 16, 12, 5, 0),
            "elbow": (16, 18, 30, 40, 50, 58, 48, 40, 30, 18),
            "look": (0, 0, 0, 15, -25, 20, -10, 0, 0, 0),
        },
    ),
    "floor": Action(
        5.5,
        {
            "hip": (4, 30, 100, 122, 116, 116, 120, 105, 50, 4),
            "hip out": (6, 8, 12, 12, 8, 10, 12, 12, 9, 6),
            "knee": (6, 50, 140, 95, 62, 60, 80, 140, 75, 6),
            "tilt": (0, 20, 35, -10, -18, -16, -5, 35, 25, 0),
            "bend": (5, 15, 28, 20, 14, 18, 22, 28, 18, 5),
            "shoulder": (4, 20, 40, -10, -36, -34, 5, 60, 30, 4),
            "shoulder out": (9, 12, 18, 24, 26, 22, 20, 16, 12, 9),
            "elbow": (16, 20, 25, 20, 8, 14, 25, 30, 20, 16),
        },
    ),
    "squat": Action(
        2.6,
        {
            "hip": (4, 45, 102, 104, 50, 4),
            "hip out": (8, 12, 18, 18, 12, 8),
            "knee": (6, 72, 132, 134, 78, 6),
            "tilt": (0, 22, 36, 36, 22, 0),
            "bend": (5, 10, 18, 18, 10, 5),
            "shoulder": (8, 60, 130, 130, 60, 8),
            "elbow": (14, 18, 10, 10, 18, 14),
        },
    ),
    "kneel": Action(
        5.0,
        {
            "left hip": (2, 20, 62, 88, 90, 90, 88, 62, 20, 2),
            "left knee": (5, 25, 66, 90, 90, 90, 90, 66, 25, 5),
            "right hip": (2, -6, -8, 0, 2, 2, 0, -8, -6, 2),
            "right knee": (5, 22, 70, 92, 94, 94, 92, 70, 22, 5),
            "tilt": (0, 8, 15, 8, 4, 6, 8, 18, 8, 0),
            "bend": (5, 8, 14, 10, 16, 22, 14, 14, 8, 5),
            "shoulder": (4, 8, 14, 24, 30, 26, 22, 14, 8, 4),
            "elbow": (16, 18, 25, 55, 75, 60, 40, 25, 18, 16),
            "look": (0, 0, 5, 15, -25, -15, 20, 5, 0, 0),
        },
        either=True,
    ),
    "bend": Action(
        3.0,
        {
            "hip": (2, 10, 20, 20, 10, 2),
            "knee": (5, 16, 30, 30, 16, 5),
            "tilt": (0, 36, 66, 66, 36, 0),
            "bend": (5, 28, 55, 55, 28, 5),
            "twist": (0, 0, 10, -10, 0, 0),
            "shoulder": (4, 50, 108, 108, 50, 4),
            "elbow": (16, 22, 14, 26, 30, 16),
            "nod": (0, -8, -20, -15, -5, 0),
        },
    ),
    "reach": Action(
        2.6,
        {
            "right shoulder": (4, 55, 135, 135, 60, 4),
            "right shoulder out": (9, 16, 22, 8, 14, 9),
            "right elbow": (16, 75, 10, 10, 70, 16),
            "side": (0, 3, 8, 8, 3, 0),
            "twist": (0, 8, 16, 16, 6, 0),
            "tilt": (0, 3, 8, 8, 3, 0),
            "nod": (0, -8, -20, -20, -8, 0),
            "look": (0, -8, -18, -10, -4, 0),
        },
        either=True,
    ),
    "wave": Action(
        3.4,
        {
            "right shoulder out": (9, 60, 84, 86, 88, 86, 88, 86, 60, 9),
            "right shoulder in": (0, -60, -92, -94, -92, -94, -92, -90, -55, 0),
            "right elbow": (16, 90, 105, 45, 120, 45, 120, 50, 90, 16),
            "side": (0, 2, 6, 4, 6, 4, 6, 4, 2, 0),
            "look": (0, -8, -15, -12, -5, -12, -15, -10, -4, 0),
        },
        either=True,
    ),
    "punch": Action(
        1.0,
        {
            "shoulder": (36, 34, 55, 92, 92, 52, 34, 36),
            "shoulder out": (12, 10, 6, 0, 0, 6, 10, 12),
            "shoulder in": (22, 22, 18, 10, 10, 18, 22, 22),
            "elbow": (126, 128, 85, 2, 2, 80, 126, 128),
            "twist": (28, 12, -12, -28, -28, -12, 12, 28),
            "bend": (10,),
            "tilt": (5,),
            "nod": (8,),
        },
        alternate=True,
        stance={"left hip": (20,), "left knee": (24,), "right hip": (-10,), "right knee": (16,), "hip out": (6,)},
    ),
    "kick": Action(
        2.4,
        {
            "right hip": (2, -12, -30, 5, 88, 88, 40, 10, 2, 2),
            "right knee": (5, 20, 70, 110, 40, 2, 50, 35, 10, 5),
            "left knee": (6, 12, 16, 16, 12, 12, 14, 12, 8, 6),
            "left hip": (2, 6, 8, 6, 2, 2, 6, 6, 4, 2),
            "left shoulder": (4, 10, 25, 40, 55, 50, 25, 10, 4, 4),
            "right shoulder": (4, 6, 10, -10, -30, -28, -10, 4, 4, 4),
            "shoulder out": (9, 16, 26, 34, 38, 36, 26, 16, 10, 9),
            "elbow": (16, 28, 40, 40, 30, 30, 35, 25, 18, 16),
            "tilt": (0, 6, 10, 2, -12, -14, -2, 2, 0, 0),
            "bend": (5, 6, 8, 12, 22, 20, 10, 6, 5, 5),
            "twist": (0, -4, -8, 0, 10, 10, 4, 0, 0, 0),
        },
        either=True,
    ),
    "jump": Action(
        2.2,
        {
            "hip": (4, 4, 28, 64, 64, 12, 0, 0, 16, 40, 26, 8),
            "knee": (6, 6, 48, 100, 100, 18, 2, 4, 26, 66, 46, 14),
            "lift": (0, 0, 0, 0, 0, 0.06, 0.3, 0.3, 0.06, 0, 0, 0),
            "tilt": (0, 6, 24, 36, 32, 8, -2, 0, 10, 20, 12, 2),
            "bend": (5, 6, 12, 16, 14, 5, 2, 2, 8, 12, 9, 6),
            "shoulder": (4, -4, -42, -52, -20, 90, 160, 160, 100, 50, 20, 6),
            "shoulder out": (9, 10, 14, 16, 14, 12, 14, 16, 16, 14, 12, 9),
            "elbow": (16, 16, 10, 10, 25, 35, 12, 12, 30, 34, 25, 18),
        },
    ),
    "jack": Action(
        1.2,
        {
            "hip out": (2, 4, 18, 30, 30, 24, 8, 2),
            "knee": (6, 20, 8, 6, 14, 18, 8, 14),
            "hip": (3, 9, 4, 3, 7, 9, 4, 7),
            "shoulder out": (10, 20, 80, 150, 160, 130, 60, 14),
            "shoulder in": (0, 0, -20, -40, -40, -30, -10, 0),
            "elbow": (12, 16, 20, 16, 14, 18, 20, 14),
            "lift": (0, 0.02, 0.1, 0.02, 0, 0.02, 0.1, 0.02),
        },
    ),
    "talk": Action(
        3.2,
        {
            "shoulder": (14, 32, 24, 44, 18, 8, 26, 36, 12, 20),
            "shoulder out": (10, 22, 14, 24, 30, 10, 14, 26, 16, 12),
            "shoulder in": (18, -12, 24, 4, -20, 16, 30, -14, 10, 20),
            "elbow": (40, 95, 70, 110, 85, 30, 100, 75, 115, 60),
            "twist": (0, 14, 6, -10, -16, 2, 12, -6),
            "look": (0, 24, 10, -22, -30, 0, 20, -12),
            "nod": (4, 10, -4, 8, 0, -6),
            "bend": (5, 8, 4, 10, 6),
        },
        alternate=True,
        takes=2,
    ),
    "phone": Action(
        1.5,
        {
            "hip": (18, 14, 6, -2, -10, -4, 16, 22),
            "knee": (4, 12, 8, 4, 8, 30, 52, 22),
            "right shoulder": (38,),
            "right shoulder out": (34,),
            "right shoulder in": (34,),
            "right elbow": (146, 146, 144, 148),
            "left shoulder": (-8, -4, 4, 10, 4, -4),
            "yaw": (-3, 0, 3, 0),
            "side": (-4, 0, 2, 0, 3),
            "nod": (12, 16, 8, 14),
            "look": (-14, -8, -18),
        },
        alternate=True,
        turning=70,
        stance={"hip out": (3,)},
    ),
}


def motion(subject: str, action: str, take: int = 0, seed: int = SEED) -> Array:
    """One performance: (frames, 17, 3) metres, world axes, z up, at 50 frames a second, about the origin.

    The same arguments always give the same numbers. Raises BenchError for an unknown subject or action.
    """
    rng = _source(subject, action, take, seed)
    angles, heading = _perform(action, rng)
    return _place(_joints(angles, heading, bone_lengths(subject, seed)), angles["lift"], rng)


def joint_angles(subject: str, action: str, take: int = 0, seed: int = SEED) -> dict[str, Array]:
    """The angles behind `motion`: degree of freedom (the keys of `LIMITS`) to (frames,) degrees, `lift` in metres."""
    return _perform(action, _source(subject, action, take, seed))[0]


def bone_lengths(subject: str, seed: int = SEED) -> dict[str, float]:
    """A subject's bones in metres; left and right are alike. Proportions after Human3.6M's actors."""
    if subject not in SUBJECTS:
        raise unknown("synthetic subject", subject, SUBJECTS)
    typical = {
        "hip": 0.13, "thigh": 0.45, "shin": 0.445, "lower spine": 0.235, "upper spine": 0.255, "neck": 0.12,
        "head": 0.115, "shoulder": 0.155, "upper arm": 0.28, "forearm": 0.25,
    }  # fmt: skip
    rng = _generator(seed, subject)
    stature, own = rng.uniform(0.93, 1.06), rng.uniform(0.96, 1.04, len(typical))
    return {bone: float(length * stature * factor) for (bone, length), factor in zip(typical.items(), own, strict=True)}


def fingerprint(root: Path, keypoints: str) -> str:
    """What the numbers depend on. There are no files: `root` is not looked at."""
    return digest(["synthetic", keypoints, f"revision {REVISION}", f"seed {SEED}"])


def read(root: Path, keypoints: str, fingerprint: str) -> PoseDataset:
    """Every subject, action and take from four cameras. `root` is not looked at."""
    from bench.data.studio import film

    builder = Builder("synthetic", keypoints, FPS, fingerprint)
    for subject in SUBJECTS:
        for action, how in ACTIONS.items():
            for take in range(how.takes):
                film(
                    builder,
                    subject=subject,
                    action=action,
                    sequence=f"{action} {take}" if take else action,
                    motion=motion(subject, action, take),
                    keypoints=keypoints,
                    seed=SEED,
                )
    return builder.build()


# --- from an action to angles


def _generator(seed: int, *names: str) -> np.random.Generator:
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def _source(subject: str, action: str, take: int, seed: int) -> np.random.Generator:
    if subject not in SUBJECTS:
        raise unknown("synthetic subject", subject, SUBJECTS)
    if action not in ACTIONS:
        raise unknown("synthetic action", action, ACTIONS)
    return _generator(seed, subject, action, str(take))


def _perform(name: str, rng: np.random.Generator) -> tuple[dict[str, Array], Array]:
    """One take: every angle of `LIMITS` (frames,), and the heading in degrees (frames,)."""
    action = ACTIONS[name]
    frames = int(rng.integers(250, 301))
    tempo = rng.uniform(0.85, 1.15) * (1 + 0.08 * _wander(rng, frames, seconds=1.0))
    phase = rng.uniform() + np.cumsum(tempo.clip(0.5)) / (FPS * action.seconds)
    cycles = int(phase[-1]) + 3
    strength = rng.uniform(0.88, 1.06) * rng.uniform(0.9, 1.06, cycles)
    swapped = rng.uniform(size=cycles) < 0.5 if action.either else np.zeros(cycles, bool)

    keyed = _both_sides(_ARMS) | _both_sides(action.stance) | _both_sides(action.keys, action.alternate)
    angles = {}
    for channel, limits in LIMITS.items():
        legs = "hip" in channel or "knee" in channel or channel == "lift"
        own = rng.normal(0, 0.02 if legs else 0.1) + rng.normal(0, 0.02 if legs else 0.12, cycles)
        points = _keys(keyed, channel, swapped) * (strength * (1 + own))[:, None]
        values = _spline(points.ravel(), (phase + 1) * points.shape[1])  # one cycle of margin on the left
        if channel != "lift":
            width = 1.5 if legs else 4.0
            values = values + rng.normal(0, width) + 0.6 * width * _wander(rng, frames, seconds=0.9)
            values = _soft_clip(values, *limits)
        angles[channel] = values
    return angles, rng.uniform(0, 360) + _turning(action, frames, rng)


def _both_sides(keys: dict[str, Keys], alternate: bool = False) -> dict[str, Keys]:
    """Spell sided names out; `alternate` shifts the right side by half a cycle."""
    spelt: dict[str, Keys] = {}
    for name, values in keys.items():
        half = len(values) // 2 if alternate else 0
        if name in SIDED:
            spelt |= {f"left {name}": values, f"right {name}": values[half:] + values[:half]}
        else:
            spelt[name] = values
    return spelt


def _keys(keyed: dict[str, Keys], channel: str, swapped: Array) -> Array:
    """(cycles, keys) values of a degree of freedom; cycles that are swapped do it with the other side."""
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
    """(frames,) smooth noise of about unit size that forgets itself after `seconds`."""
    at = 1 + np.arange(frames) / (FPS * seconds)
    return _spline(rng.normal(0, 1.4, int(at[-1]) + 3), at)


def _spline(points: Array, at: Array) -> Array:
    """Uniform cubic B-spline: twice differentiable, inside the range of its points. points (n,), at (m,) to (m,)."""
    first = np.floor(at).astype(int)
    u = at - first
    weights = ((1 - u) ** 3, 3 * u**3 - 6 * u**2 + 4, -3 * u**3 + 3 * u**2 + 3 * u + 1, u**3)
    return np.asarray(sum(weight * points[(first + k - 1) % len(points)] for k, weight in enumerate(weights)) / 6)


def _soft_clip(values: Array, low: float, high: float, width: float = 2.5) -> Array:
    """Keep values between two limits without a kink; `width` is how early the limit is felt."""
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


# How high each joint lies when it carries the body, in metres.
_SUPPORTS = {
    "left ankle": 0.08, "right ankle": 0.08, "left knee": 0.06, "right knee": 0.06, "pelvis": 0.12,
}  # fmt: skip


def _place(joints: Array, lift: Array, rng: np.random.Generator, softness: float = 0.015) -> Array:
    """Put the body on the floor: the lowest supports share its weight and stay where they are. Returns world metres."""
    supports = joints[:, [H36M_17.joints.index(name) for name in _SUPPORTS]]
    heights = supports[..., 2] - np.array(list(_SUPPORTS.values()))
    share = np.exp((heights.min(axis=1, keepdims=True) - heights) / softness)
    share /= share.sum(axis=1, keepdims=True)
    steps = -(np.diff(supports[..., :2], axis=0) * (share[1:] + share[:-1])[..., None] / 2).sum(axis=1)
    path = np.zeros((len(joints), 3))
    path[1:, :2] = np.cumsum(steps, axis=0)
    path[:, :2] += rng.uniform(-0.3, 0.3, 2) - (path[:, :2].min(axis=0) + path[:, :2].max(axis=0)) / 2
    path[:, 2] = lift - (share * heights).sum(axis=1)
    return np.asarray(joints + path[:, None])
