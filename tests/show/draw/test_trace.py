"""The course of a sampler ends where the method's answer is, and following it changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from samples import toy_dataset

from bench import build
from bench.evaluation import predict
from bench.runs.gallery import one_video
from bench.show.draw.trace import samples, trace
from bench.system.errors import BenchError

TINY = {"dim": 8, "depth": 1, "heads": 2, "sampling_steps": 3, "pose_scale": 0.7}


@pytest.fixture
def videos():
    return toy_dataset([("S1", "sit", "sit", "a", 6), ("S2", "walk", "walk", "a", 40)])


def diffusion(**options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build("diff3dhpe", frames=9, **{**TINY, **options}).eval()


@pytest.mark.parametrize("options", [{}, {"targets": "centre"}, {"eta": 1.0}, {"sampler": "published"}])
@pytest.mark.parametrize(("row", "frame"), [(0, 0), (0, 5), (1, 8), (1, 9), (1, 38)])
def test_the_last_state_is_what_the_method_answers(videos, options, row, frame):
    """Frame 38 lies in a window that overlaps the one before; the first video is shorter than a window."""
    method = diffusion(**options)
    answered = predict(method, videos, flip=False, seed=5).per_frame(videos)[videos.starts[row] + frame]
    found = trace(method, one_video(videos, row), frame, seed=5)
    np.testing.assert_allclose(found.states[-1], answered, atol=1e-5)
    np.testing.assert_array_equal(found.states[-1], found.clean[-1])
    assert (found.states.shape, found.clean.shape, found.steps) == ((4, 17, 3), (3, 17, 3), 3)


def test_the_first_state_is_noise_as_large_as_a_pose(videos):
    method = diffusion()
    starts = np.stack([trace(method, one_video(videos, 1), frame).states[0] for frame in range(0, 40, 4)]) / 0.7
    assert abs(starts.mean()) < 0.15
    assert starts.std() == pytest.approx(1, abs=0.1)


def test_following_changes_nothing(videos):
    method, video = diffusion(), one_video(videos, 1)
    before = predict(method, video, flip=False).poses_3d
    assert trace(method, video, 3, steps=7).steps == 7
    with pytest.raises(BenchError, match=r"diff3dhpe: sampling steps must be in 1\.\.1000, not 1001"):
        trace(method, video, 3, steps=1001)
    assert "sample" not in vars(method.diffusion)
    assert method.sampling_steps == 3
    np.testing.assert_array_equal(predict(method, video, flip=False).poses_3d, before)


def test_of_several_hypotheses_the_first_is_followed(videos):
    one, three = (trace(diffusion(hypotheses=count), one_video(videos, 1), 3) for count in (1, 3))
    np.testing.assert_array_equal(one.states, three.states)


def test_a_method_of_one_pass_has_no_course(videos):
    method = build("mixste", frames=9, dim=8, depth=1, heads=2)
    assert not samples(method)
    with pytest.raises(BenchError, match="mixste lifts in one pass"):
        trace(method, one_video(videos, 1), 3)
