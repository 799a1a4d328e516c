"""Checks of the 3D: bones keep their length, knees tell left from right, and a wrong joint order shows in both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.verify.findings import Report
from bench.data.verify.recordings import Take
from bench.geometry.skeleton import COCO_17, H36M_17, MPI_INF_3DHP_17, MPI_INF_3DHP_17_OF_28, Skeleton

Array = NDArray[Any]
Bone = tuple[int, int]  # joint and parent

# Layouts in Human3.6M's joint names: MPI-INF-3DHP's head lies near the nose, as Human3.6M's neck does.
_WORDS = {"head top": "head", "neck": "thorax", "head": "neck"}
_3DHP = tuple(_WORDS.get(joint, joint) for joint in MPI_INF_3DHP_17.joints)
LAYOUTS = {
    H36M_17.name: H36M_17.joints,
    MPI_INF_3DHP_17.name: _3DHP,
    "COCO-17": COCO_17.joints,
    "the raw 28 joints'": tuple(joint for _, joint in sorted(zip(MPI_INF_3DHP_17_OF_28, _3DHP, strict=True))),
}

LOOSE = 0.15  # share of a limb's length: larger changes are reported. Trunk and shoulders are not rigid
BROKEN = 0.25  # the same for most limbs: then the joints cannot be those that the file claims
DISORDER = 0.10  # above this, another joint order is tried
SURE = 0.3  # -1..1: how clearly the knees must tell left from right


class Bodies:
    """Checks the 3D of every take, and collects the bones of every subject."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.bones: defaultdict[str, list[Array]] = defaultdict(list)  # subject: lengths in each take
        self.loosest = 0.0
        self.skeleton = H36M_17

    def look(self, take: Take) -> float:
        """Put the joints in order, measure the bones, and return how clearly left is left: -1 (it is right) to 1."""
        self.skeleton = take.skeleton
        self._put_in_order(take)
        lengths = bone_lengths(take.body, limbs(take.skeleton))
        middle = np.median(lengths, axis=0)
        spread = np.ptp(np.quantile(lengths, (0.05, 0.95), axis=0), axis=0) / middle.clip(1e-6)
        self.bones[take.subject].append(middle)
        self.loosest = max(self.loosest, float(spread.max()))
        if spread.max() > LOOSE:
            where = f"{take.name}: {self._bone(int(spread.argmax()))} by {spread.max():.0%}"
            if np.median(spread) > BROKEN:
                self.report.wrong("bones", "most limbs change their length within a video", _ODD, where)
            else:
                self.report.warning("bones", "a limb changes its length within a video", _ODD, where)
        return handedness(take.body, take.skeleton)

    def compare(self) -> None:
        """Compare bones between the takes of a subject, and left with right."""
        for subject, takes in self.bones.items():
            lengths = np.array(takes)
            middle = np.median(lengths, axis=0)
            spread = np.ptp(lengths, axis=0) / middle.clip(1e-6)
            if spread.max() > LOOSE:
                bone = self._bone(int(spread.argmax()))
                what = "a subject's limbs differ between sequences"
                self.report.warning("bones", what, _ODD, f"{subject}: {bone} by {spread.max():.0%}")
            sides = _sides(limbs(self.skeleton), self.skeleton)
            apart = np.abs(middle[sides[0]] / middle[sides[1]].clip(1e-6) - 1)
            if apart.max() > LOOSE:
                bone = self._bone(sides[0][int(apart.argmax())])
                what = "a left limb and its right one differ in length"
                self.report.warning("bones", what, _ODD, f"{subject}: {bone} by {apart.max():.0%}")
        self.report.ok("bones", f"no limb changes by more than {max(self.loosest, 0.001):.1%} within a video")

    def _bone(self, index: int) -> str:
        joint, parent = limbs(self.skeleton)[index]
        return f"{self.skeleton.joints[parent]} to {self.skeleton.joints[joint]}"

    def _put_in_order(self, take: Take) -> None:
        """If another joint order gives more plausible bodies, report it and continue with that order."""
        orders = whole_orders(take.skeleton)
        disorder = {name: _disorder(take.body[:, order], take.skeleton) for name, order in orders.items()}
        best = min(disorder, key=lambda name: disorder[name])
        if best == take.skeleton.name or disorder[best] > 0.5 * disorder[take.skeleton.name]:
            return
        if disorder[take.skeleton.name] < DISORDER:
            return  # hardly any motion, and nothing implausible
        what = f"the 3D is in the order of {best}, not of {take.skeleton.name}"
        order = "put the joints in the order that docs/reference/datasets.md lists"
        self.report.wrong("joints", what, order, take.name)
        take.body = take.body[:, orders[best]]
        take.poses = [poses[:, orders[best]] for poses in take.poses]


_ODD = "are these the right joints, of one person?"


def whole_orders(skeleton: Skeleton) -> dict[str, list[int]]:
    """Layouts that have all joints of a skeleton: name to where each joint lies in it."""
    ours = LAYOUTS[skeleton.name]
    return {name: [theirs.index(joint) for joint in ours] for name, theirs in LAYOUTS.items() if set(ours) <= {*theirs}}


def limbs(skeleton: Skeleton) -> list[Bone]:
    """Thighs, shins, upper arms and forearms: the bones that are rigid."""
    sided = {*skeleton.left, *skeleton.right}
    return [(joint, parent) for joint, parent in skeleton.bones if {joint, parent} <= sided]


def bone_lengths(poses: Array, bones: Sequence[Bone]) -> Array:
    """(frames, joints, 3) to (frames, bones)."""
    ends, starts = np.array(bones).T
    return np.asarray(np.linalg.norm(poses[:, ends] - poses[:, starts], axis=-1))


def _sides(bones: Sequence[Bone], skeleton: Skeleton) -> tuple[list[int], list[int]]:
    """Which bones are left, and which are the right ones, in the same order."""
    joints = [joint for joint, _ in bones]
    pairs = [pair for pair in zip(skeleton.left, skeleton.right, strict=True) if pair[0] in joints]
    return [joints.index(left) for left, _ in pairs], [joints.index(right) for _, right in pairs]


def _disorder(poses: Array, skeleton: Skeleton) -> float:
    """How implausible the joints are as a body: change of bone lengths over time, difference of left and right."""
    lengths = bone_lengths(poses, skeleton.bones)
    middle = np.median(lengths, axis=0).clip(1e-6)
    left, right = _sides(skeleton.bones, skeleton)
    apart = np.abs(np.log(middle[left] / middle[right])).mean()
    return float((lengths.std(axis=0) / middle).mean() + apart)


def handedness(poses: Array, skeleton: Skeleton) -> float:
    """1 where left joints lie on the left of the body, -1 where they lie on its right, near 0 if unclear.

    Knees bend forwards, and shoulders lie above hips: that makes forward and up, and with them left, whatever the
    axes, as long as these are right-handed.
    """

    def at(joint: str) -> Array:
        return np.asarray(poses[:, skeleton.joints.index(joint)], np.float64)

    up = at("left shoulder") + at("right shoulder") - at("left hip") - at("right hip")
    across = at("left shoulder") - at("right shoulder") + at("left hip") - at("right hip")
    forward = np.zeros_like(up)
    for side in ("left", "right"):
        leg, thigh = at(f"{side} ankle") - at(f"{side} hip"), at(f"{side} knee") - at(f"{side} hip")
        along = (thigh * leg).sum(axis=-1, keepdims=True) / (leg**2).sum(axis=-1, keepdims=True).clip(1e-9)
        forward += thigh - along * leg  # how the knee stands out from the line between hip and ankle
    votes = (across * np.cross(up, forward)).sum(axis=-1)
    return float(votes.sum() / max(np.abs(votes).sum(), 1e-12))
