"""Files of predictions: their layout, the template, and every way in which a file can be wrong."""

from __future__ import annotations

import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import h36m_positions, save_h36m, toy_dataset

from bench.config import load_benchmark
from bench.evaluation import predictions_file, score
from bench.runs import export
from bench.system.errors import BenchError

KEY = "S1/sit 1/a"


@pytest.fixture(scope="module")
def dataset():
    return toy_dataset()


@pytest.fixture(scope="module")
def partly_valid():
    dataset = toy_dataset()
    return replace(dataset, valid=torch.arange(len(dataset.poses_3d)) % 3 == 1)


def truth(dataset) -> dict[str, np.ndarray]:
    return {key: poses.copy() for key, poses in predictions_file.by_video(dataset, dataset.poses_3d.numpy()).items()}


def test_a_key_is_subject_sequence_camera(dataset):
    arrays = truth(dataset)
    assert list(arrays)[:3] == ["S1/sit 1/a", "S1/sit 1/b", "S1/walk 1/a"]
    assert arrays["S2/sit 1/a"].shape == (30, 17, 3)
    np.testing.assert_array_equal(np.concatenate(list(arrays.values())), dataset.poses_3d.numpy())


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_what_is_written_is_scored(dataset, tmp_path, kind):
    arrays = {key: poses.astype(kind) for key, poses in reversed(truth(dataset).items())}  # the order does not matter
    predictions_file.write(tmp_path / "mine.npz", arrays)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.npz"]
    scores = score(predictions_file.read(tmp_path / "mine.npz", dataset), dataset)
    assert scores.summary["mpjpe"] < (0.2 if kind is np.float16 else 1e-9)
    assert len(scores.errors) == len(dataset.poses_3d)


def test_frames_that_are_not_scored_may_be_nan_or_left_out(partly_valid, tmp_path):
    whole, cut = truth(partly_valid), truth(partly_valid)
    for key, valid in predictions_file.by_video(partly_valid, partly_valid.valid.numpy()).items():
        whole[key][~valid] = np.nan
        cut[key] = cut[key][valid] + np.float32(0.001)
    for arrays, expected in ((whole, 0.0), (cut, 16 / 17 * 3**0.5)):  # a millimetre along each axis; the root is zeroed
        predictions_file.write(tmp_path / "mine.npz", arrays)
        scores = score(predictions_file.read(tmp_path / "mine.npz", partly_valid), partly_valid)
        assert scores.summary["mpjpe"] == pytest.approx(expected, abs=1e-4)
        assert len(scores.errors) == int(partly_valid.valid.sum())


def without(arrays, *left_out):
    return {key: poses for key, poses in arrays.items() if key not in left_out}


def with_nan(poses):
    poses[7, 3] = np.nan
    return poses


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda own: without(own, KEY), r"8 test videos and .* missing are 1: 'S1/sit 1/a'"),
        (lambda own: without(own, *list(own)[:4]), r"missing are 4: 'S1/sit 1/a', .*, \.\.\.\. `bench export"),
        (lambda own: own | {"S9/x/a": own[KEY]}, r"nothing else; not among them are 1 of its arrays: 'S9/x/a'"),
        (
            lambda own: without(own, KEY) | {"S1/sit_1/a": own[KEY]},
            r"'S1/sit_1/a' \(nearest to the first: 'S1/sit 1/a'\)",
        ),
        (lambda own: {"positions": np.array(own)}, r"missing are 8.*numpy\.savez_compressed\(FILE, \*\*arrays\)"),
        (lambda own: own | {KEY: own[KEY][:-1]}, r"'S1/sit 1/a' has the shape \(39, 17, 3\), .* 40 frames"),
        (lambda own: own | {KEY: own[KEY].reshape(40, 51)}, r"shape \(40, 51\), expected \(frames, 17, 3\)"),
        (lambda own: own | {KEY: own[KEY][:, 1:]}, r"shape \(40, 16, 3\)"),
        (lambda own: own | {KEY: own[KEY].astype(np.int32)}, r"holds int32, expected floating-point"),
        (lambda own: own | {KEY: np.array(own[KEY], object)}, r"holds object, expected floating-point"),
        (lambda own: own | {KEY: with_nan(own[KEY])}, r"1 scored poses that are not finite, the first in frame 7"),
        (lambda own: own | {KEY: own[KEY] + np.nan}, r"no finite pose; is it still the template\?"),
        (lambda own: own | {KEY: own[KEY] * np.float64(1e300)}, r"'S1/sit 1/a' has (no finite|.* not finite)"),
        (lambda own: {key: poses[1:] for key, poses in own.items()}, r"\.\.\. and 5 more videos"),
    ],
)
def test_a_file_that_is_not_the_test_set_is_refused(dataset, tmp_path, broken, message):
    path = tmp_path / "mine.npz"
    np.savez(path, **broken(truth(dataset)))
    with pytest.raises(BenchError, match=message) as caught:
        predictions_file.read(path, dataset)
    assert "mine.npz" in str(caught.value)


def test_the_frame_that_is_named_is_that_of_the_video(partly_valid, tmp_path):
    arrays = truth(partly_valid)
    arrays["S2/sit 1/a"][10:] = np.nan
    valid = predictions_file.by_video(partly_valid, partly_valid.valid.numpy())["S2/sit 1/a"]
    predictions_file.write(tmp_path / "mine.npz", arrays)
    with pytest.raises(BenchError) as caught:
        predictions_file.read(tmp_path / "mine.npz", partly_valid)
    first = int(re.search(r"the first in frame (\d+)", str(caught.value))[1])
    assert first == np.flatnonzero(valid & (np.arange(30) >= 10))[0]


def test_only_the_scored_frames_or_all_of_them(partly_valid, tmp_path):
    arrays = truth(partly_valid)
    np.savez(tmp_path / "mine.npz", **arrays | {KEY: arrays[KEY][:20]})
    with pytest.raises(BenchError, match=r"shape \(20, 17, 3\), expected .* with 40 frames or its 13 valid ones"):
        predictions_file.read(tmp_path / "mine.npz", partly_valid)


@pytest.mark.parametrize("content", [b"", b"PK\3\4 cut", b"not a zip at all"])
def test_a_damaged_file_is_refused(dataset, tmp_path, content):
    (tmp_path / "mine.npz").write_bytes(content)
    with pytest.raises(BenchError, match=r"mine\.npz is not a whole \.npz file"):
        predictions_file.read(tmp_path / "mine.npz", dataset)


# The template


@pytest.fixture
def tiny(tmp_path: Path):
    save_h36m(tmp_path / "data", *h36m_positions())
    protocol = "{dataset: h36m, keypoints: gt, frames: 9, train_subjects: [S1], test_subjects: [S9, S11]}"
    (tmp_path / "tiny.yaml").write_text(f"title: Tiny\nprotocol: {protocol}\nmethods: {{mean_pose: {{}}}}\n")
    return load_benchmark(tmp_path / "tiny.yaml")


def test_the_template_has_every_test_video_and_no_number(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data"
    text = export.template(tiny, Path("mine.npz"), with_input=Path("input.npz"), data=data)
    assert text.startswith("tiny: 12 videos, 104 frames, 50 fps\n")
    assert "'S9/Sitting/54138969' (11, 17, 3)" in text
    assert "bench score tiny --predictions mine.npz --name NAME" in text
    with np.load("mine.npz", allow_pickle=False) as empty, np.load("input.npz", allow_pickle=False) as given:
        assert empty.files == given.files
        assert {key.split("/")[0] for key in empty.files} == {"S9", "S11"}
        for key in empty.files:
            assert np.isnan(empty[key]).all()
            assert (empty[key].dtype, given[key].dtype) == (np.float32, np.float32)
            assert given[key].shape == (len(empty[key]), 17, 2)
            assert np.isfinite(given[key]).all()
    with zipfile.ZipFile("mine.npz") as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_DEFLATED}


@pytest.mark.parametrize("taken", ["mine.npz", "input.npz"])
def test_the_template_overwrites_nobodys_work(tiny, tmp_path, taken):
    (tmp_path / taken).write_text("weeks of work")
    with pytest.raises(BenchError, match=f"{re.escape(taken)} is there already; name another file"):
        export.template(tiny, tmp_path / "mine.npz", with_input=tmp_path / "input.npz", data=tmp_path / "data")
    assert (tmp_path / taken).read_text() == "weeks of work"
    assert len(list(tmp_path.glob("*.npz"))) == 1


def test_the_template_and_its_input_are_two_files(tiny, tmp_path):
    with pytest.raises(BenchError, match="cannot hold both"):
        export.template(tiny, tmp_path / "a.npz", with_input=tmp_path / "a.npz", data=tmp_path / "data")
