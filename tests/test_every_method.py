"""What every registered method must do, whatever it is: a new one passes these without a test of its own."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import pytest
import torch

import bench
from bench import Batch, Method, Window, testing
from bench.method import in_float32, registry
from bench.system.errors import BenchError
from bench.testing import CHECKS, Specimen, check_method

SIZES = {"dim": 16, "depth": 2, "heads": 2}
JOINTS = 17

# Sizes that a method accepts, so that all are built alike, and that mean nothing to it.
MEANINGLESS = {"mean_pose": {"dim", "depth", "heads"}, "videopose3d": {"depth", "heads"}}

# Ends of the names of parameters that no loss can move.
UNMOVED = {
    "poseformer": ("network.weighted_mean.bias",),  # shifts all channels alike, and the norm behind it centres them
    # The published network stores a final norm for each of its transformers and calls none; they count as parameters.
    "pstmo": ("encoder.temporal.norm.scale", "encoder.temporal.norm.shift", "strided.norm.scale", "strided.norm.shift"),
}

# A stranger's method that is installed beside ours has other hyper-parameters; `check_method` is for it.
OURS = sorted(
    point.name for point in entry_points(group=registry.GROUP) if point.dist and point.dist.name == "diff3dhpe-bench"
)


@pytest.fixture(params=OURS)
def name(request) -> str:
    return request.param


@pytest.mark.parametrize("frames", [9, 27])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_passes_every_check_of_a_method(check, name, frames):
    check(Specimen(name, frames, JOINTS, SIZES, UNMOVED.get(name, ())))


def new(name: str, frames: int = 9, **changes: Any) -> Method:
    return Specimen(name, frames, hyperparameters=SIZES | changes).new()


def test_an_untrainable_method_says_so():
    with pytest.raises(NotImplementedError, match="MeanPose does not implement loss"):
        new("mean_pose").loss(Specimen("mean_pose").batch())


def test_other_skeletons_can_be_lifted(name):
    testing.lifts_to_finite_poses_in_the_shape_of_its_window(Specimen(name, 9, 28, SIZES))


@pytest.mark.parametrize(
    "wrong",
    [
        {"frames": 0},
        {"joints": -1},
        {"no_such_thing": 1},
        {"dim": 0},
        {"dim": -4},
        {"dim": "wide"},
        {"dim": 16.5},
        {"dim": 15, "heads": 2},
        {"depth": 0},
        {"depth": 1.5},
        {"heads": 0},
        {"heads": -2},
        {"heads": 3},
    ],
    ids=str,
)
def test_invalid_sizes_are_refused(name, wrong):
    if wrong.keys() & MEANINGLESS.get(name, set()):
        pytest.skip("this size means nothing to it")
    with pytest.raises(BenchError, match=name):
        bench.build(name, **({"frames": 9, "joints": JOINTS} | SIZES | wrong))


@pytest.mark.parametrize(
    ("name", "wrong", "expected"),
    [
        ("mixste", {"drop_path": 1.5, "depth": 1}, "drop path rate 1.5 is not in"),
        ("mixste", {"mlp_ratio": 0}, "mlp_ratio 0 leaves the MLP without a single unit"),
        ("poseformer", {"mlp_ratio": 0}, "mlp_ratio 0 leaves the MLP without a single unit"),
        ("videopose3d", {"frames": 63}, "frames 63 is not a power of 3: give widths"),
        ("videopose3d", {"frames": 63, "widths": [3, 3, 5]}, "widths [3, 3, 5] read 45 frames, not 63"),
        ("videopose3d", {"widths": [3, -3]}, "widths must be a list of odd whole numbers of at least 1"),
        ("videopose3d", {"widths": 9}, "widths must be a list of odd whole numbers of at least 1, not 9"),
        ("videopose3d", {"widths": []}, "widths must be a list"),
        ("videopose3d", {"dropout": 1.0}, "dropout 1.0 is not in [0, 1)"),
        ("videopose3d", {"out_joints": 0}, "out_joints must be a whole number of at least 1, not 0"),
        ("pstmo", {"frames": 11}, "no strides were published for 11 frames, only for 9, 27, 81, 243, 351"),
        ("pstmo", {"strides": [3]}, "strides [3] leave 3 of 9 frames; they must leave 1"),
        ("pstmo", {"strides": [0, 9]}, "strides must be a whole number of at least 1, not 0"),
        ("pstmo", {"strides": 9}, "strides must be a list of whole numbers, not 9"),
        ("pstmo", {"hidden": 0}, "hidden must be a whole number of at least 1, not 0"),
        ("pstmo", {"step": 1.5}, "step must be a whole number of at least 1, not 1.5"),
        ("pstmo", {"dropout": 1}, "dropout 1 is not in [0, 1)"),
        ("pstmo", {"out_joints": 0}, "out_joints must be a whole number of at least 1, not 0"),
        ("pstmo", {"dim": 1, "heads": 1}, "at least 2 channels to normalise over"),
        ("diff3dhpe", {"dim": 9, "heads": 3}, "dim 9 is odd"),
        ("diff3dhpe", {"timesteps": 10.5, "sampling_steps": 3}, "timesteps must be a whole number"),
        ("diff3dhpe", {"sampling_steps": 2000}, "sampling steps must be in 1..1000, not 2000"),
        ("diff3dhpe", {"schedule": "square"}, "schedule must be 'linear', 'cosine' or 'logcosine'"),
        ("diff3dhpe", {"sampler": "fast"}, "sampler must be 'published' or 'textbook'"),
        ("diff3dhpe", {"hypotheses": 0}, "hypotheses must be a whole number of at least 1"),
        ("diff3dhpe", {"eta": -1}, "eta must be in 0..1"),
        ("diff3dhpe", {"pose_scale": 0}, "pose_scale must be above 0"),
    ],
)
def test_invalid_hyperparameters_of_one_method_are_refused(name, wrong, expected):
    with pytest.raises(BenchError) as caught:
        new(name, **wrong)
    assert expected in str(caught.value)


# The checks themselves: each finds a method that does what it must not


class Good(Method):
    """A linear map of each frame."""

    name = "specimen"

    def __init__(self, frames: int, joints: int) -> None:
        super().__init__()
        self.window = Window(frames)
        self.layer = torch.nn.Linear(joints * 2, joints * 3)

    @in_float32
    def lift(self, keypoints_2d, *, generator=None):
        return self.layer(keypoints_2d.flatten(2)).unflatten(2, (-1, 3))

    def loss(self, batch: Batch, generator=None):
        errors = (self.lift(batch.keypoints_2d) - batch.poses_3d).norm(dim=-1)
        return {"total": errors[batch.supervised].mean()}


class Nondescript(Good):
    pass


class Rounding(Good):
    """Answers in double precision."""

    def lift(self, keypoints_2d, *, generator=None):
        return super().lift(keypoints_2d).double()


class Infinite(Good):
    """Divides by zero."""

    def lift(self, keypoints_2d, *, generator=None):
        return super().lift(keypoints_2d) / 0


class Sociable(Good):
    """Subtracts the mean of the batch."""

    def lift(self, keypoints_2d, *, generator=None):
        return super().lift(keypoints_2d - keypoints_2d.mean(dim=0))


class Intrusive(Good):
    """Writes into its input."""

    def lift(self, keypoints_2d, *, generator=None):
        return super().lift(keypoints_2d.sub_(keypoints_2d[:, :1].clone()))


class Wasteful(Good):
    """Draws a number and forgets it."""

    def lift(self, keypoints_2d, *, generator=None):
        torch.rand(1)
        return super().lift(keypoints_2d)


class Moody(Good):
    """Adds noise of its own."""

    def lift(self, keypoints_2d, *, generator=None):
        return super().lift(keypoints_2d) + torch.rand(())


class Counting(Good):
    """Counts its calls."""

    def __init__(self, frames, joints):
        super().__init__(frames, joints)
        self.register_buffer("calls", torch.zeros(()))

    def lift(self, keypoints_2d, *, generator=None):
        self.calls.add_(1)
        return super().lift(keypoints_2d)


class Boastful(Good):
    """Draws nothing."""

    stochastic = True


class Secretive(Good):
    """Draws without saying so."""

    def lift(self, keypoints_2d, *, generator=None):
        sources = generator if isinstance(generator, list) else [generator] * len(keypoints_2d)
        noise = torch.stack([torch.rand((), generator=source) for source in sources])
        return super().lift(keypoints_2d) + noise[:, None, None, None]


class Whole(Good):
    """Averages two frames of a window, and lifts whole videos with an edge of zeros: padded, not repeated."""

    def __init__(self, frames, joints):
        super().__init__(frames, joints)
        self.window = Window(frames, "last")

    def lift(self, keypoints_2d, *, generator=None):
        return super().lift(keypoints_2d[:, -2:].mean(dim=1, keepdim=True))

    def loss(self, batch: Batch, generator=None):
        return {"total": (self.lift(batch.keypoints_2d) - batch.poses_3d[:, -1:]).norm(dim=-1).mean()}

    def lift_video(self, keypoints_2d, *, report=None):
        before = torch.cat([torch.zeros_like(keypoints_2d[:, :1]), keypoints_2d[:, :-1]], dim=1)
        return Good.lift(self, (before + keypoints_2d) / 2)


class Repeated(Whole):
    """Lifts whole videos as its windows."""

    def lift_video(self, keypoints_2d, *, report=None):
        before = torch.cat([keypoints_2d[:, :1], keypoints_2d[:, :-1]], dim=1)
        return Good.lift(self, (before + keypoints_2d) / 2)


class Late(Repeated):
    """Leaves the last frame out."""

    def lift_video(self, keypoints_2d, *, report=None):
        return super().lift_video(keypoints_2d)[:, :-1]


class Bragging(Repeated):
    """Reports more frames than it was given."""

    def lift_video(self, keypoints_2d, *, report=None):
        report(keypoints_2d.shape[1] + 1)
        return super().lift_video(keypoints_2d)


class Greedy(Repeated):
    """Writes into the video."""

    def lift_video(self, keypoints_2d, *, report=None):
        return super().lift_video(keypoints_2d.mul_(2))


class Restless(Repeated):
    """Draws numbers for windows, and offers whole videos too."""

    stochastic = True


class Panoramic(Good):
    """Answers for every frame of a window, and offers whole videos too."""

    def lift_video(self, keypoints_2d, *, report=None):
        return self.lift(keypoints_2d)


class Lossless(Good):
    """Has no total."""

    def loss(self, batch, generator=None):
        return {"position": super().loss(batch)["total"]}


class Idle(Good):
    """Has a layer that it does not use."""

    def __init__(self, frames, joints):
        super().__init__(frames, joints)
        self.spare = torch.nn.Linear(2, 2)


class Unsettled(Good):
    """Scales its loss at random."""

    def loss(self, batch, generator=None):
        return {"total": super().loss(batch)["total"] * torch.rand(())}


class Rounded(Good):
    """Answers in bfloat16 under autocast."""

    def lift(self, keypoints_2d, *, generator=None):
        return self.layer(keypoints_2d.flatten(2)).unflatten(2, (-1, 3))


class Disguised(Rounded):
    """Makes float32 numbers of poses that were rounded before."""

    def lift(self, keypoints_2d, *, generator=None):
        return super().lift(keypoints_2d).float()


class Halved(Good):
    """Rounds what it compares, in one of its losses."""

    def loss(self, batch: Batch, generator=None):
        poses = self.lift(batch.keypoints_2d)
        if torch.is_autocast_enabled("cpu"):
            poses = poses.bfloat16()
        return super().loss(batch) | {"velocity": (poses.diff(dim=1) - batch.poses_3d.diff(dim=1)).norm(dim=-1).mean()}


class Padded(Good):
    """Looks at all frames."""

    def loss(self, batch, generator=None):
        return {"total": (self.lift(batch.keypoints_2d) - batch.poses_3d).norm(dim=-1).mean()}


class Hidden(Good):
    """Keeps a number where no checkpoint finds it."""

    def __init__(self, frames, joints):
        super().__init__(frames, joints)
        self.scale = torch.rand(())

    def lift(self, keypoints_2d, *, generator=None):
        return super().lift(keypoints_2d) * self.scale


class Settled(Good):
    """Starts from zero, always."""

    def __init__(self, frames, joints):
        super().__init__(frames, joints)
        torch.nn.init.zeros_(self.layer.weight)
        torch.nn.init.zeros_(self.layer.bias)


def test_a_correct_method_passes(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {"specimen": Good})
    check_method("specimen")
    check_method("specimen", frames=4, joints=28)


def test_a_correct_method_that_lifts_whole_videos_passes(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {"specimen": Repeated})
    check_method("specimen")


def test_parameters_that_no_loss_moves_must_be_named(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {"specimen": Idle})
    check_method("specimen", unmoved=["spare.weight", "spare.bias"])
    with pytest.raises(AssertionError, match=r"layer\.weight of specimen is part of the loss, though unmoved names it"):
        check_method("specimen", unmoved=["spare.weight", "spare.bias", "layer.weight"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Nondescript, "specimen needs a docstring"),
        (Rounding, "specimen returns poses in torch.float64"),
        (Infinite, "specimen returns poses that are not finite"),
        (Sociable, "poses of specimen depend on their batch"),
        (Intrusive, "changes the keypoints, which are the caller's"),
        (Wasteful, "draws from torch, not from its generator"),
        (Moody, "returns other poses"),
        (Counting, "lift() of specimen changes calls"),
        (Whole, "lift_video() of specimen differs from lift() of windows, edges repeated, in videos of 1 frames"),
        (Late, "specimen: lift_video() of (2, 1, 17, 2) returned (2, 0, 17, 3)"),
        (Bragging, "lift_video() of specimen reports 2 of 1 frames"),
        (Greedy, "lift_video() of specimen changes the keypoints, which are the caller's"),
        (Panoramic, "specimen offers lift_video, but answers for every frame of its window"),
        (Restless, "specimen offers lift_video, but draws random numbers"),
        (Boastful, "specimen has stochastic = True, but drew: False"),
        (Secretive, "specimen has stochastic = False, but drew: True"),
        (Lossless, "specimen: loss() must return a `total` of shape () to minimise; found position ()"),
        (Idle, "spare.weight of specimen is not part of the loss"),
        (Unsettled, "the loss of specimen differs with the same generator"),
        (Rounded, "under autocast poses are torch.bfloat16: decorate the last map of specimen and its losses with"),
        (Disguised, "loss total of specimen is"),
        (Halved, "loss velocity of specimen is"),
        (Padded, "specimen learns from frames where batch.supervised is false"),
        (Hidden, "specimen needs more than its state dict"),
        (Settled, "the weights of specimen do not depend on the seed"),
    ],
)
def test_a_wrong_method_fails_with_what_is_wrong(monkeypatch, wrong, message):
    monkeypatch.setattr(registry, "_registered", {"specimen": wrong})
    with pytest.raises((AssertionError, BenchError)) as caught:
        check_method("specimen")
    assert message in str(caught.value)
