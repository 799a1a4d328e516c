"""CMU: which bone end is which joint, resampling, the loader, and real trials where there are any."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from samples import amc, asf

from bench.data import cmu, load_dataset
from bench.data.cmu import CMU
from bench.geometry.skeleton import H36M_17
from bench.system.errors import BenchError, MissingDataError

UNIT = 0.0254 / 0.45

REST = {
    "pelvis": (0, -2, 0),
    "right hip": (-1, -2, 0), "right knee": (-1, -9, 0), "right ankle": (-1, -16, 0),
    "left hip": (1, -2, 0), "left knee": (1, -9, 0), "left ankle": (1, -16, 0),
    "spine": (0, 2, 0), "thorax": (0, 7, 0), "neck": (0, 8.5, 0.5), "head": (0, 10, 0.5),
    "left shoulder": (3, 7, 0), "left elbow": (8, 7, 0), "left wrist": (13, 7, 0),
    "right shoulder": (-3, 7, 0), "right elbow": (-8, 7, 0), "right wrist": (-13, 7, 0),
}  # fmt: skip

# Joint positions (metres, y up) of real trials at single rows, from an independent reader that agrees with the
# database's own C3D files within 0.2 mm.
KNOWN = {
    ("05_02", 591): {
        "pelvis": [0.225461, 0.752748, -0.936067],
        "right ankle": [0.301049, 0.06312, -0.879973],
        "thorax": [0.178611, 1.28424, -0.818894],
        "head": [0.123753, 1.465757, -0.808418],
        "left wrist": [0.186891, 1.082143, -0.608818],
        "right wrist": [0.323054, 0.95897, -0.587803],
    },
    ("16_05", 155): {
        "pelvis": [0.038269, 1.174741, -0.289768],
        "right ankle": [-0.002678, 0.410045, -0.476975],
        "thorax": [0.027749, 1.730485, -0.289475],
        "head": [0.015355, 1.902365, -0.214652],
        "left wrist": [0.404336, 1.287271, -0.353022],
        "right wrist": [-0.265592, 1.243225, -0.343567],
    },
    ("61_12", 889): {
        "pelvis": [-0.318597, 0.807976, -0.143038],
        "right ankle": [-0.466265, 0.194309, -0.004954],
        "thorax": [-0.335629, 1.323083, -0.150441],
        "head": [-0.330184, 1.506217, -0.137378],
        "left wrist": [-0.245927, 1.233825, -0.490369],
        "right wrist": [-0.134089, 1.071361, -0.162555],
    },
}


@pytest.fixture
def root(tmp_path) -> Path:
    """A data folder with subjects 02 (two trials, one packed) and 60 (one trial)."""
    for name, rows in (("02_01", 25), ("02_10", 13), ("60_03", 13)):
        folder = tmp_path / "cmu" / name[:2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name[:2]}.asf").write_text(asf())
        if name == "02_10":
            (folder / f"{name}.amc.gz").write_bytes(gzip.compress(amc(rows, step=0.1).encode()))
        else:
            (folder / f"{name}.amc").write_text(amc(rows, step=0.1))
    return tmp_path


def test_each_joint_is_the_far_end_of_its_bone(root):
    folder = root / "cmu" / "02"
    positions = cmu.read_trial(folder / "02.asf", str(folder / "02_01.amc"))
    assert positions.shape == (25, 17, 3)
    rest = np.array([REST[joint] for joint in H36M_17.joints])
    expected = (rest + np.array([0, 17, 0])) * UNIT  # the root stands 17 units high
    np.testing.assert_allclose(positions[0], expected, atol=1e-12)
    np.testing.assert_allclose(positions[10] - positions[0], np.tile([0, 0, 10 * 0.1 * UNIT], (17, 1)), atol=1e-12)


def test_a_skeleton_without_the_bones_is_refused(tmp_path):
    (tmp_path / "a.asf").write_text(asf().replace("rwrist", "rpaw"))
    (tmp_path / "a.amc").write_text(amc().replace("rwrist", "rpaw"))
    with pytest.raises(BenchError, match=r"a\.asf: not the CMU skeleton, it has no bone rwrist"):
        cmu.read_trial(tmp_path / "a.asf", tmp_path / "a.amc")


def test_z_up_is_a_turn_and_no_mirror():
    x, y, z = np.eye(3)
    np.testing.assert_array_equal(cmu.z_up(y), z)
    np.testing.assert_array_equal(np.cross(cmu.z_up(x), cmu.z_up(y)), cmu.z_up(z))


def test_resampling_interpolates_within_what_was_recorded():
    line = np.arange(13.0)[:, None, None] * [1.0, -2.0, 0.0]
    frames = cmu.resample(line, 120)
    np.testing.assert_allclose(frames[:, 0, 0], [0, 2.4, 4.8, 7.2, 9.6, 12.0])
    np.testing.assert_allclose(cmu.resample(line[:12], 120)[:, 0, 0], [0, 2.4, 4.8, 7.2, 9.6])
    np.testing.assert_allclose(cmu.resample(line, 60)[:, 0, 0], 1.2 * np.arange(11))
    np.testing.assert_array_equal(cmu.resample(line, 50), line)
    assert len(cmu.resample(line[:1], 120)) == 1


def test_without_a_list_trials_are_motions_at_120_hz_and_60_hz_for_two_subjects(root):
    dataset = CMU().in_memory(root, "gt")
    assert (dataset.name, dataset.keypoints, dataset.fps) == ("cmu", "gt", 50.0)
    videos = dataset.sequences.drop_duplicates(["subject", "sequence"])
    assert [tuple(video) for video in videos[["subject", "action", "sequence", "frames"]].to_numpy()] == [
        ("02", "motion", "motion 01", 11),
        ("02", "motion", "motion 10", 6),
        ("60", "motion", "motion 03", 11),
    ]
    assert len(dataset.sequences) == 12
    rest = np.array([REST[joint] for joint in H36M_17.joints]) * UNIT
    np.testing.assert_allclose(dataset.poses_3d[0].norm(dim=-1), np.linalg.norm(rest - rest[0], axis=-1), atol=1e-6)


def test_the_list_of_trials_names_actions_and_rates(root):
    (root / "cmu" / "trials.csv").write_text(
        'trial,rate_hz,action,action_group\n02_01,60,"walk, slowly",slow walk\n60_03,60,salsa dance,dance\n'
    )
    sequences = CMU().in_memory(root, "gt").sequences.drop_duplicates("sequence")
    assert [tuple(video) for video in sequences[["action", "sequence", "frames"]].to_numpy()] == [
        ("motion", "motion 10", 6),
        ("slow-walk", "slow-walk 01", 21),
        ("dance", "dance 03", 11),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("trial,rate_hz\n02_01,120\n", "cannot read columns"),
        ("trial,rate_hz,action_group\n02_01,fast,walk\n", "cannot read columns"),
        ("trial,rate_hz,action_group\n02_01,0,walk\n", "trial 02_01 has action_group 'walk' and rate_hz 0"),
        ("trial,rate_hz,action_group\n02_01,120,\n", "trial 02_01 has action_group nan"),
        ("", "cannot read columns"),
    ],
)
def test_a_list_that_does_not_make_sense_is_refused(root, content, message):
    (root / "cmu" / "trials.csv").write_text(content)
    with pytest.raises(BenchError, match=rf"trials\.csv: {message}"):
        cmu.find_trials(root)


def test_the_folder_itself_may_be_given(root):
    assert [trial.number for trial in cmu.find_trials(root / "cmu")] == ["01", "10", "03"]
    assert CMU().fingerprint(root / "cmu", "gt") == CMU().fingerprint(root, "gt")


def test_fingerprint_follows_content_and_keypoints(root, monkeypatch):
    first, detected = CMU().fingerprint(root, "gt"), CMU().fingerprint(root, "det")
    assert first == CMU().fingerprint(root, "gt") != detected
    monkeypatch.setattr(cmu, "Detector", lambda: "other settings")
    assert first == CMU().fingerprint(root, "gt")
    assert CMU().fingerprint(root, "det") not in (first, detected)
    (root / "cmu" / "trials.csv").write_text("trial,rate_hz,action_group\n02_01,120,walk\n")
    listed = CMU().fingerprint(root, "gt")
    (root / "cmu" / "60" / "60_03.amc").write_text(amc(13, step=0.2))
    assert len({first, listed, CMU().fingerprint(root, "gt")}) == 3


def test_missing_files_say_what_to_do(tmp_path, root):
    with pytest.raises(MissingDataError, match=r"cmu: .*<subject>\.asf not found.*reference/datasets.md.*make demo"):
        CMU().fingerprint(tmp_path / "nowhere", "gt")
    (root / "cmu" / "60" / "60.asf").unlink()
    with pytest.raises(MissingDataError, match=r"60\.asf not found"):
        CMU().fingerprint(root, "gt")


def test_load_dataset_knows_cmu(root):
    dataset = load_dataset("cmu", root, "gt")
    assert list(dataset.sequences["subject"].unique()) == ["02", "60"]
    assert (dataset.keypoints_2d == load_dataset("cmu", root, "gt").keypoints_2d).all()


@pytest.mark.skipif("BENCH_CMU" not in os.environ, reason="$BENCH_CMU is not set to a folder of real trials")
@pytest.mark.parametrize(("trial", "row"), KNOWN)
def test_real_trials_match_an_independent_reader(trial, row):
    folder = Path(os.environ["BENCH_CMU"]) / trial.split("_")[0]
    (motion,) = folder.glob(f"{trial}.amc*")
    positions = cmu.read_trial(folder / f"{folder.name}.asf", motion)
    for joint, known in KNOWN[trial, row].items():
        np.testing.assert_allclose(positions[row, H36M_17.joints.index(joint)], known, atol=1e-5)
