"""The shared blocks: attention's two kernels, the shape of GRAND, stochastic depth."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from baselines.layers import MLP, Attention, Block, DropPath, Sizes, SpatioTemporalEncoder, attend


@pytest.mark.parametrize("channels", [8, 64])
def test_both_attention_kernels_agree(channels):
    q, k, v = torch.randn(3, 2, 4, 17, channels, generator=torch.Generator().manual_seed(0)).unbind()
    torch.testing.assert_close(attend(q, k, v), F.scaled_dot_product_attention(q, k, v), atol=1e-5, rtol=1e-5)


def test_grand_attention_is_attention_with_an_identity_subtracted():
    torch.manual_seed(0)
    grand = Attention(32, 4, subtract_values=True)
    x = torch.randn(3, 9, 32)
    q, k, v = grand.qkv(x).reshape(3, 9, 3, 4, 8).permute(2, 0, 3, 1, 4)
    weights = (q @ k.mT / 8**0.5).softmax(dim=-1) - torch.eye(9)
    expected = grand.proj((weights @ v).transpose(1, 2).reshape(3, 9, 32))
    torch.testing.assert_close(grand(x), expected, atol=1e-5, rtol=1e-5)


def test_heads_must_divide_dim():
    with pytest.raises(ValueError, match="not a multiple of heads"):
        Attention(30, 4)


def test_mlp_uses_the_exact_gelu():
    mlp = MLP(4, 8)
    x = torch.linspace(-3, 3, 12).reshape(3, 4)
    hidden = mlp.fc1(x)
    exact = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    torch.testing.assert_close(mlp(x), mlp.fc2(exact))


def test_mlp_takes_another_activation_and_drops_after_it():
    torch.manual_seed(0)
    mlp = MLP(4, 1000, activation=F.relu, dropout=0.25)
    x = torch.randn(3, 4)
    torch.testing.assert_close(mlp.eval()(x), mlp.fc2(mlp.fc1(x).clamp(min=0)))
    given = []
    mlp.fc2.register_forward_pre_hook(lambda layer, inputs: given.append(inputs[0]))
    mlp.train()(x)
    active = mlp.fc1(x).clamp(min=0)
    kept = given[0] != 0
    torch.testing.assert_close(given[0], torch.where(kept, active / 0.75, 0))
    share = kept[active > 0].float().mean()
    assert abs(share - 0.75) < 4 * (0.75 * 0.25 / (active > 0).sum()) ** 0.5


@pytest.mark.parametrize("channels", [8, 64])
def test_both_attention_kernels_drop_probabilities(channels):
    """All probabilities are 1 / 50 here and all values 1, so an output counts the probabilities that are left."""
    torch.manual_seed(0)
    q = torch.zeros(20, 2, 50, channels)
    out = attend(q, q, torch.ones_like(q), dropout=0.3)
    left = out[..., 0] * 0.7 * 50
    torch.testing.assert_close(left, left.round(), atol=1e-3, rtol=0)
    assert left.std() > 1
    assert abs(left.mean() / 50 - 0.7) < 4 * (0.7 * 0.3 / (50 * left.numel())) ** 0.5


def test_attention_drops_in_training_alone():
    torch.manual_seed(0)
    attention, x = Attention(32, 4, dropout=0.5), torch.randn(3, 9, 32)
    assert (attention.train()(x) != attention(x)).any()
    assert torch.equal(attention.eval()(x), attention(x))
    plain = Attention(32, 4)
    plain.load_state_dict(attention.state_dict())
    assert torch.equal(attention(x), plain.train()(x))


def test_drop_path_drops_whole_rows_and_keeps_the_mean():
    torch.manual_seed(0)
    drop = DropPath(0.3).train()
    out = drop(torch.ones(20000, 2, 3))
    rows = out.reshape(len(out), -1)
    assert ((rows == rows[:, :1]).all(dim=1)).all(), "a row is kept or dropped as a whole"
    dropped = (rows[:, 0] == 0).float().mean()
    assert abs(dropped - 0.3) < 4 * (0.3 * 0.7 / 20000) ** 0.5
    kept = rows[rows[:, 0] != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / 0.7))


def test_drop_path_does_nothing_in_evaluation_or_at_rate_zero():
    x = torch.randn(50, 3)
    assert DropPath(0.5).eval()(x) is x
    assert DropPath(0.0).train()(x) is x
    with pytest.raises(ValueError, match="drop path"):
        DropPath(1.0)


def test_the_branches_of_a_block_draw_separately():
    torch.manual_seed(0)
    block = Block(8, 2, 2.0, drop_path=0.5).train()
    calls = []
    block.drop_path.register_forward_hook(lambda module, inputs, output: calls.append((output != 0).any(dim=(1, 2))))
    block(torch.randn(64, 5, 8))
    assert len(calls) == 2
    assert not torch.equal(*calls)


def test_drop_path_rates_grow_linearly_over_levels():
    encoder = SpatioTemporalEncoder(Sizes(9, 17, 8, depth=4, heads=2, mlp_ratio=2.0, drop_path=0.3))
    for blocks in (encoder.spatial_blocks, encoder.temporal_blocks):
        assert [block.drop_path.rate for block in blocks] == pytest.approx([0, 0.1, 0.2, 0.3])


def test_time_reaches_the_rows_of_its_own_sample():
    torch.manual_seed(0)
    block = Block(8, 2, 2.0, drop_path=0.0, time_dim=6)
    x, time = torch.randn(2 * 5, 17, 8), torch.randn(2, 6)
    both = block(x, time)
    torch.testing.assert_close(both[:5], block(x[:5], time[:1]))
    torch.testing.assert_close(both[5:], block(x[5:], time[1:]))


def test_positional_embeddings_start_at_zero():
    encoder = SpatioTemporalEncoder(Sizes(9, 17, 8, depth=1, heads=2, mlp_ratio=2.0, drop_path=0.1))
    assert not encoder.joint_embedding.any()
    assert not encoder.frame_embedding.any()
