"""`bench lift`: from a detector's file and a small trained method to poses, and what is refused on the way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench import build
from bench.cli import main
from bench.data.own_video import coco
from bench.data.own_video.tracks import Track
from bench.geometry.camera import View
from bench.geometry.skeleton import COCO_17, H36M_17, MPI_INF_3DHP_17
from bench.method import Method, Window, checkpoint, registry
from bench.runs import own_video as lift

FRAMES = 40
WALK = np.random.default_rng(2).uniform(0, 200, (17, 2)) + np.linspace(100, 400, FRAMES)[:, None, None]  # COCO's order
MIXSTE = {"dim": 8, "depth": 1, "heads": 1}


def saved(path: Path, name: str = "mixste", frames: int = 9, skeleton: str = H36M_17.name, **model) -> Method:
    """A run's weights.pt, and the method in it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        method = build(name, frames=frames, **model)
    content = {"method": method.state_dict(), "name": name, "model": model, "frames": frames, "skeleton": skeleton}
    checkpoint.save(content, path)
    return method.eval()


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder: AlphaPose's file of a person who is gone for frames 10 to 12, and a run's weights."""
    monkeypatch.chdir(tmp_path)
    entries = [
        {"image_id": f"{frame}.jpg", "keypoints": np.column_stack([pose, np.full(17, 0.9)]).ravel().tolist()}
        for frame, pose in enumerate(WALK)
        if frame not in (10, 11, 12)
    ]
    Path("people.json").write_text(json.dumps(entries))
    saved(Path("weights.pt"), **MIXSTE)
    return tmp_path


@pytest.fixture
def command(folder, capsys) -> Callable[..., str]:
    """Runs `bench lift --checkpoint weights.pt -o out.npz` with more options; returns what it says."""

    def call(*options: str, status: int = 0) -> str:
        with pytest.raises(SystemExit) as caught:
            main(["lift", "--checkpoint", "weights.pt", "-o", "out.npz", "--device", "cpu", *options])
        out, err = capsys.readouterr()
        assert caught.value.code == status, err
        assert "Traceback" not in err
        return err if status else out

    return call


PEOPLE = ("--keypoints", "people.json", "--size", "640x640")


def test_from_a_detectors_file_to_poses_and_a_table(command):
    text = command(*PEOPLE, "--fps", "25", "--csv", "out.csv")
    assert text == (
        "video       40 frames, 640 x 640, 25 frames per second\n"
        "person      the only one, seen in 37 of 40 frames\n"
        "filled in   51 of 680 keypoints, in 3 of 40 frames; longest gap 3 frames (0.12 s)\n"
        "lifted by   mixste, 9 frames, of weights.pt\n"
        "written     out.npz\n"
        "written     out.csv\n"
    )
    with np.load("out.npz", allow_pickle=False) as stored:
        found = {key: stored[key] for key in stored.files}
    assert (found["poses_3d"].shape, found["poses_3d"].dtype) == ((FRAMES, 17, 3), np.float32)
    assert np.isfinite(found["poses_3d"]).all()
    assert (found["poses_3d"][:, 0] == 0).all()
    assert found["joints"].tolist() == found["joints_2d"].tolist() == list(H36M_17.joints)
    np.testing.assert_allclose(found["keypoints_2d"], coco.to_h36m(WALK), atol=1e-3)  # the walk is a straight line
    assert np.flatnonzero(found["interpolated"].all(axis=1)).tolist() == [10, 11, 12]
    assert found["frames"].tolist() == list(range(FRAMES))
    assert [found[key].item() for key in ("fps", "width", "height", "method")] == [25, 640, 640, "mixste"]
    assert found["checkpoint_sha256"].item() == hashlib.sha256(Path("weights.pt").read_bytes()).hexdigest()

    table = pd.read_csv("out.csv")
    assert list(table.columns) == ["frame", "time_s", "joint", "x_m", "y_m", "z_m"]
    assert len(table) == FRAMES * 17
    row = table[(table["frame"] == 30) & (table["joint"] == "left wrist")].iloc[0]
    assert row["time_s"] == pytest.approx(1.2)
    wrist = found["poses_3d"][30, H36M_17.joints.index("left wrist")]
    np.testing.assert_allclose(row[["x_m", "y_m", "z_m"]].astype(float), wrist, atol=1e-6)


def test_poses_are_those_of_the_method_on_padded_windows_averaged_with_the_mirror_image(folder):
    """Computed by hand for the first window of nine frames, in the normalised coordinates of a wide image."""
    method = saved(Path("w.pt"), **MIXSTE)
    track = Track(COCO_17, np.arange(FRAMES), WALK, np.zeros((FRAMES, 17), bool), "")
    clip = lift.Clip(track, View("own", 800, 600), 50.0)
    lifted = lift.lift(lift.load_lifter(Path("w.pt")), clip, device="cpu").poses_3d
    pixels = torch.from_numpy(coco.to_h36m(WALK[:9])).float()
    seen = (pixels / 400 - torch.tensor([1, 0.75]))[None]
    swapped = list(H36M_17.mirror)
    with torch.inference_mode():
        plain = method.lift(seen)[0]
        other = method.lift(seen[:, :, swapped] * torch.tensor([-1, 1]))[0][:, swapped] * torch.tensor([-1, 1, 1])
    expected = ((plain + other) / 2).numpy()
    expected[:, 0] = 0
    np.testing.assert_allclose(lifted[:9], expected, atol=1e-6)
    unflipped = lift.lift(lift.load_lifter(Path("w.pt")), clip, device="cpu", flip=False).poses_3d
    np.testing.assert_allclose(unflipped[:9, 1:], plain[:, 1:].numpy(), atol=1e-6)


def test_noise_follows_from_the_seed(command):
    saved(Path("weights.pt"), "diff3dhpe", **MIXSTE, pose_scale=1.0)
    poses = []
    for options in ((), (), ("--seed", "1"), ("--set", "sampling_steps=2"), ("--no-flip",)):
        command(*PEOPLE, *options)
        poses.append(np.load("out.npz")["poses_3d"])
    np.testing.assert_array_equal(poses[0], poses[1])
    assert all(not np.array_equal(poses[0], other) for other in poses[2:])


def test_arrays_in_human36ms_order_go_in_as_they_are(command):
    np.savez("own.npz", keypoints=WALK.astype(np.float32), width=640, height=640)
    assert "own.npz does not state its joints: give --layout" in command("--keypoints", "own.npz", status=2)
    text = command("--keypoints", "own.npz", "--layout", "h36m")
    assert "50 frames per second assumed; change it with --fps" in text
    assert "filled in   nothing" in text
    np.testing.assert_array_equal(np.load("out.npz")["keypoints_2d"], WALK.astype(np.float32))


class Echo(Method):
    """Lifts each joint to where it is seen, so that a test sees what a method is given."""

    name = "echo"

    def __init__(self, frames: int = 1, joints: int = 17) -> None:
        super().__init__()
        self.window = Window(frames)

    def lift(self, keypoints_2d, *, generator=None):
        return torch.nn.functional.pad(keypoints_2d, (0, 1))


def test_weights_that_read_cocos_keypoints_get_them_as_detected_and_mirrored_in_their_own_order(command, monkeypatch):
    monkeypatch.setitem(registry._registered, "echo", Echo)
    saved(Path("weights.pt"), "echo", frames=1)
    command(*PEOPLE, "--trained-on", "coco", "--no-flip")
    with np.load("out.npz") as stored:
        np.testing.assert_allclose(stored["poses_3d"][5, 1:, :2], WALK[5, 1:] / 320 - 1, atol=1e-6)
        np.testing.assert_allclose(stored["keypoints_2d"], WALK, atol=1e-3)
        assert stored["joints_2d"].tolist() == list(COCO_17.joints)
    command(*PEOPLE, "--trained-on", "coco")
    mirrored = (WALK[5] / 320 - 1)[list(COCO_17.mirror)][list(H36M_17.mirror)]  # into the network; out of it
    expected = (WALK[5] / 320 - 1 + mirrored) / 2
    found = np.load("out.npz")["poses_3d"][5, 1:]
    np.testing.assert_allclose(found[:, 1], expected[1:, 1], atol=1e-6)
    np.savez("own.npz", keypoints=WALK, width=640, height=640, layout="h36m")
    message = command("--keypoints", "own.npz", "--trained-on", "coco", status=2)
    assert "the weights read COCO-17, and H36M-17 does not hold its joints" in message


# --- the weights


@pytest.fixture
def published(folder, golden) -> Callable[[str], str]:
    """Writes golden weights as a published checkpoint is; returns the file."""

    def write(name: str) -> str:
        stored = golden(f"{name}.npz")
        state = {key.removeprefix("state/"): torch.from_numpy(stored[key]) for key in stored if key[:6] == "state/"}
        torch.save({"epoch": 3, "model_pos": state}, f"{name}.bin")
        return f"{name}.bin"

    return write


def test_imported_and_published_weights_lift_alike(command, published):
    file = published("mixste")
    assert "does not state its method: name it with --method" in command(*PEOPLE, "--checkpoint", file, status=2)
    command(*PEOPLE, "--checkpoint", file, "--method", "mixste")
    direct = np.load("out.npz")["poses_3d"]
    with pytest.raises(SystemExit, match="0"):
        main(["import", "mixste", file, "-o", "mixste.safetensors"])
    command(*PEOPLE, "--checkpoint", "mixste.safetensors")
    np.testing.assert_array_equal(np.load("out.npz")["poses_3d"], direct)
    message = command(*PEOPLE, "--checkpoint", "mixste.safetensors", "--method", "pstmo", status=2)
    assert "holds weights of mixste, not of pstmo; leave --method out" in message


def test_what_published_weights_lack_must_be_stated(command, published):
    options = (*PEOPLE, "--checkpoint", published("diff3dhpe_s2s"), "--method", "diff3dhpe")
    message = command(*options, status=2)
    assert "diff3dhpe_s2s.bin lacks pose_scale, which diff3dhpe takes from its training data" in message
    assert "--set pose_scale=VALUE" in message
    assert "lifted by   diff3dhpe, 9 frames" in command(*options, "--set", "pose_scale=1.2")


def test_weights_for_other_joints_or_of_no_lifter_are_refused(command, published):
    saved(Path("other.pt"), skeleton=MPI_INF_3DHP_17.name, **MIXSTE)
    assert "other.pt was trained on MPI-INF-3DHP-17" in command(*PEOPLE, "--checkpoint", "other.pt", status=2)
    imported = "checkpoints/3dhp-gt/mixste.safetensors"  # where `bench import --for 3dhp-gt` puts it
    with pytest.raises(SystemExit, match="0"):
        main(["import", "mixste", published("mixste"), "-o", imported])
    message = command(*PEOPLE, "--checkpoint", imported, status=2)
    assert "3dhp-gt/mixste.safetensors was trained on MPI-INF-3DHP-17" in message
    few = (*PEOPLE, "--checkpoint", published("poseformer"), "--method", "poseformer", "--set", "heads=4")
    assert "lifts 5 joints, not the 17 of H36M-17" in command(*few, status=2)
    stage = (*PEOPLE, "--checkpoint", published("pstmo_pretrain"), "--method", "pstmo-pretrain")
    assert "holds pstmo-pretrain, which is trained before a lifter" in command(*stage, status=2)


# --- mistakes: nothing is written


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--keypoints", "people.json"], "does not state the size of the video: give --size WIDTHxHEIGHT"),
        (["--keypoints", "people.json", "--size", "64x64"], "of the keypoints lie outside an image of 64 x 64"),
        (["--keypoints", "nowhere.json", "--size", "64x64"], "nowhere.json not found: no keypoints there"),
        ([*PEOPLE, "--max-gap", "0.05"], "the person is missing for 3 frames (0.1 s) from frame 10 on"),
        ([*PEOPLE, "--min-score", "0.95"], "no person found"),
        ([*PEOPLE, "--person", "2"], "does not number its people"),
        ([*PEOPLE, "--checkpoint", "nowhere.pt"], "nowhere.pt not found: no checkpoint there"),
        ([*PEOPLE, "--checkpoint", "people.json"], "people.json is not a checkpoint"),
        ([*PEOPLE, "--set", "dim=16"], "weights.pt does not fit mixste as it is built now: size mismatch for network"),
        (
            [*PEOPLE, "--set", "frames=5"],
            "weights.pt does not fit mixste as it is built now: size mismatch for network",
        ),
        ([*PEOPLE, "--set", "dims=16"], "No hyper-parameter of mixste 'dims'. Did you mean 'dim'?"),
        ([*PEOPLE, "--set", "dim"], "'dim' is not of the form key=value, like sampling_steps=9"),
        ([*PEOPLE, "--device", "banana"], "device 'banana' cannot be used here"),
        ([*PEOPLE, "-o", "out.txt"], "out.txt would hold arrays: give it a name that ends in .npz"),
        ([*PEOPLE, "--csv", "people.json"], "people.json is an input file; write to another file"),
        ([*PEOPLE, "--csv", "out.npz"], "out.npz cannot hold both"),
        ([*PEOPLE, "--csv", "weights.pt/out.csv"], "weights.pt/out.csv cannot be written: "),
    ],
)
def test_mistakes_are_reported_and_nothing_is_written(command, folder, options, message):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert message in command(*options, status=2)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_coordinates_that_are_not_pixels_are_refused(command):
    np.savez("own.npz", keypoints=WALK / 320 - 1, layout="coco", width=640, height=640)
    assert "all keypoints lie within 1.5 pixels" in command("--keypoints", "own.npz", status=2)


@pytest.mark.parametrize("option", ["--size=640", "--size=0x3", "--fps=0", "--fps=x", "--max-gap=-1", "--layout=mpii"])
def test_values_that_mean_nothing_are_refused_with_the_usage(command, option):
    assert "usage: bench lift" in command("--keypoints", "people.json", option, status=2)
