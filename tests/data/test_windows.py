"""Windows: the published generators' own, and what must hold for any video and any window."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.config.accounting import PRESETS
from bench.data.pose_dataset import SEQUENCE_COLUMNS, PoseDataset, offsets
from bench.data.windows import (
    COUNT_FROM,
    COUNT_TO,
    SEQUENCE,
    START,
    answered_part,
    block_rows,
    counted_frames,
    frame_indices,
    gather,
    mirror,
    recounted,
    scored_windows,
    test_windows,
    train_windows,
)
from bench.geometry.skeleton import H36M_17, Skeleton
from bench.method import Window
from bench.system.errors import BenchError

GOLDEN = Path(__file__).parents[1] / "golden"


def cases(upstream: str, split: str) -> list[dict]:
    """Windows of one length that a published generator yields: rows start, end, target_start, target_end, ..."""
    stored = json.loads(gzip.decompress((GOLDEN / f"windows_{upstream}.json.gz").read_bytes()))
    return [case for case in stored["cases"] if case["split"] == split and "error" not in case]


def ranges(table: np.ndarray, window: Window) -> list[list[int]]:
    """start, end, count_from, count_to of each row, as the golden files have them."""
    assert not table[:, SEQUENCE].any()
    ends = table[:, START] + (window.frames - 1) * window.step + 1
    return np.stack([table[:, START], ends, table[:, COUNT_FROM], table[:, COUNT_TO]], axis=1).tolist()


def published(case: dict) -> list[list[int]]:
    return [row[:4] for row in case["windows"]]


@pytest.mark.parametrize("upstream", ["diff3dhpe", "mixste"])
def test_windows_for_testing_are_those_of(upstream):
    for case in cases(upstream, "test"):
        window = Window(case["frames"])
        table = test_windows([case["length"]], window, PRESETS[upstream].accounting)
        assert ranges(table, window) == published(case), case
        assert (table[:, COUNT_TO] - table[:, COUNT_FROM]).sum() == case["counted"]


def test_shared_accounting_is_diff3dhpes_but_for_short_videos():
    for case in cases("diff3dhpe", "test"):
        window = Window(case["frames"])
        table = ranges(test_windows([case["length"]], window), window)
        if case["length"] >= case["frames"]:
            assert table == published(case)
        else:
            assert table == [[0, case["frames"], 0, case["length"]]]


def test_training_windows_with_a_tail_are_diff3dhpes():
    long_enough = [case for case in cases("diff3dhpe", "train") if case["length"] >= case["frames"]]
    assert len(long_enough) > 20
    for case in long_enough:
        window = Window(case["frames"])
        assert ranges(train_windows([case["length"]], window), window) == published(case)


def test_training_windows_that_are_centred_are_mixstes():
    for case in cases("mixste", "train"):
        window = Window(case["frames"])
        assert ranges(train_windows([case["length"]], window, layout="centred"), window) == published(case)


def test_a_window_for_every_frame_is_poseformers_and_diff3dhpes():
    for upstream, split in (
        ("poseformer", "train"),
        ("poseformer", "test"),
        ("diff3dhpe", "train_and_test_seq2frame"),
    ):
        for case in cases(upstream, split):
            window = Window(case["frames"], targets="centre")
            assert ranges(test_windows([case["length"]], window), window) == published(case)
            assert ranges(train_windows([case["length"]], window), window) == published(case)


def test_a_window_for_every_frame_is_videopose3ds():
    for case in cases("videopose3d", "train"):
        if case["stride"] == 1:  # a longer one trains several neighbouring frames in a pass
            window = Window(case["frames"], targets="centre")
            assert ranges(train_windows([case["length"]], window), window) == published(case)
    for case in cases("videopose3d", "test"):  # all windows of a video in one pass
        window = Window(case["frames"], targets="centre")
        rows = ranges(test_windows([case["length"]], window), window)
        assert published(case) == [[rows[0][0], rows[-1][1], rows[0][2], rows[-1][3]]]


def test_a_window_for_every_frame_is_pstmos_with_its_steps():
    for split in ("train", "test"):
        for case in cases("pstmo", split):
            window = Window(case["frames"], targets="centre", step=case["step"])
            rows = published(case)
            table = test_windows([case["length"]], window)
            assert table[:, START].tolist() == [row[0] for row in rows]
            if split == "test":
                assert table[:, [COUNT_FROM, COUNT_TO]].tolist() == [row[2:] for row in rows]
            assert (table == train_windows([case["length"]], window)).all()


@pytest.mark.parametrize(
    "window", [Window(27), Window(27, "centre"), Window(27, "centre", step=2), Window(27, "last", step=3)]
)
def test_the_answered_part_of_windows_reads_and_counts_the_answered_frames(window):
    dataset = made_up([40, 3])
    table = test_windows(dataset.lengths, window)
    part = answered_part(table, window)
    assert (block_rows(dataset, *part) == block_rows(dataset, table, window)[:, window.answered]).all()
    assert (counted_frames(*part) == counted_frames(table, window)[:, window.answered]).all()


def with_valid(length: int, valid: list[int]) -> PoseDataset:
    """One video of which some frames are scored."""
    return replace(made_up([length]), valid=torch.isin(torch.arange(length), torch.tensor(valid)))


def test_a_window_for_every_valid_frame_is_pstmos():
    for case in cases("pstmo_3dhp", "test"):
        window = Window(case["frames"], targets="centre")
        assert ranges(scored_windows(with_valid(case["length"], case["valid"]), window), window) == published(case)


def test_valid_frames_are_counted_where_diff3dhpe_counts_them():
    compared = 0
    for case in cases("diff3dhpe_3dhp", "test"):
        window, dataset = Window(case["frames"]), with_valid(case["length"], case["valid"])
        laid = test_windows([case["length"]], window, PRESETS["diff3dhpe_3dhp"].accounting)
        assert ranges(laid, window) == published(case)
        table = scored_windows(dataset, window)
        counted = block_rows(dataset, table, window)[counted_frames(table, window)]
        assert sorted(set(counted) & set(case["valid"])) == case["counted"]
        compared += 1
    assert compared > 10


def test_the_frames_shown_are_those_of_the_published_code():
    with np.load(GOLDEN / "windows.npz") as stored:
        golden = dict(stored)
    config = json.loads(str(golden["config"]))
    for length, frames in config["cases"]:
        name, window = f"N{length}_F{frames}", Window(frames)
        table = test_windows([length], window, PRESETS["diff3dhpe"].accounting)
        np.testing.assert_array_equal(
            frame_indices(table, [length], window), golden[f"out/diff3dhpe_s2s/{name}/frame_idx"]
        )
        np.testing.assert_array_equal(counted_frames(table, window), golden[f"out/diff3dhpe_s2s/{name}/target_mask"])
        table = test_windows([length], window, PRESETS["mixste"].accounting)
        np.testing.assert_array_equal(
            frame_indices(table, [length], window), golden[f"out/mixste_eval/{name}/frame_idx"]
        )
        table = train_windows([length], window, layout="centred")
        shown = golden[f"out/mixste_train/{name}/frame_idx"][~golden[f"out/mixste_train/{name}/flip"]]
        np.testing.assert_array_equal(frame_indices(table, [length], window), shown)
    for length, frames, stride in config["s2f_cases"]:
        name, window = f"N{length}_F{frames}_stride{stride}", Window(frames, targets="centre", stride=stride)
        table = train_windows([length], window)
        shown = frame_indices(table, [length], window)
        np.testing.assert_array_equal(shown, golden[f"out/diff3dhpe_s2f/{name}/input_idx"])
        np.testing.assert_array_equal(table[:, COUNT_FROM, None], golden[f"out/diff3dhpe_s2f/{name}/target_idx"])


def stored_videos(golden: dict, kind: str, left: list[int], right: list[int]) -> PoseDataset:
    """The two videos of a published generator's test, root trajectories included."""
    poses_3d = [golden[f"in/{kind}_seq3d_{index}"] for index in range(2)]
    lengths, joints = [len(poses) for poses in poses_3d], poses_3d[0].shape[1]
    rows = [("S1", "a", f"a {index}", "1", int(start), length)
            for index, (start, length) in enumerate(zip(offsets(lengths), lengths, strict=True))]  # fmt: skip
    names = tuple(str(joint) for joint in range(joints))
    return PoseDataset(
        name="stored",
        keypoints="gt",
        fps=50.0,
        skeleton=Skeleton("stored", names, (-1, *[0] * (joints - 1)), tuple(left), tuple(right), root=0),
        sequences=pd.DataFrame(rows, columns=list(SEQUENCE_COLUMNS)),
        keypoints_2d=torch.from_numpy(np.concatenate([golden[f"in/{kind}_seq2d_{index}"] for index in range(2)])),
        poses_3d=torch.from_numpy(np.concatenate(poses_3d)),
        roots=torch.zeros(sum(lengths), 3),
        fingerprint="f",
    )


@pytest.fixture
def poseformers(golden) -> tuple[dict, dict]:
    stored = golden("poseformer_loss.npz")
    return stored, json.loads(str(stored["config"]))


@pytest.mark.parametrize("flip", [False, True])
def test_poseformer_is_tested_on_the_published_windows(poseformers, flip):
    stored, config = poseformers
    dataset = stored_videos(stored, "ev", config["kps_left"], config["kps_right"])
    window = Window(config["frames"], targets="centre")
    table = test_windows(dataset.lengths, window)
    table = table[table[:, SEQUENCE] == 0]
    batch = gather(dataset, table, window, np.full(len(table), flip))
    np.testing.assert_array_equal(batch.keypoints_2d, stored[f"out/ev_windows{'_flip' if flip else ''}_0"])


def test_poseformer_is_trained_on_the_published_windows(poseformers):
    stored, config = poseformers
    dataset = stored_videos(stored, "ch", config["chunk"]["left"], config["chunk"]["right"])
    window = Window(config["frames"], targets="centre")
    # Each video whole, then mirrored; rows are sequence, start, end, mirrored.
    pairs = stored["out/ch_pairs"]
    table = train_windows(dataset.lengths, window)
    plain = pairs[pairs[:, 3] == 0]
    np.testing.assert_array_equal(table[:, [SEQUENCE, COUNT_FROM, COUNT_TO]], plain[:, :3])
    row = {tuple(one[:2]): index for index, one in enumerate(plain)}
    shown = table[[row[sequence, start] for sequence, start in pairs[:, :2].tolist()]]
    batch = gather(dataset, shown, window, pairs[:, 3] == 1)
    np.testing.assert_array_equal(batch.poses_3d[:, window.answered], stored["out/ch_3d"])
    np.testing.assert_array_equal(batch.keypoints_2d[stored["in/ch_pick"]], stored["out/ch_2d_pick"])


@pytest.mark.parametrize("flip", [False, True])
def test_a_causal_window_ends_with_its_frame_as_videopose3ds_do(poseformers, flip):
    stored, config = poseformers
    dataset = stored_videos(stored, "ch", config["chunk"]["left"], config["chunk"]["right"])
    window = Window(config["frames"], targets="last")
    table = test_windows(dataset.lengths, window)
    table = table[table[:, SEQUENCE] == 0]
    batch = gather(dataset, table, window, np.full(len(table), flip))
    padded = torch.from_numpy(stored["out/un_causal_2d"])[int(flip)]
    torch.testing.assert_close(batch.keypoints_2d, padded.unfold(0, window.frames, 1).movedim(-1, 1), rtol=0, atol=0)


# --- properties

videos = st.lists(st.integers(1, 70), min_size=1, max_size=5)
whole = st.builds(Window, st.integers(1, 40), stride=st.integers(0, 50))
centre = st.builds(
    lambda half, stride, step: Window(2 * half + 1, "centre", stride, step),
    st.integers(0, 15),
    st.integers(0, 5),
    st.integers(1, 3),
)


def times_counted(table: np.ndarray, lengths: list[int]) -> list[np.ndarray]:
    counts = [np.zeros(length, int) for length in lengths]
    for sequence, _, first, end in table:
        assert 0 <= first < end <= lengths[sequence]
        counts[sequence][first:end] += 1
    return counts


@given(lengths=videos, window=whole | centre)
def test_every_frame_is_counted_exactly_once(lengths, window):
    table = test_windows(lengths, window)
    assert all((counts == 1).all() for counts in times_counted(table, lengths))
    assert (np.diff(table[:, SEQUENCE]) >= 0).all()
    # What a window counts it has seen: in its own range, at its own place.
    assert (counted_frames(table, window).sum(axis=1) == table[:, COUNT_TO] - table[:, COUNT_FROM]).all()


@given(lengths=videos, window=whole | centre, data=st.data())
def test_every_valid_frame_is_scored_once_and_no_window_for_nothing(lengths, window, data):
    total = sum(lengths)
    valid = torch.tensor(data.draw(st.lists(st.booleans(), min_size=total, max_size=total)))
    dataset = replace(made_up(lengths), valid=valid)
    table = scored_windows(dataset, window)
    scored = counted_frames(table, window) & valid.numpy()[block_rows(dataset, table, window)]
    assert scored.any(axis=1).all()
    assert sorted(block_rows(dataset, table, window)[scored]) == dataset.counted.tolist()
    whole_table = {tuple(row) for row in test_windows(lengths, window)}
    assert {tuple(row) for row in table} <= whole_table
    np.testing.assert_array_equal(scored_windows(replace(dataset, valid=None), window), test_windows(lengths, window))


@given(lengths=videos, window=st.builds(Window, st.integers(1, 40)), layout=st.sampled_from(["tail", "centred"]))
def test_training_sees_every_frame(lengths, window, layout):
    shown = frame_indices(table := train_windows(lengths, window, layout), lengths, window)
    supervised = counted_frames(table, window)
    for sequence, length in enumerate(lengths):
        mine = table[:, SEQUENCE] == sequence
        assert set(shown[mine][supervised[mine]]) == set(range(length))


@given(lengths=videos, window=whole)
def test_training_with_a_tail_supervises_real_frames_only(lengths, window):
    for counts in times_counted(train_windows(lengths, window), lengths):
        assert counts[-1] >= 1


@given(lengths=videos, window=whole | centre, preset=st.sampled_from(list(PRESETS.values())))
def test_predictions_need_each_frame_once_wherever_windows_are_padded(lengths, window, preset):
    dataset = made_up(lengths)
    table = scored_windows(dataset, window, preset.accounting)
    assert all((counts == 1).all() for counts in times_counted(table, lengths))
    laid = test_windows(lengths, window, preset.accounting)
    assert (recounted(table, lengths, window, preset.accounting) == laid).all()


@given(lengths=videos, window=whole | centre, preset=st.sampled_from(list(PRESETS.values())))
def test_no_index_leaves_its_video(lengths, window, preset):
    for table in (test_windows(lengths, window, preset.accounting), train_windows(lengths, window)):
        shown = frame_indices(table, lengths, window)
        assert shown.shape == (len(table), window.frames)
        assert (shown >= 0).all()
        assert (shown < np.array(lengths)[table[:, SEQUENCE], None]).all()


def made_up(lengths: list[int]) -> PoseDataset:
    generator = torch.Generator().manual_seed(3)
    total = sum(lengths)
    rows = [("S1", "Walking", f"Walking {index}", "1", int(start), length)
            for index, (start, length) in enumerate(zip(offsets(lengths), lengths, strict=True))]  # fmt: skip
    return PoseDataset(
        name="made up",
        keypoints="gt",
        fps=50.0,
        skeleton=H36M_17,
        sequences=pd.DataFrame(rows, columns=list(SEQUENCE_COLUMNS)),
        keypoints_2d=torch.randn(total, 17, 2, generator=generator),
        poses_3d=torch.randn(total, 17, 3, generator=generator),
        roots=torch.randn(total, 3, generator=generator),
        fingerprint="f",
    )


@given(lengths=videos, window=whole | centre, data=st.data())
def test_gather_equals_a_copy_frame_by_frame(lengths, window, data):
    dataset = made_up(lengths)
    table = data.draw(st.sampled_from([test_windows(lengths, window), train_windows(lengths, window)]))
    flipped = np.array(data.draw(st.lists(st.booleans(), min_size=len(table), max_size=len(table))), bool)
    batch = gather(dataset, table, window, flipped)
    assert batch.keypoints_2d.shape == (len(table), window.frames, 17, 2)
    for row in data.draw(st.sets(st.integers(0, len(table) - 1), min_size=1, max_size=4)):
        sequence, start, first, end = table[row].tolist()
        for frame in range(window.frames):
            time = start + frame * window.step
            source = dataset.starts[sequence] + min(max(time, 0), lengths[sequence] - 1)
            for block, gathered in (
                (dataset.keypoints_2d[source], batch.keypoints_2d[row, frame]),
                (dataset.poses_3d[source], batch.poses_3d[row, frame]),
            ):
                expected = mirror(block, H36M_17.mirror) if flipped[row] else block
                assert torch.equal(gathered, expected)
            assert batch.supervised[row, frame] == (first <= time < end)


def test_gather_leaves_the_data_set_as_it_was():
    dataset = made_up([12])
    before = dataset.poses_3d.clone(), dataset.keypoints_2d.clone()
    table = test_windows([12], Window(5))
    batch = gather(dataset, table, Window(5), np.ones(len(table), bool))
    batch.poses_3d.zero_()
    assert torch.equal(dataset.poses_3d, before[0])
    assert torch.equal(dataset.keypoints_2d, before[1])


def test_the_mirror_negates_x_and_swaps_sides():
    poses = torch.arange(17 * 3.0).reshape(17, 3)
    mirrored = mirror(poses, H36M_17.mirror)
    assert mirrored[4].tolist() == [-3.0, 4.0, 5.0], "the left hip is the right one's mirror image"
    assert mirrored[10].tolist() == [-30.0, 31.0, 32.0]
    assert torch.equal(mirror(mirrored, H36M_17.mirror), poses)


def test_no_videos_make_an_empty_table():
    for window in (Window(9), Window(9, targets="centre")):
        assert test_windows([], window).shape == (0, 4)
        assert train_windows([], window).shape == (0, 4)


def test_unknown_rules_are_refused():
    with pytest.raises(ValueError, match=r"layout must be .* not 'left'"):
        train_windows([5], Window(3), layout="left")


def test_an_accounting_may_be_named_as_its_preset():
    lengths, window = [5, 30, 27], Window(27)
    for name, preset in PRESETS.items():
        named, given_whole = (test_windows(lengths, window, rules) for rules in (name, preset.accounting))
        np.testing.assert_array_equal(named, given_whole)
    with pytest.raises(BenchError, match=r"No preset of an accounting 'mixst'\. Did you mean 'mixste'"):
        test_windows(lengths, window, "mixst")
