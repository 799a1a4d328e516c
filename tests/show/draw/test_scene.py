"""Which video and frame are drawn, and what of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import toy_dataset

from bench.runs.gallery import Answer, Choice, Gallery, frame_errors, one_video
from bench.system.errors import BenchError

VIDEOS = [("S1", "sit", "sit 1", "a", 4), ("S1", "sit", "sit 1", "b", 3), ("S2", "walk", "walk 1", "a", 3)]


@pytest.fixture
def dataset():
    return toy_dataset(VIDEOS)


def gallery(dataset, errors, rows=(0, 1, 2)) -> Gallery:
    """Whose only method errs by so much in each frame."""
    errors = np.array(errors, np.float32)
    poses = dataset.poses_3d.numpy() + errors[:, None, None] / 1000 * np.array([0, 0, 1], np.float32)
    return Gallery(dataset, rows, {"m": Answer(poses, errors, lambda: None)}, 0)


def test_videos_are_narrowed_down_by_what_is_named(dataset):
    assert Choice().rows(dataset) == [0, 1, 2]
    assert Choice(camera="a").rows(dataset) == [0, 2]
    assert Choice(subject="S1", camera="b").rows(dataset) == [1]
    with pytest.raises(BenchError, match=r"'walk 2'\. Did you mean 'walk 1'\? Known: sit 1, walk 1"):
        Choice(sequence="walk 2").rows(dataset)
    with pytest.raises(BenchError, match=r"No camera among the matching test videos 'b'.*Known: a$"):
        Choice(subject="S2", camera="b").rows(dataset)


def test_the_frame_is_found_by_its_error_over_all_chosen_videos(dataset):
    errors = [5, 1, 9, 2, 7, 8, 3, np.nan, 6, 4]  # in order: 1 2 3 4 5 6 7 8 9, of which 5 is in the middle
    assert gallery(dataset, errors).find("median") == (0, 0)
    assert gallery(dataset, errors).find("worst") == (0, 2)
    assert gallery(dataset, errors, rows=[1, 2]).find("worst") == (1, 1)
    assert gallery(dataset, errors, rows=[2]).find("median") == (2, 1)
    assert gallery(dataset, errors, rows=[1]).find(2) == (1, 2)
    with pytest.raises(BenchError, match="there is no frame 3: the video has 3, numbered from 0"):
        gallery(dataset, errors, rows=[1]).find(3)
    with pytest.raises(BenchError, match="frame 0 is not scored"):
        gallery(dataset, errors, rows=[2]).find(0)


def test_a_scene_is_one_video_of_the_test_set(dataset):
    scene = gallery(dataset, range(10)).scene(1)
    assert (len(scene), scene.title, scene.fps) == (3, "toy, S1 sit 1, camera b", 50.0)
    np.testing.assert_array_equal(scene.truth, dataset.poses_3d[4:7])
    np.testing.assert_array_equal(scene.keypoints_2d, dataset.keypoints_2d[4:7])
    np.testing.assert_allclose(
        scene.predictions["m"][:, :, 2] - scene.truth[:, :, 2], np.full((3, 17), 0.005), atol=2e-3
    )
    assert scene.errors["m"].tolist() == [4, 5, 6]


def test_errors_are_of_scored_joints_alone(dataset):
    predicted = dataset.poses_3d.numpy().copy()
    predicted[:, 3, 0] += 0.17
    np.testing.assert_allclose(frame_errors(predicted, dataset), 10, rtol=1e-4)
    np.testing.assert_allclose(frame_errors(predicted, replace(dataset, scored=(2, 3))), 85, rtol=1e-4)
    np.testing.assert_allclose(frame_errors(predicted, replace(dataset, scored=(1, 2))), 0, atol=1e-4)


def test_one_video_is_a_data_set_of_its_own(dataset):
    valid = torch.arange(10) % 2 == 0
    video = one_video(replace(dataset, valid=valid), 2)
    assert (video.starts.tolist(), video.lengths.tolist()) == ([0], [3])
    assert torch.equal(video.poses_3d, dataset.poses_3d[7:])
    assert video.valid.tolist() == [False, True, False]
