"""The joint sets hang together."""

from __future__ import annotations

import pytest

from bench.geometry import skeleton
from bench.geometry.skeleton import H36M_17, H36M_17_OF_32, MPI_INF_3DHP_17, Skeleton, counterparts

SKELETONS = [known for known in vars(skeleton).values() if isinstance(known, Skeleton)]

# The 32 recorded joints of Human3.6M: the joint that each hangs from.
PARENTS_32 = (-1, 0, 1, 2, 3, 4, 0, 6, 7, 8, 9, 0, 11, 12, 13, 14, 12, 16, 17, 18, 19, 20, 19, 22, 12, 24, 25, 26, 27,
              28, 27, 30)  # fmt: skip


@pytest.mark.parametrize("known", SKELETONS, ids=lambda known: known.name)
def test_a_joint_set_is_a_tree_with_two_sides(known):
    assert len(known) == len(known.joints) == len(known.parents) == len(set(known.joints))
    assert [joint for joint, parent in enumerate(known.parents) if parent < 0] == [known.root]
    for joint in range(len(known)):
        passed = set()
        while joint != known.root:
            assert joint not in passed, "a circle never reaches the root"
            passed.add(joint)
            joint = known.parents[joint]
    assert len(known.bones) == len(known) - 1
    assert not set(known.left) & set(known.right)


@pytest.mark.parametrize("known", SKELETONS, ids=lambda known: known.name)
def test_the_mirror_swaps_left_and_right_and_undoes_itself(known):
    mirror = known.mirror
    assert [mirror[joint] for joint in mirror] == list(range(len(known)))
    for joint, name in enumerate(known.joints):
        side = name.replace("left", "#").replace("right", "left").replace("#", "right")
        assert known.joints[mirror[joint]] == side
    for joint, parent in known.bones:
        assert known.parents[mirror[joint]] == mirror[parent], "mirrored bones hang from mirrored joints"


def test_the_17_joints_of_human36m_are_the_published_selection():
    removed = {4, 5, 9, 10, 11, 16, 20, 21, 22, 23, 24, 28, 29, 30, 31}
    assert tuple(joint for joint in range(32) if joint not in removed) == H36M_17_OF_32
    assert H36M_17.left == (4, 5, 6, 11, 12, 13)
    assert H36M_17.right == (1, 2, 3, 14, 15, 16)
    for joint, parent in H36M_17.bones:
        above = PARENTS_32[H36M_17_OF_32[joint]]
        while above not in H36M_17_OF_32:
            above = PARENTS_32[above]
        shoulder = "shoulder" in H36M_17.joints[joint]  # moved up to the thorax by hand
        assert H36M_17.joints[parent] == ("thorax" if shoulder else H36M_17.joints[H36M_17_OF_32.index(above)])


@pytest.mark.parametrize(("known", "other"), [(H36M_17, MPI_INF_3DHP_17), (MPI_INF_3DHP_17, H36M_17)])
def test_counterparts_keep_sides_bones_and_the_root(known, other):
    found, same = counterparts(known, other)
    assert sorted(found) == list(range(len(other))), "each joint of the other stands in for one"
    assert [found[joint] for joint in known.mirror] == [other.mirror[joint] for joint in found]
    assert found[known.root] == other.root
    assert counterparts(other, known)[0] == tuple(found.index(joint) for joint in range(len(other)))
    assert all(known.joints[joint] == other.joints[found[joint]] for joint in same)
    assert set(same) == {known.root, *known.left, *known.right}, "the trunk and the head are not the same"
    for joint, parent in known.bones:
        if joint in same and parent in same:
            assert other.parents[found[joint]] == found[parent]


@pytest.mark.parametrize("known", SKELETONS, ids=lambda known: known.name)
def test_a_joint_set_is_its_own_counterpart(known):
    assert counterparts(known, known) == (tuple(range(17)), tuple(range(17)))


def test_joint_sets_that_nobody_has_compared_are_refused():
    with pytest.raises(ValueError, match="which joints H36M-17 and stick have in common is not known"):
        counterparts(H36M_17, Skeleton("stick", ("pelvis",), (-1,), (), (), 0))
