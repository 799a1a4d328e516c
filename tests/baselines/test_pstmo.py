"""P-STMO equals its published version: outputs, features, gradients, losses, averaging, windows, what it adopts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from baselines.mixste import MixSTE
from baselines.pstmo import PSTMO, STRIDES, UPSTREAM_NAMES, Pretrainer, pstmo_losses
from baselines.pstmo_network import UPSTREAM_STACKED, BatchNorm, Layer, Norm, StridedMLP
from bench import Batch, build, import_upstream
from bench.data.pose_dataset import SEQUENCE_COLUMNS, PoseDataset
from bench.data.windows import gather, mirror, train_windows
from bench.geometry.skeleton import H36M_17, Skeleton
from bench.method import Window, checkpoint
from bench.method.checkpoint import load_exactly, renamed
from bench.method.cost import macs_per_frame
from bench.method.registry import build_stage
from bench.system.errors import BenchError
from tests.samples import axes_last, upstream_state

SIZES = {"frames": 9, "dim": 16, "depth": 2, "heads": 2, "hidden": 24}


def close(found: torch.Tensor, expected: np.ndarray | torch.Tensor) -> None:
    """Within 1e-4 of the largest number, or of 1: both sides are float32."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(found.detach(), expected, rtol=0, atol=1e-4 * max(1, abs(expected).max()))


def keypoints(windows: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(windows, 9, 17, 2, generator=torch.Generator().manual_seed(seed))


def small(seed: int = 0, **changes) -> PSTMO:
    torch.manual_seed(seed)
    return PSTMO(**(SIZES | changes))


# --- the published network


def test_outputs_features_and_gradients_equal_the_published_network(golden, first_output):
    stored = golden("pstmo.npz")
    method = import_upstream("pstmo", upstream_state(stored), strides=[3, 1, 3, 3])
    network = method.network
    features = [first_output(part) for part in (network.encoder.spatial, network.encoder, network.strided)]
    keypoints_2d = axes_last(stored["in/x"])
    every_frame, centre = network.both(keypoints_2d)
    for found, name in zip(features, ("feat_encoder", "feat_vte", "feat_ste"), strict=True):
        close(found[0], stored[f"out/{name}"])
    close(every_frame, axes_last(stored["out/vte"]))
    close(centre, axes_last(stored["out/single"]))
    assert torch.equal(method.lift(keypoints_2d), centre)

    loss = (centre * axes_last(stored["in/loss_weights"])).sum()
    loss = loss + (every_frame * axes_last(stored["in/loss_weights_vte"])).sum()
    np.testing.assert_allclose(loss.item(), stored["out/loss"], rtol=2e-4)
    loss.backward()
    parameters = dict(network.named_parameters())
    compared = 0
    for key, expected in stored.items():
        if key.startswith("grad/"):
            found = parameters[renamed(key.removeprefix("grad/"), UPSTREAM_NAMES)].grad
            np.testing.assert_allclose(found, expected, atol=1e-4 * abs(expected).max(), err_msg=key)
            compared += 1
    assert compared == 3


@pytest.mark.parametrize(
    ("frames", "depth", "parameters", "macs"),
    [
        (9, 3, 4_664_166, 33_922_560),
        (27, 3, 4_682_598, 82_983_936),
        (81, 3, 5_527_142, 259_737_600),
        (243, 3, 6_482_278, 863_901_696),
        (243, 4, 7_009_382, 1_021_536_768),
        (351, 3, 5_014_374, 1_292_871_680),
    ],
)
def test_published_sizes(frames, depth, parameters, macs):
    with torch.device("meta"):
        method = build("pstmo", frames=frames, depth=depth)
        assert method.parameter_count == parameters
        assert macs_per_frame(method, 17) == macs


def test_an_import_names_keys_as_upstream_names_them(golden):
    state = upstream_state(golden("pstmo.npz"))
    layer = "Transformer_reduce.model.layers.2"
    del state["Transformer.model.layers.0.self_attn.linears.1.bias"], state[f"{layer}.sublayer.1.norm.a_2"]
    state["Transformer_reduce.model.pos_embedding_4"] = np.zeros((1, 27, 32), np.float32)
    state[f"{layer}.self_attn.linears.3.weight"] = np.zeros((32, 31), np.float32)
    state[f"{layer}.self_attn.linears.2.weight"] = np.zeros((31, 32), np.float32)
    with pytest.raises(BenchError) as caught:
        import_upstream("pstmo", state, strides=[3, 1, 3, 3])
    message = str(caught.value)
    assert f"missing: Transformer.model.layers.0.self_attn.linears.1.bias, {layer}.sublayer.1.norm.a_2" in message
    assert "not expected: Transformer_reduce.model.pos_embedding_4" in message
    assert f"{layer}.self_attn.linears.3.weight is (32, 31), not (32, 32)" in message
    assert f"{layer}.self_attn.linears.2.weight is (31, 32), not (32, 32)" in message


def test_an_import_lacks_what_sizes_are_read_from():
    with pytest.raises(BenchError, match=r"pstmo: the checkpoint lacks Transformer\.model\.layers\.0\.feed_forward"):
        import_upstream("pstmo", {"Transformer.pos_embedding": torch.zeros(1, 27, 32)})


# --- its parts


def test_the_norm_divides_by_the_unbiased_deviation_plus_epsilon():
    torch.manual_seed(0)
    x, norm = torch.randn(3, 5, 4) * 1e-5, Norm(4)  # so small that epsilon counts
    torch.nn.init.normal_(norm.scale)
    torch.nn.init.normal_(norm.shift)
    centred = x - x.mean(-1, keepdim=True)
    deviation = (centred.square().sum(-1, keepdim=True) / 3).sqrt()
    torch.testing.assert_close(norm(x), norm.scale * centred / (deviation + 1e-6) + norm.shift)


@pytest.mark.parametrize("frames", STRIDES)
def test_a_layer_keeps_the_first_frame_of_each_stride(frames):
    torch.manual_seed(0)
    x = torch.randn(2, frames, 8)
    for stride in STRIDES[frames]:
        mlp = StridedMLP(8, 6, stride, dropout=0.0)
        torch.nn.init.zeros_(mlp.fc2.weight)
        torch.nn.init.zeros_(mlp.fc2.bias)
        layer = Layer(8, 2, mlp, dropout=0.0, stride=stride)
        torch.nn.init.zeros_(layer.attn.proj.weight)
        torch.nn.init.zeros_(layer.attn.proj.bias)
        kept = layer(x)
        assert torch.equal(kept, x[:, ::stride])
        x = kept
    assert x.shape == (2, 1, 8)


def test_a_convolution_of_stride_one_is_not_a_plain_mlp():
    torch.manual_seed(0)
    mlp, x = StridedMLP(8, 6, stride=1, dropout=0.0), torch.randn(1, 5, 8)
    moved = x.clone()
    moved[:, 2] += 1
    changed = (mlp(moved) != mlp(x)).any(dim=-1)[0]
    assert changed.tolist() == [False, True, True, True, False]


def test_the_fourth_strided_layer_gets_no_positions(first_output):
    method = small(frames=81, strides=[3, 3, 3, 3]).eval()
    strided = method.network.strided
    assert [tuple(table.shape) for table in strided.frame_embeddings] == [(1, 81, 16)] * 3
    reached = [first_output(layer) for layer in strided.layers]
    given: list[torch.Tensor] = []
    for layer in strided.layers:
        layer.register_forward_pre_hook(lambda layer, inputs: given.append(inputs[0]))
    strided(torch.zeros(1, 81, 16))
    lengths = [81, 27, 9]
    before = [torch.zeros(1, 81, 16), reached[0][0], reached[1][0]]
    for level, (x, length) in enumerate(zip(before, lengths, strict=True)):
        torch.testing.assert_close(given[level], x + strided.frame_embeddings[level][:, :length])
    assert torch.equal(given[3], reached[2][0])


# --- initialisation


def test_positions_are_standard_normal():
    network = small(dim=256, heads=8).network
    for table in (network.encoder.frame_embedding, *network.strided.frame_embeddings):
        spread = (2 * table.numel()) ** -0.5  # of the deviation of so many numbers
        assert abs(table.std() - 1) < 4 * spread


def projections(layer: Layer) -> list[torch.Tensor]:
    """Query, key, value and output of a layer, weights beside their biases."""
    stacked = torch.cat([layer.attn.qkv.weight, layer.attn.qkv.bias[:, None]], dim=1).chunk(3)
    return [*stacked, torch.cat([layer.attn.proj.weight, layer.attn.proj.bias[:, None]], dim=1)]


def all_equal(tensors: list[torch.Tensor]) -> bool:
    return all(torch.equal(tensors[0], one) for one in tensors[1:])


def all_differ(tensors: list[torch.Tensor]) -> bool:
    return all((one != two).all() for number, one in enumerate(tensors) for two in tensors[:number])


def test_layers_start_independently():
    network = small().network
    layers = [*network.encoder.temporal.layers, *network.strided.layers]
    assert all_differ([part for layer in layers for part in projections(layer)])
    for transformer in (network.encoder.temporal, network.strided):
        assert all_differ([layer.mlp.fc1.weight for layer in transformer.layers])


def test_the_published_start_copies_one_projection_and_one_layer():
    network = small(**PSTMO.as_published["model"]).network
    encoder, strided = network.encoder.temporal.layers, network.strided.layers
    assert all_equal([part for layer in encoder for part in projections(layer)])
    assert all_equal([part for layer in strided for part in projections(layer)])
    assert not torch.equal(encoder[0].attn.qkv.weight, strided[0].attn.qkv.weight)
    for name in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"):
        assert all_equal([layer.mlp.get_parameter(name) for layer in encoder])
        assert all_differ([layer.mlp.get_parameter(name) for layer in strided])
    for layer in (*encoder, *strided):
        for norm in (layer.norm1, layer.norm2):
            assert (norm.scale == 1).all()
            assert (norm.shift == 0).all()


# --- training


def test_the_loss_equals_the_published_one(golden):
    stored = golden("pstmo_loss.npz")
    target = torch.from_numpy(stored["in/gt_3d"]).clone()
    target[:, :, 0] = 0
    losses = pstmo_losses(axes_last(stored["in/vte"]), axes_last(stored["in/single"]), target)
    np.testing.assert_allclose(losses["total"].item(), stored["out/train_loss"], rtol=1e-6)
    assert losses["every_frame"] + losses["centre"] == losses["total"]


def test_the_loss_of_a_method_is_that_of_its_two_answers():
    method = small().eval()
    poses_3d = torch.randn(3, 9, 17, 3, generator=torch.Generator().manual_seed(1))
    losses = method.loss(Batch(keypoints(3), poses_3d))
    assert losses == pstmo_losses(*method.network.both(keypoints(3)), poses_3d)
    # Only the centre's own error depends on the frame that is taken for the centre.
    centre = method.lift(keypoints(3))[:, 0]
    torch.testing.assert_close(losses["centre"], (centre - poses_3d[:, 4]).norm(dim=-1).mean())


def test_windows_equal_the_published_ones(golden):
    stored = golden("pstmo_loss.npz")
    lengths = [24, 31]
    rows = [("S1", "walk", f"walk {number}", "a", [0, 24][number], frames) for number, frames in enumerate(lengths)]
    dataset = PoseDataset(
        name="golden",
        keypoints="gt",
        fps=50.0,
        skeleton=Skeleton("five", ("a", "b", "c", "d", "e"), (-1, 0, 0, 0, 0), left=(1, 3), right=(2, 4), root=0),
        sequences=pd.DataFrame(rows, columns=list(SEQUENCE_COLUMNS)),
        keypoints_2d=torch.from_numpy(np.concatenate([stored["in/win_seq2d_0"], stored["in/win_seq2d_1"]])),
        poses_3d=torch.from_numpy(np.concatenate([stored["in/win_seq3d_0"], stored["in/win_seq3d_1"]])),
        roots=torch.zeros(sum(lengths), 3),
        fingerprint="f" * 64,
    )
    window = PSTMO(**SIZES | {"joints": 5, "step": 2}).window
    assert window == Window(9, targets="centre", step=2)
    table = train_windows(lengths, window)
    sequence, centre, flip = stored["in/win_pick"].T
    batch = gather(dataset, table[sequence * lengths[0] + centre], window, flipped=flip.astype(bool))
    np.testing.assert_array_equal(batch.keypoints_2d, stored["out/win_2d"])
    np.testing.assert_array_equal(batch.poses_3d, stored["out/win_3d"])


def test_both_answers_average_with_their_mirror_images_as_published(golden):
    stored = golden("pstmo_loss.npz")
    for name in ("single", "vte"):
        plain, mirrored = (axes_last(stored[f"in/{name}{kind}"]) for kind in ("", "_flip"))
        averaged = (plain + mirror(mirrored, H36M_17.mirror)) / 2
        np.testing.assert_allclose(averaged, axes_last(stored[f"out/tta_{name}"]), atol=1e-6)


def test_batch_norms_follow_the_batches_with_momentum(first_output):
    method = small().train()
    spatial = method.network.encoder.spatial
    seen = first_output(spatial.expand)
    method.loss(Batch(keypoints(4), torch.zeros(4, 9, 17, 3)))
    norm = spatial.norm
    torch.testing.assert_close(norm.running_mean, 0.1 * seen[0].mean(dim=(0, 2)))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * seen[0].var(dim=(0, 2)))
    assert norm.num_batches_tracked == 1


def test_dropout_acts_in_training_alone():
    method = small(dropout=0.5)
    method.train()
    for norm in method.modules():
        if isinstance(norm, BatchNorm):
            norm.momentum = 0.0  # so that a pass leaves nothing behind
    first, second = method.lift(keypoints(3)), method.lift(keypoints(3))
    assert (first != second).any()
    method.eval()
    assert torch.equal(method.lift(keypoints(3)), method.lift(keypoints(3)))
    rates = {one.p for one in method.modules() if isinstance(one, torch.nn.Dropout)}
    rates |= {one.dropout for one in method.modules() if isinstance(getattr(one, "dropout", None), float)}
    assert rates == {0.5}


def test_a_batch_of_one_window_can_be_trained_on():
    method = small(dropout=0.0).train()
    norm = method.network.centre.norm
    before = {key: value.clone() for key, value in norm.state_dict().items()}
    loss = method.loss(Batch(keypoints(1), torch.zeros(1, 9, 17, 3)))["total"]
    loss.backward()
    assert torch.isfinite(loss)
    assert norm.weight.grad.any()
    assert all(torch.equal(before[key], value) for key, value in norm.state_dict().items())
    method.loss(Batch(keypoints(2), torch.zeros(2, 9, 17, 3)))
    assert not torch.equal(before["running_mean"], norm.running_mean)


def test_one_token_is_normalised_with_the_running_statistics():
    norm = BatchNorm(3).train()
    norm.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    norm.running_var.copy_(torch.tensor([4.0, 4.0, 4.0]))
    x = torch.tensor([[[3.0], [3.0], [3.0]]])
    torch.testing.assert_close(norm(x)[0, :, 0], torch.tensor([1.0, 0.5, 0.0]), atol=1e-5, rtol=1e-5)
    assert torch.equal(norm.train()(x), norm.eval()(x))


# --- pre-training


@pytest.mark.parametrize(("depth", "entries"), [(3, 74), (4, 90)])
def test_the_published_encoder_is_adopted_and_nothing_else(depth, entries, golden):
    torch.manual_seed(0)
    method = PSTMO(**SIZES | {"depth": depth})
    trained = method.stage("pretrain")
    with torch.no_grad():
        for value in trained.state_dict().values():
            value.add_(torch.randn(value.shape) if value.is_floating_point() else 3)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    method.adopt(trained)
    after, given = method.state_dict(), trained.state_dict()
    for key in after:
        if key.startswith("network.encoder."):
            assert torch.equal(after[key], given[key.removeprefix("network.")]), key
            assert not torch.equal(after[key], before[key]), key
        else:
            assert torch.equal(after[key], before[key]), key
    encoder = {key: value for key, value in given.items() if key.startswith("encoder.")}
    parts = checkpoint._in_parts(encoder, UPSTREAM_STACKED)
    names = {checkpoint._upstream_name(key, UPSTREAM_NAMES) for key in parts}
    assert len(names) == entries
    if depth == 3:
        published = upstream_state(golden("pstmo_pretrain.npz"))
        assert names == {key for key in published if key.startswith(("encoder.", "Transformer."))}


def test_what_is_adopted_is_a_copy():
    method = small()
    trained = method.stage("pretrain")
    method.adopt(trained)
    with torch.no_grad():
        trained.encoder.frame_embedding.zero_()
    assert method.network.encoder.frame_embedding.all()


def test_a_published_pretraining_can_be_adopted(golden):
    state = upstream_state(golden("pstmo_pretrain.npz"))
    trained = import_upstream("pstmo-pretrain", state)
    method = PSTMO(frames=27, joints=6, dim=32, depth=3, hidden=48, step=2)
    method.adopt(trained)
    expected = torch.nn.ModuleDict({"encoder": PSTMO(27, 6, dim=32, depth=3, hidden=48).network.encoder})
    kept = {
        key: torch.from_numpy(value) for key, value in state.items() if key.startswith(("encoder.", "Transformer."))
    }
    load_exactly(expected, kept, UPSTREAM_NAMES, UPSTREAM_STACKED)
    found = method.network.encoder.state_dict()
    assert all(torch.equal(found[key], value) for key, value in expected["encoder"].state_dict().items())


def test_the_stage_has_the_sizes_of_the_method():
    method = small(step=3, dropout=0.25, joints=17, out_joints=16)
    stage = method.stage("pretrain", masked_joints=5, copied_initialisation=True)
    assert isinstance(stage, Pretrainer)
    assert stage.window == method.window
    assert stage.encoder_sizes == method.encoder_sizes
    assert (stage.masked_joints, stage.frame_mask_ratio, stage.encoder.spatial.activate[1].p) == (5, 0.8, 0.25)
    assert all_equal([part for layer in stage.encoder.temporal.layers for part in projections(layer)])
    assert all_differ(projections(method.stage("pretrain").encoder.temporal.layers[0]))


def test_what_cannot_be_adopted_is_refused():
    method = small()
    with pytest.raises(ValueError, match="pstmo has no stage 'warmup'"):
        method.stage("warmup")
    with pytest.raises(ValueError, match="pstmo cannot start from mixste"):
        method.adopt(MixSTE(frames=9, dim=16, depth=1, heads=2))
    with pytest.raises(ValueError, match="hidden is 20 in pstmo-pretrain, 24 in pstmo"):
        method.adopt(small(hidden=20).stage("pretrain"))


# --- what is told to the user


def test_strides_that_the_tensors_do_not_tell_are_asked_for(golden):
    with pytest.raises(BenchError, match=r"has 4 layers with strides.* here are \[3, 3, 3\]: give the right ones"):
        import_upstream("pstmo", upstream_state(golden("pstmo.npz")))


def test_a_stage_has_the_sizes_of_its_method():
    method = build("pstmo", frames=9, dim=16, depth=2, heads=2)
    with pytest.raises(BenchError, match="pstmo, stage pretrain: dim is that of the method itself: state it there"):
        build_stage(method, "pretrain", dim=8)


@pytest.mark.parametrize("wrong", ["abc", True, None, 1.0, -0.1])
def test_shares_are_numbers(wrong):
    with pytest.raises(BenchError, match=r"dropout .* is not in"):
        build("pstmo", frames=9, dim=16, depth=2, heads=2, dropout=wrong)
    with pytest.raises(BenchError, match=r"frame_mask_ratio .* is not in"):
        build_stage(build("pstmo", frames=9, dim=16, depth=2, heads=2), "pretrain", frame_mask_ratio=wrong)
