"""PoseFormer equals its published version: output, stages, gradients, loss, stochastic depth, sizes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from baselines.layers import DropPath
from baselines.poseformer import UPSTREAM_NAMES, PoseFormer
from bench import Batch, Window, build, import_upstream
from bench.data.windows import mirror
from bench.method.checkpoint import renamed
from bench.method.cost import macs_per_frame
from bench.metrics import mpjpe, mpjve, n_mpjpe, p_mpjpe
from bench.system.errors import BenchError


def upstream(stored) -> dict[str, np.ndarray]:
    return {key.removeprefix("state/"): value for key, value in stored.items() if key.startswith("state/")}


def test_output_stages_and_gradients_equal_the_published_network(golden, first_output):
    stored = golden("poseformer.npz")
    method = import_upstream("poseformer", upstream(stored), heads=4)
    network = method.network
    spatial, temporal = first_output(network.spatial_norm), first_output(network.weighted_mean)
    predicted = network(torch.from_numpy(stored["in/x"]))
    np.testing.assert_allclose(predicted.detach(), stored["out/y"], atol=1.2e-5)
    features = spatial[0].unflatten(0, (-1, 9)).flatten(2)
    np.testing.assert_allclose(features, stored["out/spatial_features"], atol=1.2e-5)
    np.testing.assert_allclose(temporal[0], stored["out/temporal_features"], atol=1.2e-5)

    loss = (predicted * torch.from_numpy(stored["in/loss_weights"])).sum()
    np.testing.assert_allclose(loss.item(), stored["out/loss"], rtol=2e-4)
    loss.backward()
    parameters = dict(network.named_parameters())
    compared = 0
    for key, expected in stored.items():
        if key.startswith("grad/"):
            found = parameters[renamed(key.removeprefix("grad/"), UPSTREAM_NAMES)].grad
            np.testing.assert_allclose(found, expected, atol=1e-5 * abs(expected).max(), err_msg=key)
            compared += 1
    assert compared == 3


def test_every_published_key_has_its_place(golden):
    state = upstream(golden("poseformer.npz"))
    loaded = import_upstream("poseformer", {f"module.{key}": value for key, value in state.items()}, heads=4)
    ours = loaded.network.state_dict()
    assert ours.keys() == {renamed(key, UPSTREAM_NAMES) for key in state}
    for key, value in state.items():
        np.testing.assert_array_equal(ours[renamed(key, UPSTREAM_NAMES)], value, err_msg=key)


def test_sizes_come_from_the_tensors(golden):
    state = {key: torch.from_numpy(value) for key, value in upstream(golden("poseformer.npz")).items()}
    sizes = {"frames": 9, "joints": 5, "dim": 8, "depth": 3, "heads": 8, "mlp_ratio": 2.0}
    assert PoseFormer.upstream_hyperparameters(state) == sizes
    del state["Temporal_pos_embed"]
    with pytest.raises(BenchError, match="poseformer: the checkpoint lacks Temporal_pos_embed"):
        import_upstream("poseformer", state)


@pytest.mark.parametrize(("key", "problem"), [("blocks.1.norm1.bias", "missing"), ("cls_token", "not expected")])
def test_a_checkpoint_fits_exactly_or_not_at_all(golden, key, problem):
    state = upstream(golden("poseformer.npz"))
    if state.pop(key, None) is None:
        state[key] = np.zeros(3, np.float32)
    with pytest.raises(BenchError, match=f"{problem}: {key}"):
        import_upstream("poseformer", state, heads=4)


def test_the_loss_is_the_published_one(golden, monkeypatch):
    stored = golden("poseformer_loss.npz")
    predicted, target = (torch.from_numpy(stored[f"in/{name}"]) for name in ("pred", "target"))
    method = PoseFormer(frames=9, joints=7, dim=8, depth=1, heads=2)
    monkeypatch.setattr(method.network, "forward", lambda keypoints_2d: predicted)
    poses_3d = torch.randn(len(target), 9, 7, 3, generator=torch.Generator().manual_seed(0))
    poses_3d[:, 4:5] = target  # the other frames have no say
    losses = method.loss(Batch(torch.zeros(len(target), 9, 7, 2), poses_3d))
    assert losses.keys() == {"total"}
    np.testing.assert_allclose(losses["total"], stored["out/mpjpe"], rtol=1e-6)


def test_mirrored_averages_have_the_published_errors(golden):
    stored = golden("poseformer_loss.npz")
    config = json.loads(str(stored["config"]))
    swapped = list(range(config["joints"]))
    for left, right in zip(config["kps_left"], config["kps_right"], strict=True):
        swapped[left], swapped[right] = right, left
    totals = np.zeros(4)
    for index, frames in enumerate(config["lens"]):
        plain, mirrored = (torch.from_numpy(stored[f"in/{name}_{index}"])[:, 0] for name in ("ev_pred", "ev_pred_flip"))
        predicted = (plain + mirror(mirrored, swapped)) / 2
        target = torch.from_numpy(stored[f"in/ev_seq3d_{index}"]).clone()
        target[:, 0] = 0
        # The published protocol weighs the velocity with the frames too, not with the steps between them.
        totals += [1000 * frames * float(metric(predicted, target)) for metric in (mpjpe, p_mpjpe, n_mpjpe, mpjve)]
    np.testing.assert_allclose(totals / sum(config["lens"]), stored["out/ev_e1_e2_e3_ev_mm"], rtol=1e-6)


def test_it_answers_for_the_centre_frame():
    assert PoseFormer(frames=27, dim=8, depth=1, heads=2).window == Window(27, targets="centre")


def test_stochastic_depth_grows_from_zero_in_each_stage():
    network = PoseFormer(frames=9, joints=5, dim=8, depth=4, heads=2, drop_path=0.3).network
    for blocks in (network.spatial_blocks, network.temporal_blocks):
        assert [block.drop_path.rate for block in blocks] == pytest.approx([0, 0.1, 0.2, 0.3])


def test_a_frame_drops_out_by_itself_in_the_first_stage_and_a_window_in_the_second():
    torch.manual_seed(0)
    network = PoseFormer(frames=9, joints=5, dim=8, depth=2, heads=2, drop_path=0.5).network.train()
    kept: dict[str, list[torch.Tensor]] = {"spatial": [], "temporal": []}
    for stage, rows in kept.items():
        drop = network.get_submodule(f"{stage}_blocks.1.drop_path")
        assert isinstance(drop, DropPath)
        drop.register_forward_hook(lambda module, inputs, output, rows=rows: rows.append(output.flatten(1).any(dim=1)))
    network(torch.randn(40, 9, 5, 2))
    assert [len(rows) for rows in kept["spatial"]] == [40 * 9] * 2
    assert [len(rows) for rows in kept["temporal"]] == [40] * 2
    within = kept["spatial"][0].reshape(40, 9)
    assert (within.any(dim=1) & ~within.all(dim=1)).any(), "frames of one window disagree"
    for first, second in kept.values():
        assert not torch.equal(first, second), "attention and MLP draw separately"
        assert 0 < first.float().mean() < 1


def test_training_is_noisy_only_through_stochastic_depth():
    keypoints_2d = torch.randn(4, 9, 5, 2, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    sizes = {"frames": 9, "joints": 5, "dim": 8, "depth": 2, "heads": 2}
    still, noisy = PoseFormer(**sizes, drop_path=0.0).train(), PoseFormer(**sizes, drop_path=0.5).train()
    assert torch.equal(still.lift(keypoints_2d), still.lift(keypoints_2d))
    assert not torch.equal(noisy.lift(keypoints_2d), noisy.lift(keypoints_2d))


def test_positions_start_at_zero_and_the_rest_does_not():
    network = PoseFormer(frames=9, joints=5, dim=8, depth=1, heads=2).network
    assert not network.joint_embedding.any()
    assert not network.frame_embedding.any()
    assert network.head.weight.any()
    assert network.weighted_mean.weight.abs().max() <= 1 / 3


def test_epsilons_are_the_published_ones():
    network = PoseFormer(frames=9, joints=5, dim=8, depth=1, heads=2).network
    found = {name: module.eps for name, module in network.named_modules() if isinstance(module, torch.nn.LayerNorm)}
    assert found.pop("norm") == 1e-5
    assert set(found.values()) == {1e-6}
    assert len(found) == 2 * 2 + 2


@pytest.mark.parametrize("shape", [(2, 1, 5, 2), (2, 11, 5, 2), (2, 9, 1, 2), (2, 9, 6, 2), (2, 9, 5, 3)])
def test_windows_of_another_size_are_refused(shape):
    method = PoseFormer(frames=9, joints=5, dim=8, depth=1, heads=2)
    with pytest.raises(ValueError, match=r"a window is \(frames, joints, 2\) = \(9, 5, 2\), not"):
        method.lift(torch.zeros(shape))


@pytest.mark.parametrize(
    ("frames", "parameters", "macs"),
    [(9, 9_563_645, 91_303_872), (27, 9_573_455, 275_971_200), (81, 9_602_885, 846_893_760)],
)
def test_published_sizes(frames, parameters, macs):
    with torch.device("meta"):
        method = build("poseformer", frames=frames)
    assert method.parameter_count == parameters
    assert macs_per_frame(method, 17) == macs
