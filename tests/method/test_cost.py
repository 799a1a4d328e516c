"""Multiply-accumulates are those that the layers' sizes say."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bench import Method, Window, build
from bench.method import cost as costs
from bench.method.cost import macs_per_frame, macs_per_video_frame, macs_text, timed, training_macs
from bench.system.errors import BenchError

JOINTS, DIM, DEPTH, FRAMES = 17, 512, 8, 81


def encoder(frames: int, dim: int, depth: int) -> int:
    """Twice `depth` blocks: 8 D² for each token, and the two products of attention over joints and over frames."""
    tokens = frames * JOINTS
    return 16 * depth * dim**2 * tokens + 2 * depth * dim * (frames * JOINTS**2 + JOINTS * frames**2)


@pytest.mark.parametrize(("frames", "dim", "depth", "heads"), [(FRAMES, DIM, DEPTH, 8), (9, 16, 2, 2)])
def test_mixste(frames: int, dim: int, depth: int, heads: int) -> None:
    window = encoder(frames, dim, depth) + 5 * dim * frames * JOINTS
    method = build("mixste", frames=frames, dim=dim, depth=depth, heads=heads)
    assert macs_per_frame(method, JOINTS) == window // frames


@pytest.mark.parametrize(("frames", "dim", "depth", "heads", "steps"), [(FRAMES, DIM, DEPTH, 8, 3), (9, 16, 2, 2, 1)])
def test_diff3dhpe_counts_every_sampling_step(frames: int, dim: int, depth: int, heads: int, steps: int) -> None:
    time = 6 * dim**2 + 4 * depth * dim**2  # two maps to 2 D, and one of 2 D to D in each block
    one = encoder(frames, dim, depth) + 8 * dim * frames * JOINTS + time
    method = build("diff3dhpe", frames=frames, dim=dim, depth=depth, heads=heads, sampling_steps=steps)
    assert macs_per_frame(method, JOINTS) == steps * one // frames


def test_a_mean_pose_multiplies_nothing() -> None:
    assert macs_per_frame(build("mean_pose", frames=9), JOINTS) == 0


def test_a_method_for_the_centre_frame_costs_one_window_per_frame() -> None:
    class Centre(Method):
        name = "centre"

        def __init__(self) -> None:
            super().__init__()
            self.window = Window(9, targets="centre")
            self.layer = torch.nn.Linear(9 * JOINTS * 2, JOINTS * 3)

        def lift(self, keypoints_2d, *, generator=None):
            return self.layer(keypoints_2d.flatten(1)).reshape(-1, 1, JOINTS, 3)

    assert macs_per_frame(Centre(), JOINTS) == 9 * JOINTS * 2 * JOINTS * 3


def test_a_video_costs_what_its_sliding_convolutions_multiply() -> None:
    method = build("videopose3d", frames=27, joints=17, dim=8)
    frames, before = 8 * 27, 27 - 1  # of the video that is counted, and the frames that repeat its edges
    # Kernels of 3 frames at distances 1, 3 and 9, each but the first followed by one of width 1, then the last layer.
    products, left = 0, frames + before
    for channels, apart in ((34, 1), (8, 3), (8, 9)):
        left -= 2 * apart
        products += left * 8 * (3 * channels + (8 if apart > 1 else 0))
    products += left * 8 * 51
    assert left == frames
    assert macs_per_video_frame(method, 17) == products // frames
    assert macs_per_video_frame(method, 17) < macs_per_frame(method, 17) / 1.5


def test_the_cost_of_a_video_is_unknown_if_values_decide() -> None:
    assert macs_per_video_frame(build("mixste", frames=9, dim=16, depth=1, heads=2), 17) is None, "lifts no videos"


def test_counting_does_not_change_the_method() -> None:
    method = build("diff3dhpe", frames=9, dim=16, depth=1, heads=2).train()
    before = {key: value.clone() for key, value in method.state_dict().items()}
    state = torch.get_rng_state()
    macs_per_frame(method, JOINTS)
    assert method.training
    assert all(torch.equal(before[key], value) for key, value in method.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


class Reads(Method):
    """Looks at values in one of the usual ways."""

    name = "reads"

    def __init__(self, look) -> None:
        super().__init__()
        self.window = Window(9)
        self.layer = torch.nn.Linear(2, 3)
        self.look = look

    def lift(self, keypoints_2d, *, generator=None):
        return self.layer(keypoints_2d) * self.look(keypoints_2d)


LOOKS = {
    "item": lambda keypoints: 1 + keypoints.max().item(),
    "numpy": lambda keypoints: float(np.linalg.norm(keypoints.numpy())),
    "list": lambda keypoints: len(keypoints.flatten().tolist()),
    "branch": lambda keypoints: 2 if keypoints.abs().max() > 0 else 1,
    "loop": lambda keypoints: next(step for step in range(1, 9) if (keypoints * step).sum() < step),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_the_cost_of_a_method_that_looks_at_values_is_unknown(look) -> None:
    method, state = Reads(look), torch.get_rng_state()
    assert macs_per_frame(method, JOINTS) is None
    assert torch.equal(torch.get_rng_state(), state)
    with torch.device("meta"):
        shapes_alone = Reads(look)
    assert macs_per_frame(shapes_alone, JOINTS) is None


def test_a_method_that_cannot_lift_is_reported() -> None:
    def fail(keypoints):
        raise LookupError("no left hip")

    with pytest.raises(BenchError, match=r"reads: lift\(\) of \(1, 9, 17, 2\) failed: LookupError: no left hip"):
        macs_per_frame(Reads(fail), JOINTS)


def test_a_cost_is_shown_in_millions_or_as_unknown() -> None:
    assert [macs_text(macs) for macs in (0, 1_234_567_890, None)] == ["0.0", "1,234.6", "unknown"]


@pytest.mark.parametrize(
    ("targets", "answer", "found", "expected"),
    [
        ("all", lambda poses: poses[:, :1], "(1, 1, 17, 3)", "(1, 9, 17, 3)"),
        ("centre", lambda poses: poses, "(1, 9, 17, 3)", "(1, 1, 17, 3)"),
        ("last", lambda poses: poses[:, 0], "(1, 17, 3)", "(1, 1, 17, 3)"),
        ("all", lambda poses: poses[..., :2], "(1, 9, 17, 2)", "(1, 9, 17, 3)"),
        ("all", lambda poses: [poses], "a list", "(1, 9, 17, 3)"),
    ],
)
def test_poses_of_another_shape_are_reported(targets, answer, found, expected) -> None:
    class Misshapen(Method):
        name = "misshapen"

        def __init__(self) -> None:
            super().__init__()
            self.window = Window(9, targets=targets)

        def lift(self, keypoints_2d, *, generator=None):
            return answer(keypoints_2d.new_zeros(len(keypoints_2d), 9, JOINTS, 3))

    with pytest.raises(BenchError) as caught:
        macs_per_frame(Misshapen(), JOINTS)
    assert (
        f"misshapen: lift() of (1, 9, 17, 2) returned {found}; with targets={targets!r} it must be {expected}"
        in str(caught.value)
    )


class Learns(Method):
    """A linear map of each joint."""

    name = "learns"

    def __init__(self) -> None:
        super().__init__()
        self.window = Window(9)
        self.layer = torch.nn.Linear(2, 3)

    def lift(self, keypoints_2d, *, generator=None):
        return self.layer(keypoints_2d)

    def loss(self, batch, generator=None):
        return {"total": (self.lift(batch.keypoints_2d) - batch.poses_3d).norm(dim=-1).mean()}


@pytest.mark.parametrize(
    ("name", "summed", "found"), [("position", True, r"position \(\)"), ("total", False, r"total \(2,\)")]
)
def test_a_loss_without_one_number_to_minimise_is_reported(name, summed, found) -> None:
    class Aimless(Learns):
        def loss(self, batch, generator=None):
            total = super().loss(batch)["total"]
            return {name: total if summed else total.expand(2)}

    with pytest.raises(BenchError, match=rf"learns: loss\(\) must return a `total` of shape \(\) .*; found {found}"):
        training_macs(Aimless(), JOINTS)


def test_a_training_step_costs_about_three_times_its_forward_pass():
    method = build("mixste", frames=9, dim=16, depth=2, heads=2)
    forward = macs_per_frame(method, 17) * 9
    assert 2.9 < training_macs(method, 17) / forward < 3.1


def test_a_loss_that_looks_at_values_is_counted_too():
    class Picky(type(build("mixste", frames=9, dim=16, depth=2, heads=2))):
        def loss(self, batch, generator=None):
            return {"total": super().loss(batch)["total"] * batch.poses_3d[batch.supervised].square().mean()}

    plain, picky = build("mixste", frames=9, dim=16, depth=2, heads=2), Picky(9, dim=16, depth=2, heads=2)
    state = torch.get_rng_state()
    assert training_macs(picky, 17) == training_macs(plain, 17)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in picky.parameters())


def test_a_call_is_timed_and_its_result_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.5])
    monkeypatch.setattr("bench.method.cost.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    answer, cost = timed(lambda: "poses", 1000, torch.device("cpu"))
    assert answer == "poses"
    assert cost.test_frames_per_second == 400.0
    assert (cost.threads, bool(cost.device)) == (torch.get_num_threads(), True)


@pytest.mark.skipif(not costs.CLEAR.exists(), reason="Linux tells")
def test_peak_memory_on_a_cpu_is_the_growth_of_the_process() -> None:
    kept = torch.ones(16_000_000)  # 64 MB that were there before
    torch.ones(64_000_000)  # 256 MB, freed before
    _, found = timed(lambda: torch.ones(8_000_000).sum(), 10, torch.device("cpu"))
    assert found.peak_memory_mb is not None
    assert 30 <= found.peak_memory_mb < 60
    assert len(kept) == 16_000_000


def test_peak_memory_is_none_where_the_system_does_not_report_it(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(costs, "CLEAR", tmp_path / "none" / "clear_refs")
    assert timed(lambda: None, 10, torch.device("cpu"))[1].peak_memory_mb is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_peak_memory_is_of_the_call_alone() -> None:
    device = torch.device("cuda")
    torch.zeros(64_000_000, device=device)  # freed before
    _, cost = timed(lambda: torch.zeros(1_000_000, device=device), 10, device)
    assert cost.peak_memory_mb is not None
    assert 4.0 <= cost.peak_memory_mb < 64
    assert cost.device == torch.cuda.get_device_name(device)
