"""From a method to numbers: every frame once, the same in any batch, and scores as worked out by hand."""

from __future__ import annotations

import importlib
import pkgutil
from contextlib import nullcontext
from dataclasses import replace
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from samples import VIDEOS, toy_dataset

import bench
from bench import Method, Window, build, load_benchmark
from bench.config import Protocol
from bench.config.accounting import Accounting
from bench.data.mpi_inf_3dhp_labels import ACTIVITIES
from bench.data.pose_dataset import SEQUENCE_COLUMNS, PoseDataset, offsets
from bench.data.windows import gather, mirror, scored_windows, test_windows
from bench.evaluation import Predictions, evaluate, predict, score
from bench.evaluation.groups import official_tables
from bench.geometry.skeleton import H36M_17, MPI_INF_3DHP_17
from bench.method import passes
from bench.method.base import generator_of
from bench.results import metrics
from bench.results.metrics import METRICS, Metric
from bench.system.errors import BenchError

# The unit of every metric that any data set allows.
UNITS = {name: one.unit for name, one in METRICS.items() if name not in ("pck", "auc")}
SIZES = {"frames": 9, "dim": 16, "depth": 1, "heads": 2}


class Echo(Method):
    """Answers with the keypoints of the frame in question, at depth 0."""

    name = "echo"

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.window = window

    def lift(self, keypoints_2d, *, generator=None):
        if self.window.targets == "centre":
            middle = self.window.frames // 2
            keypoints_2d = keypoints_2d[:, middle : middle + 1]
        return torch.cat([keypoints_2d, torch.zeros_like(keypoints_2d[..., :1])], dim=-1)


@pytest.fixture(scope="module")
def dataset():
    return toy_dataset()


@pytest.fixture(scope="module", params=["mixste", "diff3dhpe"])
def method(request):
    torch.manual_seed(0)
    extra = {"sampling_steps": 2, "eta": 0.5} if request.param == "diff3dhpe" else {}
    return build(request.param, **SIZES, **extra).eval()


WINDOWS = [Window(9), Window(1), Window(64), Window(9, "centre"), Window(5, "centre", step=3)]


# Predictions


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("flip", [False, True])
def test_every_frame_gets_its_own_prediction_once(dataset, window, flip):
    predictions = predict(Echo(window), dataset, flip=flip)
    # Mirrored there and back again the echo is the same, to the last bit but one.
    np.testing.assert_allclose(predictions.per_frame(dataset)[..., :2], dataset.keypoints_2d.numpy(), rtol=1e-6)
    assert predictions.poses_3d.shape[1] == (window.frames if window.targets == "all" else 1)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_predictions_survive_writing_and_reading(dataset, window, tmp_path):
    predictions = predict(Echo(window), dataset)
    predictions.save(tmp_path / "predictions.npz")
    back = Predictions.load(tmp_path / "predictions.npz")
    assert back.window == window
    np.testing.assert_array_equal(back.table, predictions.table)
    np.testing.assert_array_equal(back.poses_3d, predictions.poses_3d)
    assert back.poses_3d.dtype == np.float32
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.npz"]


def test_frames_counted_twice_or_never_are_refused(dataset):
    whole = predict(Echo(Window(9)), dataset)
    fewer = Predictions(whole.window, whole.table[1:], whole.poses_3d[1:])
    twice = Predictions(
        whole.window, test_windows(dataset.lengths, Window(9), Accounting(tail="twice")), whole.poses_3d
    )
    for predictions in (fewer, twice):
        with pytest.raises(ValueError, match="frames are not counted exactly once"):
            predictions.per_frame(dataset)


@pytest.mark.parametrize("tokens", [1, 9 * 17 * 2, 40 * 17 * 2])
def test_a_prediction_does_not_depend_on_the_batch(dataset, method, monkeypatch, tokens):
    together = predict(method, dataset)
    monkeypatch.setattr(passes, "TOKENS_ON_CPU", tokens)
    monkeypatch.setattr(passes, "TOKENS", tokens)
    apart = predict(method, dataset)
    np.testing.assert_allclose(apart.poses_3d, together.poses_3d, atol=1e-4)  # a tenth of a millimetre; sums differ


def test_a_prediction_does_not_depend_on_which_other_videos_are_tested(dataset, method):
    everybody, one = predict(method, dataset), predict(method, dataset.subset(["S3"]))
    rows = slice(len(dataset.poses_3d) - len(one.per_frame(dataset.subset(["S3"]))), None)
    np.testing.assert_allclose(one.per_frame(dataset.subset(["S3"])), everybody.per_frame(dataset)[rows], atol=1e-4)


def test_noise_follows_the_seed_and_differs_between_windows(dataset, method):
    first, again, other = (predict(method, dataset, seed=seed).poses_3d for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.array_equal(first, other) != method.stochastic
    draws = [
        torch.randn(3, generator=generator_of(key)).tolist() for key in ("0/a/0/plain", "0/a/0/mirrored", "0/a/9/plain")
    ]
    assert len({tuple(draw) for draw in draws}) == 3


def test_flipping_is_the_mean_with_the_mirrored_prediction_of_the_mirror_image(dataset, method):
    window, table = method.window, test_windows(dataset.lengths, method.window)
    videos = ["/".join(row) for row in dataset.sequences[["subject", "sequence", "camera"]].to_numpy()]
    expected = []
    for sequence, start, *_ in table.tolist():
        length = int(dataset.lengths[sequence])
        frames = np.clip(np.arange(start, start + window.frames), 0, length - 1) + dataset.starts[sequence]
        seen = dataset.keypoints_2d[torch.from_numpy(frames)][None]
        noise = [[generator_of(f"0/{videos[sequence]}/{start}/{version}")] for version in ("plain", "mirrored")]
        with torch.inference_mode():
            plain = method.lift(seen, generator=noise[0])
            turned = method.lift(mirror(seen, H36M_17.mirror), generator=noise[1])
        expected.append((plain + mirror(turned, H36M_17.mirror))[0] / 2)
    np.testing.assert_allclose(predict(method, dataset).poses_3d, torch.stack(expected), atol=1e-5)
    assert not np.allclose(predict(method, dataset, flip=False).poses_3d, torch.stack(expected), atol=1e-3)


def test_predicting_draws_from_no_global_generator(dataset, method):
    state, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    predict(method, dataset)
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(numbers, np.random.get_state()[1])


def lift_with_predict(method: Method, dataset: PoseDataset) -> None:
    predict(method, dataset)


def lift_with_evaluate(method: Method, dataset: PoseDataset) -> None:
    stated = {"dataset": "toy", "keypoints": "gt", "frames": 9, "train_subjects": ["S1"], "test_subjects": ["S3"]}
    evaluate(method, dataset, Protocol.model_validate(stated), flip=False)


def modes(method: Method) -> list[bool]:
    return [module.training for module in method.modules()]


@pytest.mark.parametrize("lift", [lift_with_predict, lift_with_evaluate])
@pytest.mark.parametrize("breaks", [False, True])
def test_a_method_is_given_back_in_the_mode_it_was_in(dataset, method, monkeypatch, lift, breaks):
    method.train()
    next(method.children()).eval()  # a part that its owner has frozen
    before, seen = modes(method), []

    def spy(keypoints_2d, *, generator=None):
        seen.extend(modes(method))
        if breaks:
            raise RuntimeError("out of memory")
        return type(method).lift(method, keypoints_2d, generator=generator)

    monkeypatch.setattr(method, "lift", spy)
    with pytest.raises(RuntimeError, match="out of memory") if breaks else nullcontext():
        lift(method, dataset)
    assert seen
    assert not any(seen)
    assert modes(method) == before
    assert len(set(before)) == 2


def test_a_method_is_given_back_on_the_device_it_was_on(dataset, method, monkeypatch):
    moves = []

    def move(device):
        moves.append(str(device))
        return method

    def full(keypoints_2d, *, generator=None):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(method, "to", move)
    predict(method, dataset, device="cpu:0")
    assert moves == ["cpu:0", "cpu"]
    monkeypatch.setattr(method, "lift", full)
    with pytest.raises(RuntimeError, match="out of memory"):
        predict(method, dataset, device="cpu:0")
    assert moves == ["cpu:0", "cpu"] * 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_method_comes_back_from_a_gpu(dataset, method):
    predict(method, dataset, device="cuda")
    assert {one.device.type for one in method.parameters()} == {"cpu"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_predictions_that_are_not_numbers_are_refused(dataset, value):
    torch.manual_seed(0)
    broken = build("mixste", **SIZES)
    broken.network.head.bias.data[1] = value
    with pytest.raises(BenchError, match=r"mixste: predicted poses are not finite; .* Lower the learning rate"):
        predict(broken, dataset)


# Scores, worked out by hand

TWO = (("S9", "sit", "sit", "a", 3), ("S9", "walk", "walk 1", "a", 1), ("S9", "walk", "walk 2", "a", 2))


@pytest.fixture
def by_hand():
    """Three videos of 3, 1 and 2 frames; in frame f every joint is f + 1 cm off along z, the root 17 cm."""
    data = toy_dataset(TWO)
    window = Window(2)
    table = test_windows(data.lengths, window)
    wrong = data.poses_3d.numpy().copy()
    wrong[:, :, 2] += 0.01 * np.arange(1, 7)[:, None]
    wrong[:, 0] = [0, 0, 0.17]
    poses = np.full((len(table), 2, 17, 3), 9.0, np.float32)  # what is not counted is far off
    for row, (sequence, start, first, last) in enumerate(table.tolist()):
        for frame in range(first, last):
            poses[row, frame - start] = wrong[data.starts[sequence] + frame]
    return data, score(Predictions(window, table, poses), data)


def test_errors_are_per_frame_and_joint_with_the_root_zeroed(by_hand):
    data, scores = by_hand
    expected = np.tile(10.0 * np.arange(1, 7)[:, None], (1, 17))
    expected[:, 0] = 0
    np.testing.assert_allclose(scores.errors, expected, atol=1e-3)
    np.testing.assert_allclose(scores.values["mpjpe_raw_root"] - scores.values["mpjpe"], 170 / 17, rtol=1e-5)
    assert scores.joints == data.skeleton.joints
    assert scores.per_joint["pelvis"] == 0
    assert scores.per_joint["left wrist"] == pytest.approx(35, rel=1e-5)


def test_actions_weigh_the_same_and_frames_weigh_the_same(by_hand):
    summary = by_hand[1].summary
    share = 16 / 17  # the root has no error
    sit, walk = share * (10 + 20 + 30) / 3, share * (40 + 50 + 60) / 3
    assert by_hand[1].per_action["mpjpe"] == pytest.approx({"sit": sit, "walk": walk}, rel=1e-5)
    assert summary["mpjpe"] == pytest.approx((sit + walk) / 2, rel=1e-5)
    assert summary["mpjpe_frames"] == pytest.approx(share * 35, rel=1e-5)


def test_the_two_averages_differ_where_actions_differ_in_length():
    data = toy_dataset((("S9", "sit", "sit", "a", 3), ("S9", "walk", "walk", "a", 1)))
    poses = data.poses_3d.numpy().copy()
    poses[:, 1, 0] += [0.017, 0.017, 0.017, 0.085]
    table = np.array([[0, 0, 0, 3], [1, 0, 0, 1]])
    stacked = np.stack([poses[:3], poses[[3, 3, 3]]])
    summary = score(Predictions(Window(3), table, stacked), data).summary
    assert summary["mpjpe"] == pytest.approx((1 + 5) / 2, rel=1e-4)
    assert summary["mpjpe_frames"] == pytest.approx((3 * 1 + 5) / 4, rel=1e-4)


def test_the_raw_root_counts_as_one_joint_of_seventeen(by_hand):
    summary = by_hand[1].summary
    for metric in ("", "_frames"):
        raw, zeroed = summary[f"mpjpe_raw_root{metric}"], summary[f"mpjpe{metric}"]
        assert raw - zeroed == pytest.approx(170 / 17, rel=1e-5)


def test_velocity_is_taken_within_videos_only(by_hand):
    velocity = by_hand[1].values["mpjve"]
    # The error grows by 10 mm a frame in 16 of 17 joints; the first frame of each video has no step to it.
    expected = [np.nan, 160 / 17, 160 / 17, np.nan, np.nan, 160 / 17]
    np.testing.assert_allclose(velocity, expected, rtol=1e-4)
    assert by_hand[1].summary["mpjve"] == pytest.approx(160 / 17, rel=1e-4)
    counted = by_hand[1].table.set_index(["metric", "action"])["frames"]
    assert counted["mpjve", "sit"] == 2
    assert counted["mpjve", "walk"] == 1
    assert counted["mpjpe", "all frames"] == 6


def test_acceleration_is_taken_about_frames_with_both_neighbours(sparse):
    predictions = predict(Echo(Window(9)), sparse)
    found = score(predictions, sparse)
    predicted, target = (
        1000 * poses.astype(np.float64) for poses in (predictions.per_frame(sparse), sparse.poses_3d.numpy())
    )
    predicted[:, 0] = 0
    apart, valid = predicted - target, sparse.valid.numpy()
    borders = set(sparse.starts.tolist()) | {len(target)}
    expected = []
    for row in found.rows.tolist():
        inside = row not in borders and row + 1 not in borders and valid[row - 1 : row + 2].all()
        second = apart[row - 1] - 2 * apart[row] + apart[row + 1] if inside else np.full((17, 3), np.nan)
        expected.append(np.linalg.norm(second, axis=-1).mean())
    assert 4 < np.isfinite(expected).sum() < len(expected) - 5
    np.testing.assert_allclose(found.values["accel"], expected, rtol=1e-6)


def test_pck_at_150_mm_counts_every_joint_but_the_root(by_hand):
    data = toy_dataset((("S9", "sit", "sit", "a", 2),))
    poses = data.poses_3d.numpy().copy()
    poses[0, 1:5, 0] += 0.151
    poses[0, 5:, 0] += 0.149
    poses[1, :, 0] += 1
    values = score(Predictions(Window(1), test_windows(data.lengths, Window(1)), poses[:, None]), data).values
    assert values["pck150"].tolist() == [75, 0], "the root, at zero in both frames, does not count"


def test_an_action_of_single_frames_has_no_velocity():
    data = toy_dataset((("S9", "sit", "sit", "a", 3), ("S9", "walk", "walk", "a", 1)))
    scores = score(predict(Echo(Window(9)), data), data)
    assert scores.per_action["mpjve"].keys() == {"sit"}
    assert scores.per_action["mpjpe"].keys() == {"sit", "walk"}
    assert scores.summary["mpjve"] == scores.per_action["mpjve"]["sit"]


def test_alignment_and_scale_are_those_of_each_frame():
    data = toy_dataset(TWO)
    table = test_windows(data.lengths, Window(1))
    turned = data.poses_3d.numpy()[..., [1, 2, 0]] * np.float32(1.5)  # a rotation and a scale
    scaled = data.poses_3d.numpy() * np.linspace(0.5, 2, 6, dtype=np.float32)[:, None, None]
    for poses, metric in ((turned, "p_mpjpe"), (scaled, "n_mpjpe")):
        summary = score(Predictions(Window(1), table, poses[:, None]), data).summary
        assert summary[metric] < 1e-3 < 1 < summary["mpjpe"]


def test_the_table_is_tidy(by_hand):
    data, scores = by_hand
    table = scores.table
    assert list(table.columns) == ["metric", "action", "value", "unit", "frames"]
    assert set(table["metric"]) == set(UNITS)
    assert list(table["action"][:4]) == ["sit", "walk", "average", "all frames"]
    assert dict(zip(table["metric"], table["unit"], strict=True)) == UNITS
    unknown = table[table["value"].isna()][["metric", "action"]]
    assert unknown.to_numpy().tolist() == [["accel", "walk"]], "no walk has three frames"
    assert scores.summary.keys() == {*UNITS, *(f"{metric}_frames" for metric in UNITS)}
    per_frame = scores.per_frame
    assert list(per_frame["sequence"]) == ["sit", "sit", "sit", "walk 1", "walk 2", "walk 2"]
    assert len(per_frame) == len(data.poses_3d)


def test_perfect_predictions_have_no_error(dataset):
    window = Window(9)
    table = test_windows(dataset.lengths, window)
    rows = np.clip(table[:, 1, None] + np.arange(9), 0, dataset.lengths[table[:, 0], None] - 1)
    poses = dataset.poses_3d.numpy()[rows + dataset.starts[table[:, 0], None]]
    summary = score(Predictions(window, table, poses), dataset).summary
    within = {name: summary.pop(name) for name in ("pck150", "pck150_frames")}
    assert set(within.values()) == {100}
    assert max(summary.values()) < 1e-3


# Valid frames


@pytest.fixture
def sparse():
    """The toy data set with valid frames alone, in pairs and in runs; the two videos of S2 have one and none."""
    data = toy_dataset()
    valid = np.random.default_rng(4).random(len(data.poses_3d)) < 0.4
    for row, start, length in zip(range(len(data.starts)), data.starts, data.lengths, strict=True):
        if data.sequences["subject"][row] == "S2":
            valid[start : start + length] = False
    valid[data.starts[3] + 7] = True
    return replace(data, valid=torch.from_numpy(valid))


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_valid_frames_are_scored_as_among_all_frames(dataset, sparse, window):
    everything, some = (score(predict(Echo(window), data), data) for data in (dataset, sparse))
    np.testing.assert_array_equal(some.rows, np.flatnonzero(sparse.valid))
    np.testing.assert_array_equal(some.errors, everything.errors[some.rows])
    for metric in ("mpjpe", "p_mpjpe", "n_mpjpe", "mpjpe_raw_root", "pck150"):
        np.testing.assert_array_equal(some.values[metric], everything.values[metric][some.rows])
    valid, starts = sparse.valid.numpy(), set(dataset.starts.tolist())
    stepped = [row not in starts and bool(valid[row - 1]) for row in some.rows.tolist()]
    assert 5 < sum(stepped) < len(stepped) - 5
    expected = np.where(stepped, everything.values["mpjve"][some.rows], np.nan)
    np.testing.assert_array_equal(some.values["mpjve"], expected)
    names = ["subject", "action", "sequence", "camera"]
    assert some.per_frame[names].equals(everything.per_frame[names].iloc[some.rows].reset_index(drop=True))
    assert len(some.per_frame) == len(some.errors) == len(sparse.counted)


def test_only_windows_with_valid_frames_are_lifted_and_see_the_others(dataset, sparse):
    seen = []

    class Watched(Echo):
        def lift(self, keypoints_2d, *, generator=None):
            seen.append(keypoints_2d)
            return super().lift(keypoints_2d)

    predict(Watched(Window(5, "centre")), sparse, flip=False)
    (windows,) = seen
    everything = predict(Echo(Window(5, "centre")), dataset, flip=False)
    assert len(windows) == len(sparse.counted)
    shown = gather(dataset, everything.table[sparse.counted], Window(5, "centre")).keypoints_2d
    assert torch.equal(windows, shown)


def test_a_valid_frame_that_no_window_counts_is_missed(sparse):
    whole = predict(Echo(Window(5, "centre")), sparse)
    with pytest.raises(ValueError, match="1 frames are not counted exactly once"):
        Predictions(whole.window, whole.table[1:], whole.poses_3d[1:]).per_frame(sparse)


def test_no_two_neighbours_have_no_velocity():
    data = toy_dataset((("S9", "sit", "sit", "a", 5),))
    apart = replace(data, valid=torch.tensor([True, False, True, False, True]))
    summary = score(predict(Echo(Window(3)), apart), apart).summary
    assert not {"mpjve", "mpjve_frames"} & summary.keys()
    assert {"mpjpe", "mpjpe_frames"} <= summary.keys()


def test_the_headline_is_over_what_the_protocol_says(by_hand):
    _, actions = by_hand
    frames = replace(actions, averaging="frames")
    assert frames.table.equals(actions.table)
    assert frames.summary.keys() == {*UNITS, *(f"{metric}_actions" for metric in UNITS)}
    for metric in UNITS:
        assert frames.summary[metric] == actions.summary[f"{metric}_frames"]
        assert frames.summary[f"{metric}_actions"] == actions.summary[metric]


# MPI-INF-3DHP

PER_FRAME = ("errors", "activities")
SIX = [f"TS{number}" for number in range(1, 7)]


def official(golden, case: str):
    """A case of the official functions: its numbers by name, and the scores of its predictions on its data set."""
    stored = {key.removeprefix(f"{case}__"): value for key, value in golden("pck_auc.npz").items()}
    targets = [stored[f"{name}_target"] / 1000 for name in SIX]
    valid, activities = (np.concatenate([stored[f"{name}_{what}"] for name in SIX]) for what in ("valid", "activity"))
    absolute, lengths = np.concatenate(targets), [len(target) for target in targets]
    table = [
        (name, name, name, "0", int(start), n) for name, start, n in zip(SIX, offsets(lengths), lengths, strict=True)
    ]
    data = PoseDataset(
        name="official",
        keypoints="gt",
        fps=25.0,
        skeleton=MPI_INF_3DHP_17,
        sequences=pd.DataFrame(table, columns=list(SEQUENCE_COLUMNS)),
        keypoints_2d=torch.zeros(len(absolute), 17, 2),
        poses_3d=torch.from_numpy(absolute - absolute[:, 14:15]).float(),
        roots=torch.from_numpy(absolute[:, 14]).float(),
        fingerprint="f",
        valid=torch.from_numpy(valid == 1),
        activities=torch.from_numpy(activities),
    )
    poses = np.concatenate([stored[f"{name}_pred"] for name in SIX])[:, None].astype(np.float32) / np.float32(1000)
    predictions = Predictions(Window(1), scored_windows(data, Window(1)), poses)
    return stored, score(predictions, data, averaging="frames")


@pytest.mark.parametrize("case", ["random", "missing_activity", "nonzero_root"])
def test_scores_of_3dhp_are_those_of_the_official_functions(golden, case):
    stored, scores = official(golden, case)
    assert scores.units == UNITS | {"pck": "%", "auc": "%"}
    for metric, golden_name in (("pck", "pck"), ("auc", "auc"), ("mpjpe_raw_root", "mpjpe")):
        assert list(scores.per_action[metric].values()) == pytest.approx(stored[f"seq_{golden_name}"][:, -1], rel=1e-5)
        assert scores.summary[metric] == pytest.approx(stored[f"{golden_name}_frame_weighted"], rel=1e-5)
        assert scores.summary[f"{metric}_actions"] == pytest.approx(
            stored[f"{golden_name}_mean_of_sequences"], rel=1e-5
        )


@pytest.mark.parametrize("case", ["random", "missing_activity", "nonzero_root"])
@pytest.mark.parametrize(("by", "rows"), [("sequence", SIX), ("activity", [*ACTIVITIES, "All"])])
def test_the_official_tables_of_3dhp_joint_group_by_joint_group(golden, case, by, rows):
    stored, scores = official(golden, case)
    table = official_tables(scores)[by]
    assert list(table.index) == rows
    assert len(table.columns) == 2 * 9 + 18
    for metric in ("pck", "auc"):
        names = ["Head", "Neck", "Shou", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Total"]
        found = table[[f"{metric.upper()} {name}" for name in names]]
        np.testing.assert_allclose(found, stored[f"{by[:3]}_{metric}"], rtol=1e-9)  # they count joints: nothing rounds
    joints = [joint for joint in range(17) if joint != 14]  # the pelvis is at zero here
    found = table[[f"MPJPE {MPI_INF_3DHP_17.joints[joint]}" for joint in joints]]
    np.testing.assert_allclose(found, stored[f"{by[:3]}_mpjpe"][:, joints], rtol=1e-5)  # poses are kept as float32
    if case != "nonzero_root":
        np.testing.assert_allclose(table["MPJPE Average"], stored[f"{by[:3]}_mpjpe"][:, -1], rtol=1e-5)
    assert table.isna().any(axis=None) == (case == "missing_activity" and by == "activity")


@pytest.mark.parametrize("case", ["random", "missing_activity"])
def test_groups_of_3dhp(golden, case):
    stored, scores = official(golden, case)
    groups = scores.groups
    assert list(groups) == ["sequence", "activity", "scene", "joint_group"]
    counts = dict(zip(SIX, stored["n_valid"].tolist(), strict=True))
    assert {name: one["frames"] for name, one in groups["sequence"].items()} == counts
    assert {name: one["frames"] for name, one in groups["scene"].items()} == {
        "studio, green screen": counts["TS1"] + counts["TS2"],
        "studio": counts["TS3"] + counts["TS4"],
        "outdoor": counts["TS5"] + counts["TS6"],
    }
    missing = {"Exercising", "Sports"} if case == "missing_activity" else set()
    assert groups["activity"].keys() == set(ACTIVITIES) - missing
    assert sum(one["frames"] for one in groups["activity"].values()) == sum(counts.values())
    for metric in ("pck", "auc", "mpjpe"):
        by_sequence = {name: groups["sequence"][name][metric] for name in SIX}
        np.testing.assert_allclose(list(by_sequence.values()), stored[f"seq_{metric}"][:, -1], rtol=1e-5)
        outdoor = sum(counts[name] * by_sequence[name] for name in ("TS5", "TS6")) / (counts["TS5"] + counts["TS6"])
        assert groups["scene"]["outdoor"][metric] == pytest.approx(outdoor)
        for name, expected in zip(ACTIVITIES, stored[f"act_{metric}"][:, -1], strict=False):
            if name not in missing:
                assert groups["activity"][name][metric] == pytest.approx(expected, rel=1e-5)
    shown = [groups["joint_group"][name]["pck"] for name in ("Head", "Neck", "Shou", "Elbow")]
    np.testing.assert_allclose(shown, stored["act_pck"][-1, :4], rtol=1e-9)
    arms = [joint in ("right elbow", "left elbow") for joint in scores.joints]
    assert groups["joint_group"]["Elbow"]["mpjpe"] == pytest.approx(scores.errors[:, arms].mean(), rel=1e-6)


def test_the_single_number_of_3dhp_in_its_three_usages(golden):
    stored, scores = official(golden, "random")
    older = [603, 540, 505, 553, 276, 452]
    for metric in ("mpjpe", "pck", "auc"):
        by_sequence = stored[f"seq_{metric}"][:, -1]
        weighted = sum(weight * value for weight, value in zip(older, by_sequence, strict=True)) / 2929
        assert scores.summary[f"{metric}_w2929"] == pytest.approx(weighted, rel=1e-5)
        assert scores.unit(f"{metric}_w2929") == scores.units[metric]
    assert len({round(scores.summary[f"mpjpe{suffix}"], 3) for suffix in ("", "_actions", "_w2929")}) == 3


def test_older_weights_need_all_six_sequences(golden):
    _, scores = official(golden, "random")
    outdoor = scores.sequences["subject"].isin(["TS5", "TS6"]).to_numpy()
    rows = np.repeat(outdoor, scores.sequences["frames"])
    kept = rows[scores.rows]
    fewer = {name: getattr(scores, name)[kept] for name in PER_FRAME}
    fewer["values"] = {name: values[kept] for name, values in scores.values.items()}
    start = scores.sequences["start"][4]
    part = replace(scores, sequences=scores.sequences[outdoor], rows=scores.rows[kept] - start, **fewer)
    assert part.summary["mpjpe_actions"] == pytest.approx(np.mean(list(part.per_action["mpjpe"].values())))
    assert not any(name.endswith("_w2929") for name in part.summary)


def test_data_that_do_not_say_what_is_done_have_no_activities(golden, by_hand):
    _, scores = official(golden, "random")
    silent = replace(scores, activities=None)
    assert list(silent.groups) == ["sequence", "scene", "joint_group"]
    assert list(official_tables(silent)) == ["sequence"]
    assert official_tables(by_hand[1]) == {}


def test_groups_by_subject_are_means_over_the_frames_of_each():
    data = toy_dataset((("S9", "sit", "sit", "a", 3), ("S9", "walk", "walk", "a", 1), ("S11", "sit", "sit", "a", 2)))
    poses = data.poses_3d.numpy().copy()
    poses[:, 1, 0] += [0.017, 0.017, 0.017, 0.085, 0.034, 0.034]
    scores = score(Predictions(Window(1), test_windows(data.lengths, Window(1)), poses[:, None]), data)
    assert scores.groups.keys() == {"subject"}
    subjects = scores.groups["subject"]
    assert {name: one["frames"] for name, one in subjects.items()} == {"S9": 4, "S11": 2}
    assert subjects["S9"]["mpjpe"] == pytest.approx((3 * 1 + 5) / 4, rel=1e-4)
    assert subjects["S11"]["mpjpe"] == pytest.approx(2, rel=1e-4)
    assert subjects["S9"].keys() == {*UNITS, "frames"}
    assert not any(name.endswith("_w2929") for name in scores.summary)


def test_pck_is_of_3dhp_alone(by_hand):
    assert by_hand[1].units == UNITS


# The public function


def protocol(**changes) -> Protocol:
    fields = {"dataset": "toy", "keypoints": "gt", "frames": 9, "train_subjects": ["S1"], "test_subjects": ["S3"]}
    return Protocol.model_validate(fields | changes)


def test_no_public_name_is_hidden_by_a_module_of_that_name():
    for module in pkgutil.walk_packages(bench.__path__, "bench."):  # importing one sets its name in its package
        if not module.name.endswith(("__main__", "model_code")):
            importlib.import_module(module.name)
    assert bench.evaluate is evaluate
    for package in (bench, bench.method, bench.evaluation, bench.config):
        assert [name for name in package.__all__ if isinstance(getattr(package, name), ModuleType)] == []


def test_evaluate_takes_the_test_subjects_of_a_protocol(dataset, method):
    testing = dataset.subset(["S3"])
    expected = score(predict(method, testing, flip=True, seed=3), testing).summary
    assert evaluate(method, dataset, protocol(), seed=3).summary == expected
    assert evaluate(method, testing, protocol(), seed=3).summary == expected
    assert len(evaluate(method, dataset, protocol()).sequences) == sum(video[0] == "S3" for video in VIDEOS)


def test_evaluate_averages_as_the_protocol_says(dataset, method):
    over_actions, over_frames = (evaluate(method, dataset, protocol(averaging=name)) for name in ("actions", "frames"))
    assert over_frames.summary["mpjpe"] == over_actions.summary["mpjpe_frames"] != over_actions.summary["mpjpe"]


def test_evaluate_flips_as_the_protocol_says_unless_told_otherwise(dataset, method):
    plain = evaluate(method, dataset, protocol(flip_test=False)).summary
    assert evaluate(method, dataset, protocol(), flip=False).summary == plain
    assert evaluate(method, dataset, protocol()).summary != plain


def test_evaluate_takes_a_benchmark_or_its_name(method):
    data = toy_dataset([("S1", *VIDEOS[0][1:]), ("S9", *VIDEOS[1][1:]), ("S11", *VIDEOS[2][1:])])
    found = [evaluate(method, data, which).summary for which in ("demo", load_benchmark("demo"))]
    assert found[0] == found[1] == evaluate(method, data, load_benchmark("demo").protocol).summary


def test_evaluate_refuses_data_without_the_test_subjects(dataset, method):
    with pytest.raises(BenchError, match="toy: no subject 'S9'; the data hold S1, S2, S3"):
        evaluate(method, dataset, protocol(test_subjects=["S9"]))


# Metrics of a package


def of_package(name, function):
    return Metric(name, "Mine", "mm", function, package="my-metric")


@pytest.fixture
def packages(monkeypatch):
    """packages(name=function, ...): what a package adds to the suite's metrics."""

    def add(**functions):
        mine = {name: of_package(name, function) for name, function in functions.items()}
        monkeypatch.setattr(metrics, "_of_packages", lambda: mine)

    return add


def test_a_metric_of_a_package_is_scored_as_the_own_ones_are(dataset, packages):
    packages(depth=lambda poses: (poses.predicted - poses.target)[:, :, 2].abs().mean(dim=1))
    predictions = predict(Echo(Window(9)), dataset)
    found = score(predictions, dataset)
    z = np.abs(dataset.poses_3d.numpy()[:, :, 2].astype(np.float64)).mean(axis=1) * 1000  # the echo has depth 0
    np.testing.assert_allclose(found.values["depth"], z, rtol=1e-6)
    assert found.unit("depth_frames") == "mm"
    assert found.summary["depth_frames"] == pytest.approx(z.mean(), rel=1e-6)
    assert found.groups["subject"]["S1"]["depth"] == pytest.approx(z[:105].mean(), rel=1e-6)


def raises(poses):
    raise RuntimeError("no such joint")


def spoils(poses):
    poses.predicted[:] = 0
    return poses.predicted[:, 0, 0]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (raises, "RuntimeError: no such joint"),
        ("no_such_module:depth", "ModuleNotFoundError: No module named 'no_such_module'"),
        (lambda poses: poses.errors, "returned the shape (177, 17), expected one value per scored frame, (177,)"),
        (lambda poses: 1.5, "returned the shape (), expected"),
        (lambda poses: ["a"] * 177, "ValueError: could not convert string to float"),
        (lambda poses: np.full(177, np.nan), "it has a value for none of the scored frames"),
        (lambda poses: np.where(np.arange(177) < 2, np.inf, 1), "2 of its values are infinite"),
    ],
)  # fmt: skip
def test_a_metric_of_a_package_that_fails_is_left_out_and_named(dataset, packages, capsys, function, said):
    packages(mine=function, fine=spoils)
    found = score(predict(Echo(Window(9)), dataset), dataset)
    assert found.values.keys() == {*UNITS, "fine"}
    assert found.summary["mpjpe"] > 1, "what spoils its poses spoils no others"
    assert capsys.readouterr().err.startswith("metric 'mine' of the package my-metric is left out: ")
    packages(mine=function)
    score(predict(Echo(Window(9)), dataset), dataset)
    assert said in capsys.readouterr().err


def test_a_metric_that_is_not_defined_for_the_data_is_left_out_in_silence(dataset, packages, capsys):
    packages(mine=lambda poses: None)
    assert "mine" not in score(predict(Echo(Window(9)), dataset), dataset).values
    assert capsys.readouterr().err == ""


def test_only_the_metrics_that_are_asked_for_are_taken(dataset, packages, capsys):
    packages(mine=raises)
    predictions = predict(Echo(Window(9)), dataset)
    found = score(predictions, dataset, only=("mpjpe",))
    assert found.summary.keys() == {"mpjpe", "mpjpe_frames"}
    assert found.summary["mpjpe"] == score(predictions, dataset).summary["mpjpe"]
    assert capsys.readouterr().err.count("is left out") == 1
