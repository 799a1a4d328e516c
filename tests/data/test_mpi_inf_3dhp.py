"""MPI-INF-3DHP from the community's files: what is read, how it is laid out, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import (
    MPI_INF_3DHP_ACTIVITIES,
    MPI_INF_3DHP_FRAMES,
    MPI_INF_3DHP_VALID,
    mpi_inf_3dhp,
    save_3dhp,
    save_3dhp_activities,
)

from bench.data import load_dataset
from bench.data.contents import contents
from bench.data.mpi_inf_3dhp import MpiInf3dhp
from bench.geometry.camera import denormalise_screen
from bench.geometry.skeleton import MPI_INF_3DHP_17
from bench.system.errors import BenchError, MissingDataError


@pytest.fixture
def root(tmp_path) -> Path:
    """A data folder with both files."""
    save_3dhp(tmp_path / "3dhp", *mpi_inf_3dhp())
    return tmp_path


@pytest.fixture
def files(tmp_path) -> Callable[[Callable[[Any, Any], None]], Path]:
    """Writes both files after `change(train, test)` has spoilt them; returns the data folder."""

    def write(change: Callable[[Any, Any], None]) -> Path:
        train, test = mpi_inf_3dhp()
        change(train, test)
        save_3dhp(tmp_path, train, test)
        return tmp_path

    return write


def rows_of(dataset, subject: str, sequence: str, camera: str) -> slice:
    """Rows of the blocks that hold one video."""
    table = dataset.sequences
    chosen = (table["subject"] == subject) & (table["sequence"] == sequence) & (table["camera"] == camera)
    (row,) = table[chosen].itertuples()
    return slice(row.start, row.start + row.frames)


def test_every_view_of_training_is_a_video_and_every_test_sequence_a_subject(root):
    dataset = MpiInf3dhp().in_memory(root, "gt")
    table = dataset.sequences
    assert (dataset.name, dataset.keypoints, dataset.fps) == ("3dhp", "gt", 25.0)
    assert dataset.skeleton == MPI_INF_3DHP_17
    assert list(table["camera"][:8]) == ["0", "1", "2", "4", "5", "6", "7", "8"]
    training = table[:32:8]
    assert {
        f"{subject} {sequence}": frames
        for subject, sequence, frames in zip(training["subject"], training["sequence"], training["frames"], strict=True)
    } == MPI_INF_3DHP_FRAMES
    testing = table[32:]
    assert list(testing["subject"]) == list(testing["action"]) == list(testing["sequence"]) == list(MPI_INF_3DHP_VALID)
    assert list(table["action"]) == list(table["sequence"])
    assert list(testing["frames"]) == [len(valid) for valid in MPI_INF_3DHP_VALID.values()]
    assert list(table["start"]) == [0, *np.cumsum(table["frames"])[:-1]]


def test_training_frames_are_all_valid_and_test_frames_as_the_file_says(root):
    dataset = MpiInf3dhp().in_memory(root, "gt")
    training = dataset.subset(["S1", "S2", "S8"])
    assert len(training.counted) == len(training.poses_3d) == 8 * sum(MPI_INF_3DHP_FRAMES.values())
    for name, valid in MPI_INF_3DHP_VALID.items():
        assert dataset.subset([name]).valid.tolist() == [bool(value) for value in valid]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_poses_are_metres_about_the_pelvis_and_pixels_are_normalised_by_their_own_image(tmp_path, kind):
    train, test = mpi_inf_3dhp(kind)
    save_3dhp(tmp_path, train, test)
    dataset = MpiInf3dhp().in_memory(tmp_path, "gt")
    for view, video, size in (
        (train["S1 Seq2"][0]["4"], ("S1", "Seq2", "4"), (2048, 2048)),
        (test["TS4"], ("TS4", "TS4", "0"), (2048, 2048)),
        (test["TS5"], ("TS5", "TS5", "0"), (1920, 1080)),
    ):
        rows = rows_of(dataset, *video)
        poses = dataset.poses_3d[rows].numpy()
        assert not poses[:, 14].any()
        absolute = poses + dataset.roots[rows].numpy()[:, None]
        np.testing.assert_allclose(absolute * 1000, view["data_3d"], atol=2e-3)
        seen = denormalise_screen(dataset.keypoints_2d[rows].numpy(), *size)
        np.testing.assert_allclose(seen, view["data_2d"], atol=2e-3)


def test_the_extent_is_over_both_files_and_invalid_frames(files):
    def stretch(train, test):
        test["TS2"]["data_3d"][2, 16] = test["TS2"]["data_3d"][2, 14] + [0, -9000, 100]  # not a valid frame

    dataset = MpiInf3dhp().in_memory(files(stretch), "gt")
    assert dataset.extent == dataset.subset(["S1"]).extent == pytest.approx(9, rel=1e-6)


def test_load_dataset_finds_the_files_in_the_data_folder_and_below_it(root):
    dataset = load_dataset("3dhp", root)
    again = load_dataset("3dhp", root / "3dhp", "gt")
    assert again.fingerprint == dataset.fingerprint
    read = MpiInf3dhp().in_memory(root, "gt")
    for block in ("keypoints_2d", "poses_3d", "roots", "valid"):
        assert (getattr(again, block) == getattr(read, block)).all()
    assert (again.skeleton, again.extent) == (read.skeleton, read.extent)
    with pytest.raises(BenchError, match="No 3dhp keypoints 'cpn'"):
        load_dataset("3dhp", root, "cpn")


def test_the_description_says_how_many_frames_are_valid(root):
    lines = contents("3dhp", root).splitlines()
    assert lines[0].startswith("3dhp, gt keypoints: 38 videos, 337 frames at 25 fps")
    assert ["subject", "videos", "frames", "valid", "actions", "cameras"] in [line.split() for line in lines]
    assert ["TS5", "1", "10", "6", "1", "1"] in [line.split() for line in lines]


def test_activities_come_with_their_file_and_from_the_cache(root):
    without = load_dataset("3dhp", root)
    assert without.activities is None
    assert "activity" not in contents("3dhp", root)
    save_3dhp_activities(root)
    dataset = load_dataset("3dhp", root)
    assert dataset.fingerprint != without.fingerprint
    for name, numbers in MPI_INF_3DHP_ACTIVITIES.items():
        assert dataset.subset([name]).activities.tolist() == numbers
    assert not dataset.subset(["S1", "S2", "S8"]).activities.any()
    for block in ("keypoints_2d", "poses_3d", "roots", "valid"):
        assert (getattr(dataset, block) == getattr(without, block)).all()
    assert (
        "valid frames by activity: Standing/Walking 6, Exercising 0, Sitting 3, Reaching/Crouching 2, On The Floor 2, "
        "Sports 0, Miscellaneous 3" in contents("3dhp", root)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"TS3": [4, 4, 4, 5]},
            r"test_3dhp\.npz: 'TS3': expected 5 whole numbers from 1 to 7, found .* 4\.0, 5\.0 in the shape \(4,\)",
        ),
        ({"TS4": [8]}, r"'TS4': expected 1 whole numbers from 1 to 7, found the values 8"),
        ({"TS4": [1.5]}, r"'TS4': expected 1 whole numbers from 1 to 7, found the values 1\.5"),
        ({"TS4": [np.nan]}, r"'TS4': expected 1 whole numbers from 1 to 7, found the values nan"),
        ({"TS4": [[5]]}, r"'TS4': expected 1 whole numbers from 1 to 7, found .*\(1, 1\)"),
        ({"TS7": [1]}, r"activity_test_3dhp\.npz: 'TS7' is no sequence of this file, which holds TS1 to TS6"),
        ({"TS6": None}, r"activity_test_3dhp\.npz: 'TS6' is missing, which the test file holds"),
    ],
)
def test_a_file_of_activities_that_does_not_fit_is_refused(root, change, message):
    activities = {**MPI_INF_3DHP_ACTIVITIES, **change}
    save_3dhp_activities(root, {name: numbers for name, numbers in activities.items() if numbers is not None})
    with pytest.raises(BenchError, match=message):
        load_dataset("3dhp", root)


def test_measured_skeletons_are_a_data_set_of_their_own(root):
    universal = load_dataset("3dhp", root)
    with pytest.raises(MissingDataError, match=r"3dhp-annot3: data_train_3dhp_annot3\.npz not found, looked for"):
        load_dataset("3dhp-annot3", root)
    train, test = mpi_inf_3dhp()
    for view in [*(view for views, _ in train.values() for view in views.values()), *test.values()]:
        root_mm = view["data_3d"][:, 14:15]
        view["data_3d"] = root_mm + 1.05 * (view["data_3d"] - root_mm)
    save_3dhp(root / "3dhp", train, test, labels="_annot3")
    save_3dhp_activities(root / "3dhp")
    measured = load_dataset("3dhp-annot3", root)
    assert (measured.name, measured.skeleton) == ("3dhp-annot3", MPI_INF_3DHP_17)
    assert measured.fingerprint != universal.fingerprint
    assert measured.sequences.equals(universal.sequences)
    assert (measured.keypoints_2d == universal.keypoints_2d).all()
    np.testing.assert_allclose(measured.poses_3d, 1.05 * universal.poses_3d, atol=1e-6)
    assert measured.activities is not None


def test_missing_files_say_which_where_and_what_to_do(tmp_path, root):
    message = (
        r"3dhp: data_train_3dhp\.npz not found, looked for .*3dhp.data_train_3dhp\.npz and .*datasets\.md.*make demo"
    )
    with pytest.raises(MissingDataError, match=message):
        MpiInf3dhp().fingerprint(tmp_path / "nowhere", "gt")
    (root / "3dhp" / "data_test_3dhp.npz").unlink()
    with pytest.raises(MissingDataError, match=r"data_test_3dhp\.npz not found"):
        load_dataset("3dhp", root)


def use_metres(train, test):
    for views, _ in train.values():
        for view in views.values():
            view["data_3d"] = view["data_3d"] / 1000


def use_micrometres(train, test):
    test["TS1"]["data_3d"] = test["TS1"]["data_3d"] * 1000


def normalise(train, test):
    test["TS3"]["data_2d"] = test["TS3"]["data_2d"] / 1024 - 1


def keep_28_joints(train, test):
    train["S1 Seq1"][0]["5"]["data_3d"] = np.zeros((12, 28, 3))


def keep_a_score(train, test):
    test["TS1"]["data_2d"] = np.ones((10, 17, 3))


def lose_a_joint_in_3d(train, test):
    train["S2 Seq1"][0]["7"]["data_3d"][4, 3, 1] = np.nan


def lose_a_joint_in_2d(train, test):
    test["TS6"]["data_2d"][3, 0, 0] = np.inf


def shorten(train, test):
    train["S8 Seq2"][0]["0"]["data_2d"] = train["S8 Seq2"][0]["0"]["data_2d"][:-1]


def drop_camera(train, test):
    del train["S1 Seq1"][0]["8"]


def add_camera(train, test):
    train["S1 Seq1"][0]["3"] = train["S1 Seq1"][0]["2"]


def forget_the_rate(train, test):
    train["S1 Seq1"] = train["S1 Seq1"][0]


def add_subject(train, test):
    train["S9 Seq1"] = train["S1 Seq1"]


def add_test_sequence(train, test):
    test["TS7"] = test["TS1"]


def swap_files(train, test):
    train.clear()
    train.update(test)


def drop_valid(train, test):
    del test["TS2"]["valid"]


def rename_a_block(train, test):
    view = test["TS2"]
    view["pose_3d"] = view.pop("data_3d")


def shorten_valid(train, test):
    test["TS2"]["valid"] = test["TS2"]["valid"][:-1]


def count_valid(train, test):
    test["TS2"]["valid"] = np.array([0, 1, 2])


def invalidate(train, test):
    test["TS2"]["valid"] = np.zeros(3)


def empty(train, test):
    test["TS2"] = {name: block[:0] for name, block in test["TS2"].items()}


def flatten(train, test):
    test["TS2"] = test["TS2"]["data_3d"]


def use_text(train, test):
    test["TS2"]["data_3d"] = test["TS2"]["data_3d"].astype(str)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            use_metres,
            r"train_3dhp\.npz: 'S1 Seq1', camera 0: the largest coordinate is \d\S*; is the 3D in metres, not in",
        ),
        (use_micrometres, r"test_3dhp\.npz: 'TS1': the largest coordinate is \S+; is the 3D in some smaller unit, not"),
        (normalise, r"test_3dhp\.npz: 'TS3': no keypoint is farther than 4 pixels .* normalised already"),
        (keep_28_joints, r"'S1 Seq1', camera 5, data_3d: expected \(frames, 17, 3\) numbers, found \(12, 28, 3\)"),
        (keep_a_score, r"'TS1', data_2d: expected \(frames, 17, 2\) numbers, found \(10, 17, 3\)"),
        (lose_a_joint_in_3d, r"'S2 Seq1', camera 7, data_3d: frame 4 holds numbers that are not finite"),
        (lose_a_joint_in_2d, r"'TS6', data_2d: frame 3 holds numbers that are not finite"),
        (shorten, r"'S8 Seq2', camera 0: 6 frames of 2D, 7 of 3D"),
        (drop_camera, r"'S1 Seq1': cameras are 0, 1, 2, 4, 5, 6, 7, expected 0, 1, 2, 4, 5, 6, 7, 8"),
        (add_camera, r"'S1 Seq1': cameras are 0, 1, 2, 3, 4, 5, 6, 7, 8, expected 0, 1, 2, 4"),
        (forget_the_rate, r"'S1 Seq1': expected \[views by camera, frames per second\], found dict"),
        (add_subject, r"train_3dhp\.npz: 'S9 Seq1' is no sequence of this file, which holds S1 Seq1 to S8 Seq2"),
        (add_test_sequence, r"test_3dhp\.npz: 'TS7' is no sequence of this file, which holds TS1 to TS6"),
        (swap_files, r"train_3dhp\.npz: 'TS1' is no sequence of this file"),
        (drop_valid, r"'TS2': expected data_2d, data_3d, valid, found data_2d, data_3d$"),
        (rename_a_block, r"'TS2': expected data_2d, data_3d, valid, found data_2d, pose_3d, valid"),
        (shorten_valid, r"'TS2', valid: expected 3 values of 0 or 1, found .*2"),
        (count_valid, r"'TS2', valid: expected 3 values of 0 or 1, found .*0, 1, 2"),
        (invalidate, r"'TS2', valid: no frame is valid"),
        (empty, r"'TS2', data_2d: .* found \(0, 17, 2\)"),
        (flatten, r"'TS2': expected data_2d, data_3d, valid, found ndarray"),
        (use_text, r"'TS2', data_3d: expected \(frames, 17, 3\) numbers"),
    ],
)
def test_files_that_do_not_hold_what_they_should_are_refused(files, change, message):
    with pytest.raises(BenchError, match=message):
        MpiInf3dhp().in_memory(files(change), "gt")


def test_a_file_of_something_else_is_refused(files):
    root = files(lambda train, test: None)
    np.savez(root / "data_test_3dhp.npz", poses=np.zeros(3))
    with pytest.raises(BenchError, match=r"data_test_3dhp\.npz: expected an array 'data', found poses"):
        MpiInf3dhp().in_memory(root, "gt")
