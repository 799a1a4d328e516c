"""`bench draw` and `bench lift --animation`, end to end on small files in Human3.6M's format."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image
from samples import h36m_positions, save_h36m

from bench.cli import main
from bench.show.draw.video import written

TINY = """
title: Tiny people
protocol:
  dataset: h36m
  keypoints: gt
  frames: 9
  train_subjects: [S1, S5]
  test_subjects: [S9]
methods:
  mean_pose: {}
  mixste:
    model: {dim: 8, depth: 1, heads: 1}
    recipe: {epochs: 1, batch_windows: 8, learning_rate: 1e-3}
  diff3dhpe:
    model: {dim: 8, depth: 1, heads: 1, sampling_steps: 2}
    recipe: {epochs: 1, batch_windows: 8, learning_rate: 1e-3}
"""
VIDEOS = {"S1": {"Walking": 20}, "S5": {"Walking": 20}, "S9": {"Photo": 20, "Walking 1": 15}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Iterator[Path]:
    """Holds `tiny.yaml`, its data in `data/`, its finished runs in `results/`, and a `video.mp4` of 20 frames."""
    folder = tmp_path_factory.mktemp("draw")
    (folder / "tiny.yaml").write_text(TINY)
    save_h36m(folder / "data" / "h36m", *h36m_positions(VIDEOS))
    with written(folder / "video.mp4", (100, 100), 50) as write:
        for number in range(20):
            write(Image.new("RGB", (100, 100), (10 * number,) * 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_RESULTS", str(folder / "results"))
        patch.setenv("BENCH_CHECKPOINTS", str(folder / "checkpoints"))
        patch.chdir(folder)
        with pytest.raises(SystemExit, match="0"):
            main(["run", "tiny.yaml", "--data", "data", "--no-track", "--methods", "mixste,diff3dhpe"])
    return folder


@pytest.fixture
def command(folder, monkeypatch, capsys) -> Callable[..., str]:
    """Runs a command of `bench` where the benchmark is; returns what it says."""
    monkeypatch.setenv("BENCH_RESULTS", str(folder / "results"))
    monkeypatch.setenv("BENCH_DATA", str(folder / "data"))
    monkeypatch.chdir(folder)

    def call(*options: str, status: int = 0) -> str:
        with pytest.raises(SystemExit) as caught:
            main(list(options))
        out, err = capsys.readouterr()
        assert caught.value.code == status, err
        assert "Traceback" not in err
        return err if status else out

    return call


FIGURE, ANIMATE = ("draw", "figure", "tiny.yaml", "--method"), ("draw", "animate", "tiny.yaml", "--method")
WALK = ("--sequence", "Walking 1", "--camera", "55011271")


def titles(path: Path) -> list[str]:
    """What stands in a figure in SVG."""
    return re.findall(r"<!-- (.*) -->", path.read_text(encoding="utf-8"))


def test_a_figure_of_two_methods_shows_the_steps_of_the_one_that_samples(command, tmp_path):
    file = tmp_path / "figure.svg"
    text = command(*FIGURE, "diff3dhpe,mixste", *WALK, "--frame", "worst", "--steps", "7", "-o", str(file))
    assert "video    h36m, S9 Walking 1, camera 55011271\n" in text
    frame, errors = re.search(r"frame    (\d+) of 15, the worst", text)[1], re.findall(r"error    (\w+) (\S+) mm", text)
    assert [label for label, _ in errors] == ["diff3dhpe", "mixste"]
    shown = titles(file)
    assert f"h36m, S9 Walking 1, camera 55011271, frame {frame}" in shown
    assert {f"{label}: {error} mm" for label, error in errors} <= set(shown)
    states = [title.partition(":")[0] for title in shown if re.match(r"noise|result|\d steps? left", title)]
    assert states == ["noise", "6 steps left", "4 steps left", "3 steps left", "1 step left", "result"]
    assert sum(title.startswith("estimate from it") for title in shown) == 5


def test_a_figure_of_a_method_of_one_pass_has_no_steps(command, tmp_path):
    text = command(*FIGURE, "mixste", "-o", str(tmp_path / "figure.png"))
    assert "(of 8 that fit)" in text
    with Image.open(tmp_path / "figure.png") as image:
        assert image.width > 1.4 * image.height
    assert command(*FIGURE, "mixste", *WALK, "--frame", "4", "-o", str(tmp_path / "figure.pdf")).count(
        "frame    4 of 15"
    )
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")


def test_the_weights_of_a_run_lift_to_what_the_run_predicted(command, folder, tmp_path):
    (weights,) = folder.glob("results/cache/runs/tiny/diff3dhpe-s0-*/weights.pt")
    options = ("diff3dhpe", *WALK, "--frame", "4", "-o", str(tmp_path / "figure.svg"))
    texts = []
    for more in ((), ("--checkpoint", str(weights)), ("--checkpoint", str(weights), "--set", "sampling_steps=5")):
        texts.append(command(*FIGURE, *options, *more))
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]
    assert "4 steps left" not in titles(tmp_path / "figure.svg")[0]
    assert any("K = 5 steps" in title for title in titles(tmp_path / "figure.svg"))


def test_an_animation_over_its_video(command, tmp_path):
    file = tmp_path / "a.mp4"
    text = command(
        *ANIMATE, "mixste,diff3dhpe", *WALK, "--video", "video.mp4", "--skip", "5", "--crop", "0,0,51,100",
        "--size", "101", "-o", str(file),
    )  # fmt: skip
    assert "frames   15\n" in text
    frames = imageio_ffmpeg.read_frames(str(file))
    width, height = next(frames)["size"]
    assert (width % 2, height % 2) == (0, 0)
    corners = [np.frombuffer(frame, np.uint8).reshape(height, width, 3)[70, 15].mean() for frame in frames]
    np.testing.assert_allclose(corners, [10 * number for number in range(5, 20)], atol=6)


def test_gifs_of_a_part_and_of_denoising(command, tmp_path):
    part, noise = tmp_path / "a.gif", tmp_path / "b.gif"
    command(*ANIMATE, "mixste", *WALK, "--frames", "2:12:2", "--size", "120", "-o", str(part))
    command(*ANIMATE, "diff3dhpe,mixste", *WALK, "--kind", "denoise", "--steps", "4", "--size", "120", "-o", str(noise))
    with Image.open(part) as gif:
        assert (gif.n_frames, gif.info["duration"]) == (5, 40)
    with Image.open(noise) as gif:
        assert (gif.n_frames, gif.info["duration"]) == (5, 500)  # the last is held: one picture, a longer time


def test_what_was_lifted_is_animated_too(command, folder, tmp_path):
    (weights,) = folder.glob("results/cache/runs/tiny/mixste-s0-*/weights.pt")
    walk = np.random.default_rng(1).uniform(10, 90, (12, 17, 2))
    np.savez(tmp_path / "own.npz", keypoints=walk, width=100, height=100, layout="h36m", fps=25)
    options = ["lift", "--keypoints", str(tmp_path / "own.npz"), "--checkpoint", str(weights)]
    options += ["-o", str(tmp_path / "out.npz"), "--animation", str(tmp_path / "out.mp4"), "--footage", "video.mp4"]
    assert "out.mp4\n" in command(*options, "--skip", "3")
    assert imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "out.mp4")) == (12, 12 / 25)
    assert "video.mp4 ends before frame 11: with 9 skipped it must have 21" in command(
        *options, "--skip", "9", status=2
    )
    only = options[: options.index("--animation")]
    assert "also give --animation FILE" in command(*only, "--footage", "video.mp4", status=2)
    assert "--skip and --crop need a video" in command(*only, "--skip", "3", status=2)
    assert "out.mov: give it a name that ends in .mp4 or .gif" in command(*only, "--animation", "out.mov", status=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (*FIGURE, "mean_pose"),
            "has no predictions in results/cache/runs/tiny; do it with the same data and settings: "
            "bench run tiny --methods mean_pose",
        ),
        ((*FIGURE, "mixste", "--seed", "2"), "bench run tiny --methods mixste --seeds 3"),
        ((*FIGURE, "mixst"), "No method of tiny 'mixst'. Did you mean 'mixste'?"),
        ((*FIGURE, "mixste", "--sequence", "Walking 2"), "Did you mean 'Walking 1'? Known: Photo, Walking 1"),
        ((*FIGURE, "mixste", "--camera", "1"), "No camera among the matching test videos '1'."),
        ((*FIGURE, "mixste", "--frame", "20"), "there is no frame 20: the video has 20, numbered from 0"),
        ((*FIGURE, "mixste", "--steps", "5"), "--steps needs a sampler; mixste lifts in one pass"),
        ((*FIGURE, "diff3dhpe", "--steps", "5000"), "sampling steps must be in 1..1000, not 5000"),
        ((*FIGURE, "mixste", "-o", "figure.mp4"), "figure.mp4: give it a name that ends in .png, .pdf or .svg"),
        ((*FIGURE, "mixste,diff3dhpe", "--checkpoint", "w.pt"), "a checkpoint holds one method; 2 are named"),
        ((*FIGURE, "mixste", "--checkpoint", "w.pt"), "w.pt not found: no checkpoint there"),
        ((*ANIMATE, "mixste", "-o", "a.avi"), "a.avi: give it a name that ends in .mp4 or .gif"),
        ((*ANIMATE, "mixste", "--frames", "4:90"), "frames 4:90 of a video that has 20"),
        ((*ANIMATE, "mixste", "--kind", "denoise"), "mixste lifts in one pass: there is no diffusion to show"),
        ((*ANIMATE, "diff3dhpe", "--kind", "denoise", "--frames", "1:3"), "go with --kind video"),
        ((*ANIMATE, "mixste", "--video", "video.mp4", "--skip", "1"), "video.mp4 ends before frame 19: with 1 skipped"),
        ((*ANIMATE, "mixste", "--video", "none.mp4"), "none.mp4 not found: no video there"),
        ((*ANIMATE, "mixste", "--video", "tiny.yaml"), "tiny.yaml cannot be read as a video"),
        ((*ANIMATE, "mixste", "--video", "video.mp4", "-o", "video.mp4"), "video.mp4 is an input file"),
        ((*ANIMATE, "mixste", "--video", "video.mp4", "--crop", "9,9,99,9"), "do not fit in"),
        ((*ANIMATE, "mixste", "--skip", "3"), "--skip and --crop need a video; name its file"),
        ((*ANIMATE, "mixste", "--frames", "4-9"), "'4-9' is not A:B or A:B:STEP, like 100:300 or ::2"),
        ((*ANIMATE, "mixste", "--crop", "1,2,3"), "'1,2,3' is not X,Y,WIDTH,HEIGHT in pixels"),
        ((*ANIMATE, "mixste", "--fps", "0"), "0 is not a number above 0"),
    ],
)
def test_mistakes_are_reported_and_nothing_is_written(command, folder, arguments, message):
    before = sorted(path.name for path in folder.iterdir())
    assert message in command(*arguments, status=2)
    assert sorted(path.name for path in folder.iterdir()) == before
