"""VideoPose3D equals its published version in all its forms, and its forms equal each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import toy_dataset
from torch import nn

from baselines.videopose3d import VideoPose3D, VideoPose3DNetwork
from bench import Batch, Window, build, import_upstream
from bench.data.windows import gather, test_windows
from bench.method.cost import macs_per_frame
from bench.system.errors import BenchError

FORMS = {
    "y": {},
    "y_causal": {"causal": True},
    "y_opt1f": {},
    "y_opt1f_causal": {"causal": True},
    "y_dense": {},
}


def upstream(stored, part: str = "state") -> dict[str, np.ndarray]:
    return {key.removeprefix(f"{part}/"): value for key, value in stored.items() if key.startswith(f"{part}/")}


def disturb(network: nn.Module, seed: int) -> None:
    """Running statistics and affine parameters that are not those of a fresh network."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            for values in (module.running_mean, module.running_var, module.weight.data, module.bias.data):
                values.copy_(0.5 + torch.rand(values.shape, generator=generator))


# --- the published network


@pytest.mark.parametrize("form", FORMS)
def test_output_equals_the_published_network(golden, form):
    stored = golden("videopose3d.npz")
    method = import_upstream(
        "videopose3d", upstream(stored, "state_dense" if form == "y_dense" else "state"), **FORMS[form]
    )
    frames = 45 if "opt1f" in form else 51
    expected = stored[f"out/{form}"]
    predicted = method.network(torch.from_numpy(stored["in/x"][:, :frames])).detach()
    assert predicted.shape == expected.shape
    np.testing.assert_allclose(predicted, expected, atol=1e-6 * max(1, abs(expected).max()))


def test_gradients_equal_the_published_ones(golden):
    stored = golden("videopose3d.npz")
    network = import_upstream("videopose3d", upstream(stored)).network
    loss = (network(torch.from_numpy(stored["in/x"])) * torch.from_numpy(stored["in/loss_weights"])).sum()
    np.testing.assert_allclose(loss.item(), stored["out/loss"], rtol=2e-5)
    loss.backward()
    gradients = upstream(stored, "grad")
    assert len(gradients) == 3
    for key, expected in gradients.items():
        found = network.get_parameter(key).grad
        np.testing.assert_allclose(found, expected, atol=1e-5 * abs(expected).max(), err_msg=key)


def test_every_published_key_has_its_place(golden):
    state = upstream(golden("videopose3d.npz"))
    file = {"epoch": 80, "lr": 1e-5, "random_state": None, "model_pos": state, "model_traj": None}
    ours = import_upstream("videopose3d", file).network.state_dict()
    assert ours.keys() == state.keys()
    for key, value in state.items():
        np.testing.assert_array_equal(ours[key], value, err_msg=key)


@pytest.mark.parametrize(("part", "dense"), [("state", False), ("state_dense", True)])
def test_sizes_come_from_the_tensors(golden, part, dense):
    state = {key: torch.from_numpy(value) for key, value in upstream(golden("videopose3d.npz"), part).items()}
    expected = {"frames": 45, "joints": 5, "out_joints": 4, "dim": 16, "widths": [3, 5, 3], "dense": dense}
    assert VideoPose3D.upstream_hyperparameters(state) == expected


@pytest.mark.parametrize("widths", [[1], [3], [3, 3], [1, 3, 3], [3, 3, 7], [3, 3, 3, 3, 3]])
@pytest.mark.parametrize("dense", [False, True])
def test_sizes_of_published_architectures_are_recognised(widths, dense):
    frames = math.prod(widths)
    saved = VideoPose3D(frames, 6, dim=2, widths=widths, dense=dense)
    loaded = import_upstream("videopose3d", saved.network.state_dict())
    assert loaded.window == saved.window
    assert loaded.network.widths == tuple(widths)
    keypoints_2d = torch.randn(2, frames + 2, 6, 2)
    assert torch.equal(loaded.lift(keypoints_2d), saved.eval().lift(keypoints_2d))


def test_what_kernels_leave_open_can_be_stated():
    saved = VideoPose3D(21, 6, dim=2, widths=[3, 7]).eval()
    state = saved.network.state_dict()
    assert import_upstream("videopose3d", state).window.frames == 9
    loaded = import_upstream("videopose3d", state, frames=21, widths=[3, 7], dense=False)
    keypoints_2d = torch.randn(2, 21, 6, 2)
    assert torch.equal(loaded.lift(keypoints_2d), saved.lift(keypoints_2d))


@pytest.mark.parametrize("key", ["expand_conv.weight", "shrink.weight", "layers_conv.0.weight"])
def test_a_checkpoint_without_sizes_is_refused(golden, key):
    state = upstream(golden("videopose3d.npz"))
    del state[key]
    with pytest.raises(BenchError, match=f"videopose3d: the checkpoint lacks {key}"):
        import_upstream("videopose3d", state)


@pytest.mark.parametrize("key", ["layers_conv.3.weight", "layers_bn.2.running_var", "expand_bn.num_batches_tracked"])
def test_a_checkpoint_that_is_not_whole_is_refused(golden, key):
    state = upstream(golden("videopose3d.npz"))
    del state[key]
    with pytest.raises(BenchError, match=f"missing: {key}"):
        import_upstream("videopose3d", state)


# --- one function in two forms

architectures = st.lists(st.sampled_from([1, 3, 5]), min_size=1, max_size=3)


@settings(max_examples=40)
@given(
    widths=architectures,
    causal=st.booleans(),
    joints=st.integers(1, 3),
    more=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_the_form_for_one_pose_is_the_dilated_one(widths, causal, joints, more, seed):
    torch.manual_seed(seed)
    network = VideoPose3DNetwork(joints, 2, 4, widths, 0.25, causal, dense=False).eval()
    disturb(network, seed)
    video = torch.randn(2, network.frames + more, joints, 2)
    together = network(video)
    assert together.shape == (2, more + 1, 2, 3)
    for first in range(more + 1):
        one = network(video[:, first : first + network.frames])
        torch.testing.assert_close(one, together[:, first : first + 1], atol=1e-5, rtol=1e-5)


@settings(max_examples=20)
@given(widths=architectures, causal=st.booleans(), seed=st.integers(0, 99))
def test_a_dense_network_that_reads_the_same_frames_is_the_dilated_one(widths, causal, seed):
    torch.manual_seed(seed)
    dilated, dense = (VideoPose3DNetwork(2, 2, 4, widths, 0.25, causal, dense=dense).eval() for dense in (False, True))
    weights = dilated.state_dict()
    apart = widths[0]
    for block, width in enumerate(widths[1:]):
        key = f"layers_conv.{2 * block}.weight"
        spread = torch.zeros(4, 4, (width - 1) * apart + 1)
        spread[..., ::apart] = weights[key]
        weights[key] = spread
        apart *= width
    dense.load_state_dict(weights)
    video = torch.randn(2, dilated.frames + 2, 2, 2)
    torch.testing.assert_close(dense(video), dilated(video), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dense", [False, True])
def test_a_pose_depends_on_its_receptive_field_alone(causal, dense):
    torch.manual_seed(0)
    network = VideoPose3DNetwork(2, 2, 64, [3, 3], 0.25, causal, dense).eval()
    video = torch.randn(1, 20, 2, 2, requires_grad=True)
    for pose in (0, 5, 11):
        (gradient,) = torch.autograd.grad(network(video)[:, pose].sum(), video)
        read = gradient.abs().sum(dim=(0, 2, 3)).nonzero().flatten().tolist()
        assert read == list(range(pose, pose + 9))


@pytest.mark.parametrize("causal", [False, True])
def test_without_convolutions_the_residual_is_the_frame_that_is_answered(causal):
    """With the blocks switched off, what passes is the first layer at the middle or at the end of the window."""
    torch.manual_seed(0)
    network = VideoPose3DNetwork(2, 2, 8, [1, 3, 5], 0.25, causal, dense=False).eval()
    for norm in network.layers_bn:
        nn.init.zeros_(norm.weight)
        nn.init.zeros_(norm.bias)
    alone = VideoPose3DNetwork(2, 2, 8, [1], 0.25, causal, dense=False).eval()
    alone.load_state_dict({key: network.state_dict()[key] for key in alone.state_dict()})
    video = torch.randn(3, 18, 2, 2)
    answered = Window(15, targets="last" if causal else "centre").answered.start
    torch.testing.assert_close(network(video), alone(video[:, answered : answered + 4]))
    torch.testing.assert_close(network(video[:, :15]), alone(video[:, answered : answered + 1]))


def test_a_causal_method_does_not_see_the_future():
    dataset = toy_dataset()
    torch.manual_seed(0)
    method = build("videopose3d", frames=9, dim=8, causal=True).eval()
    assert method.window == Window(9, targets="last")
    table = test_windows(dataset.lengths[:1], method.window)
    before = method.lift(gather(dataset, table, method.window).keypoints_2d)
    assert len(before) == 40
    dataset.keypoints_2d[20:40] += 1
    after = method.lift(gather(dataset, table, method.window).keypoints_2d)
    assert torch.equal(before[:20], after[:20])
    assert (before[20:] != after[20:]).flatten(1).any(dim=1).all()


def test_too_few_frames_are_refused():
    with pytest.raises(ValueError, match="8 frames are too few: one pose is lifted from 9"):
        VideoPose3D(9, dim=4).lift(torch.zeros(1, 8, 17, 2))


# --- training


def test_dropout_follows_every_activation():
    method = VideoPose3D(27, dim=8, dropout=0.4).train()
    seen: list[torch.Tensor] = []
    method.network.dropout.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    method.lift(torch.randn(4, 27, 17, 2))
    assert method.network.dropout.p == 0.4
    assert len(seen) == 1 + 2 * 2
    assert all((activation >= 0).all() and activation.any() for activation in seen)


def test_statistics_follow_the_momentum():
    torch.manual_seed(0)
    method = VideoPose3D(3, 5, dim=8).train()
    norm = method.network.expand_bn
    norm.momentum = 0.3
    keypoints_2d = torch.randn(20, 3, 5, 2)
    method.lift(keypoints_2d)
    flat = keypoints_2d.flatten(2).transpose(1, 2)
    read = method.network.expand_conv(flat).squeeze(-1).detach()
    torch.testing.assert_close(norm.running_mean, 0.3 * read.mean(dim=0))
    torch.testing.assert_close(norm.running_var, 0.7 + 0.3 * read.var(dim=0))
    assert norm.num_batches_tracked == 1


@pytest.mark.parametrize("frames", [1, 9, 27])
def test_a_batch_of_one_window_can_be_trained_on(frames):
    torch.manual_seed(0)
    method = VideoPose3D(frames, dim=8, dropout=0.0).train()
    disturb(method.network, 0)
    last = [method.network.expand_bn, *method.network.layers_bn][-1]
    before = {key: value.clone() for key, value in last.state_dict().items()}
    batch = Batch(torch.randn(1, frames, 17, 2), torch.randn(1, frames, 17, 3))
    # Where one value a channel is left, the running statistics stand in for the batch's and are not moved by it.
    given: list[torch.Tensor] = []
    last.register_forward_hook(lambda module, inputs, output: given.extend((inputs[0], output)))
    method.loss(batch)["total"].backward()
    x, normalised = given
    scale = last.weight / (before["running_var"] + 1e-5).sqrt()
    torch.testing.assert_close(normalised, (x - before["running_mean"][:, None]) * scale[:, None] + last.bias[:, None])
    assert all(torch.equal(before[key], value) for key, value in last.state_dict().items())
    assert all(parameter.grad.isfinite().all() for parameter in method.parameters())
    first = method.network.expand_bn
    assert first.num_batches_tracked == (0 if frames == 1 else 1), "a layer with several frames has statistics"


def test_several_windows_have_statistics_of_their_own():
    torch.manual_seed(0)
    method = VideoPose3D(9, dim=8, dropout=0.0).train()
    method.lift(torch.randn(2, 9, 17, 2))
    assert all(norm.num_batches_tracked == 1 for norm in (method.network.expand_bn, *method.network.layers_bn))


# --- sizes


def test_widths_default_to_threes():
    assert [VideoPose3D(frames, 2, dim=1).network.widths for frames in (1, 3, 27, 243)] == [
        (1,),
        (3,),
        (3, 3, 3),
        (3, 3, 3, 3, 3),
    ]
    assert VideoPose3D(63, 2, dim=1, widths=[3, 3, 7]).network.frames == 63


@pytest.mark.parametrize(
    ("frames", "parameters", "macs"),
    [(27, 8_555_571, 17_769_472), (81, 12_753_971, 57_398_272), (243, 16_952_371, 176_284_672)],
)
def test_published_sizes(frames, parameters, macs):
    with torch.device("meta"):
        method = build("videopose3d", frames=frames)
    assert method.parameter_count == parameters
    assert macs_per_frame(method, 17) == macs
