"""Human3.6M from the community's files: what is read, how it is laid out, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from bench.data import load_dataset
from bench.data.files.archive import read_npz
from bench.data.human36m import Human36M
from bench.geometry.camera import denormalise_screen, h36m_cameras, normalise_screen
from bench.geometry.skeleton import H36M_17_OF_32
from bench.system.errors import BenchError, MissingDataError


def view_of(dataset, subject: str, sequence: str, camera: int):
    """Rows of the blocks that hold one video, and its camera."""
    rig = h36m_cameras()[subject]
    table = dataset.sequences
    chosen = (table["subject"] == subject) & (table["sequence"] == sequence) & (table["camera"] == rig[camera].name)
    (row,) = table[chosen].itertuples()
    return slice(row.start, row.start + row.frames), rig[camera]


def test_videos_come_sorted_by_subject_number_sequence_and_camera(h36m_root):
    dataset = Human36M().in_memory(h36m_root, "gt")
    table = dataset.sequences
    assert (dataset.name, dataset.keypoints, dataset.fps) == ("h36m", "gt", 50.0)
    assert len(table) == 9 * 4
    assert list(table["camera"][:4]) == ["54138969", "55011271", "58860488", "60457274"]
    videos = table[::4]
    assert list(zip(videos["subject"], videos["sequence"], videos["action"], videos["frames"], strict=True)) == [
        ("S1", "Sitting 1", "Sitting", 12),
        ("S1", "SittingDown 2", "SittingDown", 9),
        ("S5", "Walking", "Walking", 10),
        ("S6", "Photo 1", "Photo", 8),
        ("S7", "Walking 2", "Walking", 8),
        ("S8", "WalkTogether 2", "WalkTogether", 7),
        ("S9", "Sitting", "Sitting", 11),
        ("S9", "SittingDown 1", "SittingDown", 6),
        ("S11", "Phoning 3", "Phoning", 9),
    ]
    assert list(table["start"]) == [0, *np.cumsum(table["frames"])[:-1]]


@pytest.mark.parametrize(("subject", "sequence"), [("S1", "SittingDown 2"), ("S9", "Sitting"), ("S11", "Phoning 3")])
@pytest.mark.parametrize("camera", range(4))
def test_poses_are_root_relative_in_the_axes_of_each_camera(h36m_root, subject, sequence, camera):
    dataset = Human36M().in_memory(h36m_root, "gt")
    rows, view = view_of(dataset, subject, sequence, camera)
    world = read_npz(h36m_root / "h36m" / "data_3d_h36m.npz")["positions_3d"][subject][sequence][:, H36M_17_OF_32]
    poses = dataset.poses_3d[rows].numpy()
    assert not poses[:, 0].any()
    absolute = poses + dataset.roots[rows].numpy()[:, None]
    np.testing.assert_allclose(view.to_world(absolute), world, atol=1e-5)
    # ... and the projection of the 3D is the 2D of the `gt` file.
    projected = denormalise_screen(view.project(absolute), view.width, view.height)
    seen = denormalise_screen(dataset.keypoints_2d[rows].numpy(), view.width, view.height)
    np.testing.assert_allclose(projected, seen, atol=2e-3)


def test_the_extent_is_over_everything_that_the_3d_file_holds(h36m_files):
    def stretch(world, pixels):
        world["S9"]["Photo"][1, 20] = world["S9"]["Photo"][1, 0] + [3, 4, 12]  # one of the joints that are left out

    dataset = Human36M().in_memory(h36m_files(stretch), "gt")
    assert dataset.subset(["S1"]).extent == dataset.extent
    offsets = [
        camera.to_camera(np.array([3.0, 4, 12])) - camera.to_camera(np.zeros(3)) for camera in h36m_cameras()["S9"]
    ]
    assert dataset.extent == pytest.approx(np.abs(offsets).max(), rel=1e-5)
    assert dataset.extent > dataset.poses_3d.abs().max()


def test_longer_2d_is_cut_and_subjects_without_3d_are_left_out(h36m_root):
    exact, noisy = (Human36M().in_memory(h36m_root, kind) for kind in ("gt", "cpn_ft_h36m_dbb"))
    assert exact.sequences.equals(noisy.sequences)
    assert (exact.poses_3d == noisy.poses_3d).all()
    stored = read_npz(h36m_root / "h36m" / "data_2d_h36m_cpn_ft_h36m_dbb.npz")["positions_2d"]
    rows, view = view_of(noisy, "S11", "Phoning 3", 2)
    expected = normalise_screen(stored["S11"]["Phoning 3"][2], view.width, view.height)[:9]
    np.testing.assert_array_equal(noisy.keypoints_2d[rows].numpy(), expected)


def test_a_score_beside_the_coordinates_is_dropped(h36m_files):
    def add_scores(world, pixels):
        views = pixels["S1"]["Walking"]
        pixels["S1"]["Walking"] = [np.concatenate([view, np.ones((5, 17, 1))], axis=-1) for view in views]

    with_scores = Human36M().in_memory(h36m_files(add_scores), "gt")
    without = Human36M().in_memory(h36m_files(lambda world, pixels: None), "gt")
    assert (with_scores.keypoints_2d == without.keypoints_2d).all()


def test_load_dataset_finds_the_files_in_the_data_folder_and_below_it(h36m_root):
    dataset = load_dataset("h36m", h36m_root, "cpn")
    assert dataset.keypoints == "cpn_ft_h36m_dbb"
    again = load_dataset("h36m", h36m_root / "h36m", "cpn_ft_h36m_dbb")
    assert again.fingerprint == dataset.fingerprint != Human36M().fingerprint(h36m_root, "gt")
    with pytest.raises(BenchError, match="No h36m keypoints 'detectron'"):
        load_dataset("h36m", h36m_root, "detectron")


def test_missing_files_say_which_where_and_what_to_do(tmp_path, h36m_root):
    message = r"h36m: data_3d_h36m\.npz not found, looked for .*h36m.data_3d_h36m\.npz and .*prepare h36m.*make demo"
    with pytest.raises(MissingDataError, match=message):
        Human36M().fingerprint(tmp_path / "nowhere", "gt")
    (h36m_root / "h36m" / "data_2d_h36m_gt.npz").unlink()
    with pytest.raises(MissingDataError, match=r"data_2d_h36m_gt\.npz not found"):
        load_dataset("h36m", h36m_root, "gt")


def drop_sequence(world, pixels):
    del pixels["S1"]["Walking"]


def drop_subject(world, pixels):
    del pixels["S9"]


def shorten(world, pixels):
    pixels["S1"]["Sitting 1"][3] = pixels["S1"]["Sitting 1"][3][:-1]


def drop_camera(world, pixels):
    pixels["S1"]["Walking"].pop()


def use_millimetres(world, pixels):
    for sequences in world.values():
        for sequence in sequences:
            sequences[sequence] = sequences[sequence] * 1000


def keep_17_joints(world, pixels):
    world["S1"]["Walking"] = world["S1"]["Walking"][:, :17]


def lose_a_joint_in_3d(world, pixels):
    world["S9"]["Photo"][2, 25, 1] = np.nan


def lose_a_joint_in_2d(world, pixels):
    pixels["S9"]["Photo"][1][3, 5, 0] = np.inf


def use_16_keypoints(world, pixels):
    pixels["S9"]["Photo"][1] = pixels["S9"]["Photo"][1][:, :16]


def add_a_stranger(world, pixels):
    world["S4"] = {"Walking": np.zeros((3, 32, 3), np.float32)}


def flatten(world, pixels):
    world["S1"] = np.zeros((3, 32, 3))


def empty(world, pixels):
    world["S1"]["Walking"] = world["S1"]["Walking"][:0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_sequence, r"data_2d_h36m_gt\.npz: S1 'Walking' is missing"),
        (drop_subject, r"data_2d_h36m_gt\.npz: S9 'Photo' is missing"),
        (shorten, r"data_2d_h36m_gt\.npz: S1 'Sitting 1', camera 3: 5 frames of 2D, 6 of 3D.*reference/datasets.md"),
        (drop_camera, r"data_2d_h36m_gt\.npz: S1 'Walking': 3 cameras, expected 4"),
        (use_millimetres, r"data_3d_h36m\.npz: S1 'Sitting 1': a joint lies \d+ m away; .*millimetres"),
        (keep_17_joints, r"data_3d_h36m\.npz: S1 'Walking': expected \(frames, 32, 3\), found \(5, 17, 3\)"),
        (lose_a_joint_in_3d, r"data_3d_h36m\.npz: S9 'Photo': frame 2 holds numbers that are not finite"),
        (lose_a_joint_in_2d, r"data_2d_h36m_gt\.npz: S9 'Photo', camera 1: frame 3 holds numbers that are not finite"),
        (use_16_keypoints, r"S9 'Photo', camera 1: expected \(frames, 17, 2\), found \(4, 16, 2\)"),
        (add_a_stranger, r"data_3d_h36m\.npz: no cameras are known for subject 'S4'"),
        (flatten, r"data_3d_h36m\.npz: S1 holds ndarray, not sequences by name"),
        (empty, r"data_3d_h36m\.npz: S1 'Walking': .* found \(0, 32, 3\)"),
    ],
)
def test_files_that_do_not_hold_what_they_should_are_refused(h36m_files, change, message):
    with pytest.raises(BenchError, match=message):
        Human36M().in_memory(h36m_files(change), "gt")


def test_a_file_of_something_else_is_refused(h36m_files):
    root = h36m_files(lambda world, pixels: None)
    np.savez(root / "data_3d_h36m.npz", poses=np.zeros(3))
    with pytest.raises(BenchError, match=r"data_3d_h36m\.npz: expected an array 'positions_3d', found poses"):
        Human36M().in_memory(root, "gt")


def test_seventeen_keypoints_of_coco_are_refused(h36m_files):
    coco = [[1, 3, 5, 7, 9, 11, 13, 15], [2, 4, 6, 8, 10, 12, 14, 16]]
    root = h36m_files(lambda world, pixels: None, keypoints_symmetry=coco)
    with pytest.raises(BenchError, match=r"data_2d_h36m_gt\.npz: its left and right joints .* another joint set"):
        Human36M().in_memory(root, "gt")
