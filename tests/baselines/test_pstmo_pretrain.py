"""Masked pose modelling equals its published version, and its masks are what they say: exact, uniform, repeatable."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from baselines.pstmo_pretrain import UPSTREAM_NAMES, Pretrainer, draw_masks, masked_pose_loss, visible_first
from bench import Batch, import_upstream
from bench.method.checkpoint import renamed
from bench.system.errors import BenchError
from tests.samples import axes_last, upstream_state

SIZES = {"frames": 9, "dim": 16, "depth": 2, "heads": 2, "hidden": 24}


def small(seed: int = 0, **changes) -> Pretrainer:
    torch.manual_seed(seed)
    return Pretrainer(**(SIZES | changes))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- the published network


def test_output_loss_and_gradients_equal_the_published_network(golden):
    stored = golden("pstmo_pretrain.npz")
    method = import_upstream("pstmo-pretrain", upstream_state(stored))
    keypoints_2d = axes_last(stored["in/x"])
    frame_mask, joint_mask = (torch.from_numpy(stored[f"in/{kind}_mask"]) for kind in ("temporal", "spatial"))
    recovered = method(keypoints_2d, frame_mask, joint_mask)
    expected = axes_last(stored["out/y"])
    torch.testing.assert_close(recovered.detach(), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    np.testing.assert_array_equal(keypoints_2d[:, visible_first(frame_mask)], stored["out/mpm_target"])
    loss = masked_pose_loss(recovered, keypoints_2d, frame_mask)
    np.testing.assert_allclose(loss.item(), stored["out/mpm_loss"], rtol=1e-5)

    (recovered * axes_last(stored["in/loss_weights"])).sum().backward()
    parameters = dict(method.named_parameters())
    compared = 0
    for key, wanted in stored.items():
        if key.startswith("grad/"):
            found = parameters[renamed(key.removeprefix("grad/"), UPSTREAM_NAMES)].grad
            np.testing.assert_allclose(found, wanted, atol=1e-4 * abs(wanted).max(), err_msg=key)
            compared += 1
    assert compared == 3


def test_sizes_come_from_the_tensors(golden):
    method = import_upstream("pstmo-pretrain", upstream_state(golden("pstmo_pretrain.npz")))
    sizes = {"frames": 27, "joints": 6, "dim": 32, "depth": 3, "hidden": 48, "heads": 8}
    assert method.encoder_sizes == sizes
    assert not method.training
    state = upstream_state(golden("pstmo_pretrain.npz"))
    del state["mask_token"], state["Transformer_dec.model.layers.1.self_attn.linears.2.weight"]
    with pytest.raises(BenchError) as caught:
        import_upstream("pstmo-pretrain", state)
    assert "missing: Transformer_dec.model.layers.1.self_attn.linears.2.weight, mask_token" in str(caught.value)


def test_a_stage_that_does_not_exist_cannot_be_imported():
    with pytest.raises(BenchError, match=r"No stage of pstmo 'pretrian'. Did you mean 'pretrain'"):
        import_upstream("pstmo-pretrian", {"mask_token": torch.zeros(1, 1, 16)})


def test_the_loss_of_replayed_outputs_equals_the_published_one(golden):
    stored = golden("pstmo_loss.npz")
    frame_mask = torch.from_numpy(stored["in/mpm_temporal_mask"])
    loss = masked_pose_loss(axes_last(stored["in/mpm_out"]), torch.from_numpy(stored["in/x2d"]), frame_mask)
    np.testing.assert_allclose(loss.item(), stored["out/mpm_loss"], rtol=1e-6)


@pytest.mark.parametrize(
    ("frames", "depth", "parameters"), [(243, 3, 2_656_036), (243, 4, 3_315_620), (81, 3, 2_593_828)]
)
def test_published_sizes(frames, depth, parameters):
    with torch.device("meta"):
        assert Pretrainer(frames, depth=depth).parameter_count == parameters


# --- what is hidden


def test_the_encoder_does_not_see_what_is_hidden():
    method = small().eval()
    keypoints_2d = torch.randn(2, 9, 17, 2, generator=seeded(0))
    frame_mask, joint_mask = draw_masks(9, 17, 0.5, 3, generator=seeded(1))
    recovered = method(keypoints_2d, frame_mask, joint_mask)
    changed = torch.where(frame_mask[:, None, None] | joint_mask[..., None], keypoints_2d + 1, keypoints_2d)
    assert torch.equal(method(changed, frame_mask, joint_mask), recovered)
    seen = torch.nonzero(~frame_mask)[0, 0]
    changed[:, seen] += 1
    assert (method(changed, frame_mask, joint_mask) != recovered).any()


def test_hidden_frames_count_in_the_batch_statistics_of_training():
    frame_mask, joint_mask = draw_masks(9, 17, 0.5, 3, generator=seeded(1))
    keypoints_2d = torch.randn(2, 9, 17, 2, generator=seeded(0))
    changed = torch.where(frame_mask[:, None, None], keypoints_2d + 1, keypoints_2d)
    first, second = small(dropout=0.0).train(), small(dropout=0.0).train()
    assert (first(keypoints_2d, frame_mask, joint_mask) != second(changed, frame_mask, joint_mask)).any()
    assert (first.encoder.spatial.norm.running_mean != second.encoder.spatial.norm.running_mean).any()


def test_recovered_frames_come_visible_first():
    mask = torch.tensor([True, False, False, True, True, False])
    assert visible_first(mask).tolist() == [1, 2, 5, 0, 3, 4]
    keypoints_2d = torch.randn(2, 6, 17, 2, generator=seeded(0))
    perfect = keypoints_2d[:, [1, 2, 5, 0, 3, 4]]
    assert masked_pose_loss(perfect, keypoints_2d, mask) == 0
    torch.testing.assert_close(
        masked_pose_loss(perfect + torch.tensor([3.0, 4.0]), keypoints_2d, mask), torch.tensor(5.0)
    )


# --- masks


@given(
    frames=st.integers(1, 60),
    joints=st.integers(2, 20),
    ratio=st.floats(0, 1, exclude_max=True),
    share=st.floats(0, 1),
    every=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_masks_have_exact_counts(frames, joints, ratio, share, every, seed):
    masked = int(share * (joints if every else joints - 1))
    frame_mask, joint_mask = draw_masks(frames, joints, ratio, masked, every, generator=seeded(seed))
    assert frame_mask.shape == (frames,)
    assert joint_mask.shape == (frames, joints)
    assert frame_mask.sum() == int(frames * ratio) < frames
    assert (joint_mask.sum(dim=1) == masked).all()
    if not every:
        assert not joint_mask[:, -1].any()


@pytest.mark.parametrize(("frames", "ratio", "hidden"), [(243, 0.8, 194), (243, 0.6, 145), (81, 0.7, 56)])
def test_published_ratios_hide_the_published_number_of_frames(frames, ratio, hidden):
    assert draw_masks(frames, 17, ratio, 2)[0].sum() == hidden


def chi_square(choices: list[tuple[int, ...]], possible: list[tuple[int, ...]]) -> float:
    counts = np.array([choices.count(one) for one in possible])
    expected = len(choices) / len(possible)
    assert counts.sum() == len(choices)
    assert counts.min() > 0, "every subset is reached"
    return float(((counts - expected) ** 2 / expected).sum())


def test_every_subset_of_frames_is_equally_likely():
    generator = seeded(0)
    drawn = [draw_masks(5, 4, 0.4, 1, generator=generator)[0] for _ in range(2000)]
    choices = [tuple(torch.nonzero(mask)[:, 0].tolist()) for mask in drawn]
    # ten subsets: nine degrees of freedom, whose 99.9 % quantile is 27.9
    assert chi_square(choices, list(combinations(range(5), 2))) < 27.9


@pytest.mark.parametrize("every", [True, False])
def test_every_subset_of_joints_is_equally_likely(every):
    joints = 5 if every else 6  # five to choose from
    mask = draw_masks(2000, joints, 0.4, 2, every, generator=seeded(0))[1]
    choices = [tuple(torch.nonzero(row)[:, 0].tolist()) for row in mask]
    assert chi_square(choices, list(combinations(range(5), 2))) < 27.9


def test_the_last_joint_is_masked_unless_as_published():
    published = small(**Pretrainer.as_published["model"])
    assert not published.mask_every_joint
    assert draw_masks(500, 17, 0.8, 2, True, generator=seeded(0))[1][:, 16].any()
    assert not draw_masks(500, 17, 0.8, 2, published.mask_every_joint, generator=seeded(0))[1][:, 16].any()


# --- training


def test_the_loss_draws_fresh_masks_from_its_generator():
    method = small().eval()
    batch = Batch(torch.randn(3, 9, 17, 2, generator=seeded(0)), torch.zeros(3, 9, 17, 3))
    generator, state = seeded(4), torch.get_rng_state()
    first, second = (method.loss(batch, generator)["total"] for _ in range(2))
    assert first != second
    assert first == method.loss(batch, seeded(4))["total"]
    assert torch.equal(torch.get_rng_state(), state)
    frame_mask, joint_mask = draw_masks(9, 17, 0.8, 2, generator=seeded(4))
    recovered = method(batch.keypoints_2d, frame_mask, joint_mask)
    assert first == masked_pose_loss(recovered, batch.keypoints_2d, frame_mask)


def test_the_loss_reaches_every_parameter_but_the_unused_norms():
    method = small().train()
    batch = Batch(torch.randn(3, 9, 17, 2, generator=seeded(0)), torch.zeros(3, 9, 17, 3))
    method.loss(batch, seeded(1))["total"].backward()
    without = {key for key, value in method.named_parameters() if value.grad is None or not value.grad.any()}
    unused = {f"{part}.norm.{name}" for part in ("encoder.temporal", "decoder") for name in ("scale", "shift")}
    assert without == unused


def test_the_loss_survives_mixed_precision():
    method = small().eval()
    batch = Batch(torch.randn(3, 9, 17, 2, generator=seeded(0)), torch.zeros(3, 9, 17, 3))
    exact = method.loss(batch, seeded(1))["total"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = method.loss(batch, seeded(1))["total"]
        recovered = method(batch.keypoints_2d, *draw_masks(9, 17, 0.8, 2, generator=seeded(1)))
    assert recovered.dtype == torch.float32
    mixed.backward()
    assert all(one.grad.isfinite().all() for one in method.parameters() if one.grad is not None)
    torch.testing.assert_close(mixed.float(), exact, rtol=0.05, atol=0)  # bfloat16 keeps eight bits of a number


def test_training_recovers_what_is_hidden():
    """Windows that repeat one pose: what the visible frames show is what the hidden ones hold."""
    method = small(dropout=0.0, frame_mask_ratio=0.5, masked_joints=0).train()
    poses = torch.randn(32, 1, 17, 2, generator=seeded(0)).expand(-1, 9, -1, -1)
    batch, generator = Batch(poses, torch.zeros(32, 9, 17, 3)), seeded(1)
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = method.loss(batch, generator)["total"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.7 * losses[0]


def test_tokens_and_positions_are_standard_normal():
    method = small(frames=81, dim=256, heads=8)
    spread = (2 * method.decoder_embedding.numel()) ** -0.5
    assert abs(method.decoder_embedding.std() - 1) < 4 * spread
    drawn = torch.cat([small(seed).joint_token.detach().flatten() for seed in range(50)])
    assert abs(drawn.std() - 1) < 4 * (2 * len(drawn)) ** -0.5


def test_it_lifts_nothing():
    with pytest.raises(NotImplementedError, match="pstmo-pretrain is a pre-training stage and lifts nothing"):
        small().lift(torch.zeros(1, 9, 17, 2))


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"frame_mask_ratio": 1.0}, r"frame_mask_ratio 1.0 is not in \[0, 1\)"),
        ({"frame_mask_ratio": -0.1}, r"frame_mask_ratio -0.1 is not in \[0, 1\)"),
        ({"masked_joints": 18}, r"masked_joints must be a whole number in 0\.\.17, not 18"),
        ({"masked_joints": 17, "mask_every_joint": False}, r"masked_joints must be a whole number in 0\.\.16, not 17"),
        ({"masked_joints": 1.5}, "masked_joints must be a whole number"),
        ({"dim": 18}, "dim 18 is not a multiple of twice the heads 2"),
        ({"hidden": 1}, "hidden must be a whole number of at least 1, not 0"),
        ({"depth": 0}, "depth must be a whole number of at least 1, not 0"),
        ({"dropout": 1.0}, r"dropout 1.0 is not in \[0, 1\)"),
    ],
)
def test_what_it_cannot_be_built_with(wrong, expected):
    with pytest.raises(ValueError, match=expected):
        small(**wrong)
