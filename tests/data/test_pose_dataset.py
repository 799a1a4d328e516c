"""PoseDataset: how videos are laid out, what a subset holds, what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.data.pose_dataset import Builder, PoseDataset, Video, offsets, subject_order
from bench.geometry.camera import h36m_cameras
from bench.geometry.skeleton import H36M_17
from bench.system.errors import BenchError

# subject, sequence, camera (index in the rig), frames; on purpose in no order
VIDEOS = [
    ("S11", "Walking 1", 0, 4),
    ("S9", "SittingDown 1", 2, 3),
    ("S9", "Sitting 2", 3, 5),
    ("S9", "Sitting 2", 1, 5),
    ("S1", "NA", 0, 2),
]


def poses_of(subject: str, sequence: str, camera: int, frames: int) -> np.ndarray:
    rng = np.random.default_rng([len(subject), len(sequence), camera, frames])
    return rng.normal(0, 1, (frames, 17, 3)).astype(np.float32)


def small_dataset() -> PoseDataset:
    builder = Builder("small", "gt", 50.0, "f" * 64)
    for subject, sequence, camera, frames in VIDEOS:
        poses = poses_of(subject, sequence, camera, frames)
        view = h36m_cameras()[subject][camera]
        builder.add(Video(subject, sequence.split(" ")[0], sequence, view, 500 * poses[..., :2], poses))
    dataset = builder.build()
    assert not builder.videos, "what is laid out need not stay in memory twice"
    return dataset


def test_videos_are_sorted_by_subject_number_sequence_and_camera():
    table = small_dataset().sequences
    assert [tuple(row) for row in table[["subject", "action", "sequence", "camera", "start", "frames"]].to_numpy()] == [
        ("S1", "NA", "NA", "54138969", 0, 2),
        ("S9", "Sitting", "Sitting 2", "55011271", 2, 5),
        ("S9", "Sitting", "Sitting 2", "60457274", 7, 5),
        ("S9", "SittingDown", "SittingDown 1", "58860488", 12, 3),
        ("S11", "Walking", "Walking 1", "54138969", 15, 4),
    ]


def test_blocks_hold_root_relative_poses_roots_and_normalised_keypoints():
    dataset = small_dataset()
    assert dataset.lengths.tolist() == [2, 5, 5, 3, 4]
    assert dataset.starts.tolist() == [0, 2, 7, 12, 15]
    poses = torch.from_numpy(poses_of("S9", "SittingDown 1", 2, 3))
    assert not dataset.poses_3d[:, H36M_17.root].any()
    assert torch.equal(dataset.poses_3d[12:15], poses - poses[:, :1])
    assert torch.equal(dataset.roots[12:15], poses[:, 0])
    # That camera's image is 1000 x 1000: 500 px are half of it, the middle is (0, 0).
    torch.testing.assert_close(dataset.keypoints_2d[12:15], poses[..., :2] - 1)
    # This one's is 1000 x 1002, and both axes are divided by the width.
    poses = torch.from_numpy(poses_of("S11", "Walking 1", 0, 4))
    torch.testing.assert_close(dataset.keypoints_2d[15:19], poses[..., :2] - torch.tensor([1, 1.002]))
    for block in (dataset.keypoints_2d, dataset.poses_3d, dataset.roots):
        assert block.is_contiguous()


@pytest.mark.parametrize("subjects", [["S9"], ["S1", "S11"], ["S11", "S1"], ["S1", "S9", "S11"], []])
def test_a_subset_holds_the_videos_of_its_subjects_and_nothing_else(subjects):
    dataset = small_dataset()
    part = dataset.subset(subjects)
    assert set(part.sequences["subject"]) == set(subjects)
    assert len(part.poses_3d) == part.sequences["frames"].sum()
    kept = dataset.sequences[dataset.sequences["subject"].isin(subjects)]
    for (_, whole), (_, mine) in zip(kept.iterrows(), part.sequences.iterrows(), strict=True):
        assert (whole["sequence"], whole["camera"]) == (mine["sequence"], mine["camera"])
        for block in ("keypoints_2d", "poses_3d", "roots"):
            there = getattr(dataset, block)[whole["start"] : whole["start"] + whole["frames"]]
            here = getattr(part, block)[mine["start"] : mine["start"] + mine["frames"]]
            assert torch.equal(here, there)
    for block in (part.keypoints_2d, part.poses_3d, part.roots):
        assert block.is_contiguous()
    assert dataset.sequences["start"].tolist() == [0, 2, 7, 12, 15], "the whole is left as it was"


def test_a_subset_of_neighbours_is_not_copied():
    dataset = small_dataset()
    part = dataset.subset(["S9"])
    assert part.poses_3d.data_ptr() == dataset.poses_3d[2:].data_ptr()


def test_an_unknown_subject_is_named_with_the_known_ones():
    with pytest.raises(BenchError, match="small: no subject 'S7'; the data hold S1, S9, S11"):
        small_dataset().subset(["S1", "S7"])


@pytest.mark.parametrize("block", ["keypoints_2d", "poses_3d", "roots"])
def test_blocks_of_the_wrong_shape_or_type_are_refused(block):
    dataset = small_dataset()
    values = getattr(dataset, block)
    for wrong in (values[:-1], values[..., :1], values.double()):
        with pytest.raises(ValueError, match=f"small: {block} is "):
            replace(dataset, **{block: wrong})


def test_frames_count_unless_a_video_says_otherwise():
    assert small_dataset().valid is None
    assert small_dataset().counted.tolist() == list(range(19))
    builder = Builder("small", "gt", 50.0, "f")
    for name, valid in (("b", None), ("a", np.array([True, False, True]))):
        builder.add(Video("S1", name, name, h36m_cameras()["S1"][0], np.ones((3, 17, 2)), np.ones((3, 17, 3)), valid))
    assert builder.build().counted.tolist() == [0, 2, 3, 4, 5]


@pytest.mark.parametrize("subjects", [["S9"], ["S1", "S11"], []])
def test_a_subset_keeps_valid_frames_and_the_extent_of_the_whole(subjects):
    whole = replace(small_dataset(), valid=torch.arange(19) % 2 == 0, extent=9.0)
    rows = whole.sequences.loc[whole.sequences["subject"].isin(subjects)]
    expected = [
        row % 2 == 0 for start, n in zip(rows["start"], rows["frames"], strict=True) for row in range(start, start + n)
    ]
    part = whole.subset(subjects)
    assert part.valid.tolist() == expected
    assert part.extent == 9.0


def test_activities_are_0_where_a_video_says_nothing_and_a_subset_keeps_them():
    builder = Builder("small", "gt", 50.0, "f")
    for name, activities in (("b", None), ("a", np.array([4, 0, 2], np.uint8))):
        pixels, poses, camera = np.ones((3, 17, 2)), np.ones((3, 17, 3)), h36m_cameras()["S1"][0]
        builder.add(Video(f"S{name}", name, name, camera, pixels, poses, None, activities))
    dataset = builder.build()
    assert dataset.activities.tolist() == [4, 0, 2, 0, 0, 0]
    assert dataset.subset(["Sb"]).activities.tolist() == [0, 0, 0]
    assert small_dataset().activities is None
    with pytest.raises(ValueError, match=r"small: activities is \(6,\) torch.int64, not \(6,\) torch.uint8"):
        replace(dataset, activities=dataset.activities.long())


def test_valid_frames_of_the_wrong_shape_or_type_are_refused():
    for wrong in (torch.ones(18, dtype=torch.bool), torch.ones(19)):
        with pytest.raises(ValueError, match="small: valid is "):
            replace(small_dataset(), valid=wrong)


def test_a_table_that_lacks_a_column_or_frames_is_refused():
    dataset = small_dataset()
    with pytest.raises(ValueError, match="small: the table of sequences lacks camera"):
        replace(dataset, sequences=dataset.sequences.drop(columns="camera"))
    nothing = dataset.sequences.assign(frames=[0, 7, 5, 3, 4])
    with pytest.raises(ValueError, match="a sequence without frames"):
        replace(dataset, sequences=nothing)


def test_subjects_are_ordered_as_people_count():
    names = ["S11", "TS2", "S9", "118", "02", "S1", "TS10"]
    assert sorted(names, key=subject_order) == ["02", "118", "S1", "S9", "S11", "TS2", "TS10"]


def test_offsets_are_where_pieces_start():
    assert offsets([3, 1, 4]).tolist() == [0, 3, 4]
    assert offsets([5]).tolist() == [0]
    assert offsets([]).tolist() == []
