"""Joint sets: names, parents, left and right. Every index of a joint in the suite comes from here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Skeleton:
    """A joint set. parents[j] is the parent of joint j, -1 for the root; left[i] mirrors right[i].

    Raises ValueError if the joints do not form a tree below the root, or left and right are not pairs.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    root: int

    def __post_init__(self) -> None:
        joints, sided = range(len(self.joints)), (*self.left, *self.right)
        if len(set(self.joints)) != len(self.joints):
            raise ValueError(f"skeleton {self.name}: two joints have the same name")
        if len(self.parents) != len(self.joints) or not set(self.parents) <= {-1, *joints}:
            raise ValueError(
                f"skeleton {self.name}: each of its {len(joints)} joints needs a parent, or -1 for the root"
            )
        if self.root not in joints or [joint for joint in joints if self.parents[joint] == -1] != [self.root]:
            raise ValueError(f"skeleton {self.name}: the root, and it alone, has the parent -1")
        if len(self.left) != len(self.right) or len(set(sided)) != len(sided) or not set(sided) <= set(joints):
            raise ValueError(f"skeleton {self.name}: left and right must list pairs of joints, each joint at most once")

    def __len__(self) -> int:
        return len(self.joints)

    @property
    def mirror(self) -> tuple[int, ...]:
        """The permutation that swaps left and right: pose[..., mirror, :] with x negated is the mirrored pose."""
        swapped = list(range(len(self.joints)))
        for left, right in zip(self.left, self.right, strict=True):
            swapped[left], swapped[right] = right, left
        return tuple(swapped)

    @property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """(joint, parent) of every joint but the root."""
        return tuple((joint, parent) for joint, parent in enumerate(self.parents) if parent >= 0)


# Human3.6M (Ionescu et al., TPAMI 2014) as the lifting literature keeps it: 17 of the 32 recorded joints.
H36M_17 = Skeleton(
    name="H36M-17",
    joints=(
        "pelvis", "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle",
        "spine", "thorax", "neck", "head", "left shoulder", "left elbow", "left wrist",
        "right shoulder", "right elbow", "right wrist",
    ),
    parents=(-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15),
    left=(4, 5, 6, 11, 12, 13),
    right=(1, 2, 3, 14, 15, 16),
    root=0,
)  # fmt: skip

# MPI-INF-3DHP (Mehta et al., 3DV 2017) in the order of its test set: MPII's, then pelvis, spine and head.
MPI_INF_3DHP_17 = Skeleton(
    name="MPI-INF-3DHP-17",
    joints=(
        "head top", "neck", "right shoulder", "right elbow", "right wrist",
        "left shoulder", "left elbow", "left wrist", "right hip", "right knee", "right ankle",
        "left hip", "left knee", "left ankle", "pelvis", "spine", "head",
    ),
    parents=(1, 15, 1, 2, 3, 1, 5, 6, 14, 8, 9, 14, 11, 12, -1, 14, 1),
    left=(5, 6, 7, 11, 12, 13),
    right=(2, 3, 4, 8, 9, 10),
    root=14,
)  # fmt: skip

# The groups of joints that the evaluation script of MPI-INF-3DHP prints, under its names; joints in none of them
# (pelvis, spine, head) do not count in PCK and AUC.
MPI_INF_3DHP_GROUPS = {
    "Head": (0,), "Neck": (1,), "Shou": (2, 5), "Elbow": (3, 6), "Wrist": (4, 7), "Hip": (8, 11), "Knee": (9, 12),
    "Ankle": (10, 13),
}  # fmt: skip
# COCO (Lin et al., ECCV 2014), what 2D detectors find. It has no pelvis: the nose is the root of its tree. 2D only.
COCO_17 = Skeleton(
    name="COCO-17",
    joints=(
        "nose", "left eye", "right eye", "left ear", "right ear",
        "left shoulder", "right shoulder", "left elbow", "right elbow", "left wrist", "right wrist",
        "left hip", "right hip", "left knee", "right knee", "left ankle", "right ankle",
    ),
    parents=(-1, 0, 0, 1, 2, 0, 0, 5, 6, 7, 8, 5, 6, 11, 12, 13, 14),
    left=(1, 3, 5, 7, 9, 11, 13, 15),
    right=(2, 4, 6, 8, 10, 12, 14, 16),
    root=0,
)  # fmt: skip
# The suite's skeletons by name; a data set may declare another.
KNOWN = {skeleton.name: skeleton for skeleton in (H36M_17, MPI_INF_3DHP_17, COCO_17)}

# Human3.6M and MPI-INF-3DHP have the pelvis and the joints of the limbs in common. From the spine up they share names,
# not places: Human3.6M's joint, and the nearest of MPI-INF-3DHP (docs/reference/protocols.md says why).
NEAREST = {"spine": "spine", "thorax": "neck", "neck": "head", "head": "head top"}

# The rows of the 32 recorded joints that become the 17, in their order.
H36M_17_OF_32 = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)

# The rows of the 28 joints of MPI-INF-3DHP's training annotations that become the 17, in their order.
MPI_INF_3DHP_17_OF_28 = (7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 4, 3, 6)


def counterparts(skeleton: Skeleton, other: Skeleton) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The counterpart of each joint in another skeleton, and which joints are the same in both.

    Returns indices into `other`, one for each joint of `skeleton`: the same place on the body, or the nearest; and
    indices into `skeleton`, ascending, of the joints that are the same. Raises ValueError for other skeletons.
    """
    if skeleton == other:
        return (tuple(range(len(other))),) * 2
    if (skeleton, other) == (H36M_17, MPI_INF_3DHP_17):
        nearest = NEAREST
    elif (skeleton, other) == (MPI_INF_3DHP_17, H36M_17):
        nearest = {theirs: ours for ours, theirs in NEAREST.items()}
    else:
        raise ValueError(f"which joints {skeleton.name} and {other.name} have in common is not known")
    stand_ins = tuple(other.joints.index(nearest.get(joint, joint)) for joint in skeleton.joints)
    return stand_ins, tuple(index for index, joint in enumerate(skeleton.joints) if joint not in nearest)
