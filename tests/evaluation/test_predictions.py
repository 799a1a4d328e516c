"""Whole videos and windows: one prediction, whichever way a method is asked, and targets never read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import toy_dataset

from baselines.poseformer import PoseFormer
from baselines.pstmo import PSTMO
from baselines.videopose3d import VideoPose3D
from bench import Method, build
from bench.data.windows import frame_indices, gather, gather_2d, test_windows
from bench.evaluation import Predictions, predict
from bench.method import Window, checked_lift_video, lifts_videos, over_windows, passes
from bench.system.errors import BenchError

TOYS = {
    "videopose3d": ("videopose3d", {"frames": 9, "dim": 16}),
    "causal": ("videopose3d", {"frames": 9, "dim": 16, "causal": True}),
    "dense": ("videopose3d", {"frames": 9, "dim": 16, "dense": True}),
    "poseformer": ("poseformer", {"frames": 9, "dim": 16, "depth": 2, "heads": 2}),
    "pstmo": ("pstmo", {"frames": 9, "dim": 16, "depth": 2, "heads": 2, "hidden": 24}),
    "every third frame": ("pstmo", {"frames": 9, "dim": 16, "depth": 2, "heads": 2, "hidden": 24, "step": 3}),
}
PUBLISHED = {
    "videopose3d": ("videopose3d", {"frames": 243}),
    "causal": ("videopose3d", {"frames": 243, "causal": True}),
    "poseformer": ("poseformer", {"frames": 81}),
    "pstmo": ("pstmo", {"frames": 243}),
}


def new(name: str, sizes: dict[str, int]) -> Method:
    """In evaluation mode, with weights and statistics unlike those of a fresh network, where many are 0 or 1."""
    torch.manual_seed(0)
    method = build(name, **sizes).eval().requires_grad_(False)
    for parameter in method.parameters():
        parameter.add_(0.02 * torch.randn(parameter.shape))
    for module in method.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return method


@pytest.fixture(scope="module", params=TOYS)
def method(request):
    return new(*TOYS[request.param])


@pytest.fixture(scope="module")
def dataset():
    """Videos of 40 and fewer frames."""
    return toy_dataset()


def by_window(monkeypatch: pytest.MonkeyPatch, *args, **options) -> Predictions:
    with monkeypatch.context() as patch:
        patch.setattr("bench.evaluation.predictions.lifts_videos", lambda method: False)
        return predict(*args, **options)


def assert_video_equals_windows(method: Method, length: int) -> None:
    videos = 0.3 * torch.randn(2, length, 17, 2, generator=torch.Generator().manual_seed(length))
    table = test_windows([length], method.window)
    read = torch.from_numpy(frame_indices(table, [length], method.window))
    with torch.inference_mode():
        apart = torch.stack([torch.cat([method.lift(video[one][None])[0] for one in read]) for video in videos])
        together = checked_lift_video(method, videos)
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("length", [1, 4, 8, 9, 10, 30])
def test_a_video_is_lifted_as_its_windows_are(method, length):
    assert_video_equals_windows(method, length)


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 7, -1, 0, 9], ids=lambda more: f"{more:+}")
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_video_is_lifted_as_its_windows_are_at_published_size(name, length):
    method = new(*PUBLISHED[name])
    if length in (1, 7):
        assert_video_equals_windows(method, length)
        return
    videos = 0.3 * torch.randn(1, method.window.frames + length, 17, 2)
    table = test_windows([videos.shape[1]], method.window)
    some = table[np.unique(np.linspace(0, len(table) - 1, 9, dtype=np.int64))]
    read = torch.from_numpy(frame_indices(some, [videos.shape[1]], method.window))
    with torch.inference_mode():
        together = checked_lift_video(method, videos)[0, torch.from_numpy(some[:, 2])]
        torch.testing.assert_close(together, method.lift(videos[0, read])[:, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("flip", [False, True])
def test_predictions_from_videos_and_from_windows_are_the_same(method, dataset, flip, monkeypatch):
    whole, apart = predict(method, dataset, flip=flip), by_window(monkeypatch, method, dataset, flip=flip)
    np.testing.assert_array_equal(whole.table, apart.table)
    assert whole.poses_3d.shape == apart.poses_3d.shape
    np.testing.assert_allclose(whole.poses_3d, apart.poses_3d, atol=1e-5)


def test_only_valid_frames_are_kept(method, dataset, monkeypatch):
    valid = torch.rand(len(dataset.poses_3d), generator=torch.Generator().manual_seed(2)) < 0.3
    valid[: int(dataset.lengths[0])] = False  # no frame of the first video
    masked = replace(dataset, valid=valid)
    whole, apart = predict(method, masked), by_window(monkeypatch, method, masked)
    assert len(whole.table) == int(valid.sum())
    np.testing.assert_array_equal(whole.table, apart.table)
    np.testing.assert_allclose(whole.poses_3d, apart.poses_3d, atol=1e-5)
    counted = np.isfinite(whole.per_frame(masked)).all(axis=(1, 2))
    np.testing.assert_array_equal(counted, valid.numpy())


@pytest.mark.parametrize("tokens", [17 * 2 * 7, 17 * 2 * 100])
def test_long_videos_are_lifted_in_parts(method, dataset, tokens, monkeypatch):
    whole = predict(method, dataset)
    lengths: list[int] = []
    lift_video = type(method).lift_video

    def lifted(self, keypoints_2d, **options):
        lengths.append(keypoints_2d.shape[1])
        return lift_video(self, keypoints_2d, **options)

    monkeypatch.setattr(type(method), "lift_video", lifted)
    monkeypatch.setattr(passes, "TOKENS", tokens)
    np.testing.assert_allclose(predict(method, dataset).poses_3d, whole.poses_3d, atol=1e-5)
    reach = (method.window.frames - 1) * method.window.step
    assert max(lengths) <= max(1, tokens // 34) + reach


def test_neither_3d_poses_nor_roots_are_read(method, dataset):
    blind = replace(
        dataset,
        poses_3d=torch.full_like(dataset.poses_3d, float("nan")),
        roots=torch.full_like(dataset.roots, float("nan")),
    )
    np.testing.assert_array_equal(predict(method, blind).poses_3d, predict(method, dataset).poses_3d)


def test_the_2d_of_windows_is_that_of_their_batch(dataset):
    window = Window(9, "centre", step=3)
    table = test_windows(dataset.lengths, window)[::7]
    assert torch.equal(gather_2d(dataset, table, window), gather(dataset, table, window).keypoints_2d)


def test_windows_around_frames_repeat_the_edges():
    features, window = torch.arange(1.0, 6.0)[None, :, None], Window(3, "last", step=2)
    seen = over_windows(lambda windows: windows[:, None, :, [0, 0, 0]].mean(dim=2, keepdim=True), features, window, 1)
    assert seen.shape == (1, 5, 1, 3)
    torch.testing.assert_close(seen[0, :, 0, 0] * 3, torch.tensor([3.0, 4.0, 5.0, 7.0, 9.0]))


def test_tokens_bound_a_pass_whatever_the_window():
    for frames in (9, 27, 81, 243, 351):
        for joints in (16, 17, 28):
            for versions in (1, 2):
                for device, most in (("cpu", passes.TOKENS_ON_CPU), ("cuda", passes.TOKENS)):
                    windows = passes.windows_per_pass(Window(frames), joints, device, versions)
                    assert windows * frames * joints * versions <= most
                    assert (windows + 1) * frames * joints * versions > most
    assert passes.windows_per_pass(Window(100_000), 17, "cpu", 2) == 1


def test_progress_counts_every_frame_once(method, dataset, monkeypatch):
    counted: list[int] = []
    monkeypatch.setattr(
        "bench.evaluation.predictions.Progress.update", lambda self, frames, **shown: counted.append(frames)
    )
    monkeypatch.setattr(passes, "TOKENS", 17 * 2 * 7)
    predict(method, dataset)
    assert sum(counted) == len(dataset.poses_3d) * method.window.frames
    assert min(counted) >= 0


def test_methods_that_draw_or_answer_for_every_frame_are_given_windows():
    assert not any(lifts_videos(build(name, frames=9)) for name in ("mixste", "diff3dhpe", "mean_pose"))
    assert all(lifts_videos(cls(9)) for cls in (VideoPose3D, PoseFormer, PSTMO))


def test_a_video_is_not_lifted_in_training():
    with pytest.raises(ValueError, match="is in training mode: whole videos are lifted in evaluation mode only"):
        checked_lift_video(build("videopose3d", frames=9, dim=8).train(), torch.zeros(1, 9, 17, 2))
    partly = new(*TOYS["pstmo"])
    next(module for module in partly.modules() if isinstance(module, torch.nn.BatchNorm1d)).train()
    with pytest.raises(ValueError, match="is in training mode"):
        checked_lift_video(partly, torch.zeros(1, 9, 17, 2))


def test_a_video_of_the_wrong_shape_is_refused(dataset):
    class Short(VideoPose3D):
        def lift_video(self, keypoints_2d, **options):
            return super().lift_video(keypoints_2d, **options)[:, 1:]

    with pytest.raises(BenchError, match=r"lift_video\(\) of \(2, 40, 17, 2\) returned \(2, 39, 17, 3\)"):
        predict(Short(9, dim=8), dataset)
