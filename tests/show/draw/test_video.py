"""Videos frame by frame: none doubled, none lost, and those that are skipped counted right."""

from __future__ import annotations

import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from bench.show.draw.video import Footage, written
from bench.system.errors import BenchError

COUNT, LEVEL = 20, 12  # frames, and how much brighter each is than the one before


def grey(number: int, size: tuple[int, int] = (40, 24)) -> Image.Image:
    return Image.new("RGB", size, (number * LEVEL,) * 3)


def number_in(image: Image.Image) -> int:
    return round(float(np.asarray(image).mean()) / LEVEL)


@pytest.fixture
def coded(tmp_path) -> Path:
    """A video whose frames tell their numbers by how bright they are; the right half of each is black."""
    path = tmp_path / "coded.mp4"
    with written(path, (40, 24), 25) as write:
        for number in range(COUNT):
            image = grey(number)
            image.paste("black", (20, 0, 40, 24))
            write(image)
    return path


@pytest.mark.parametrize(("skip", "first", "step"), [(0, 0, 1), (3, 0, 1), (3, 4, 1), (0, 5, 3), (2, 1, 4), (19, 0, 1)])
def test_frames_are_those_that_were_asked_for(coded, skip, first, step):
    frames = Footage(coded, skip, crop=(0, 0, 16, 24)).frames(first, step)
    assert [number_in(frame) for frame in frames] == list(range(skip + first, COUNT, step))


def test_a_part_of_the_image_is_cut_out(coded):
    (left, right) = (next(Footage(coded, 15, crop=(x, 2, 15, 7)).frames(0)) for x in (0, 24))
    assert left.size == right.size == (15, 7)
    assert (number_in(left), number_in(right)) == (15, 0)
    assert Footage(coded).size() == (40, 24)


def test_frames_of_uneven_time_are_not_evened_out(tmp_path):
    """In a GIF each frame has a time of its own; as many come out as are in."""
    path = tmp_path / "uneven.gif"
    images = [grey(number) for number in range(COUNT)]
    durations = [20 + 70 * (number % 3) for number in range(COUNT)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations)
    assert [number_in(frame) for frame in Footage(path, 2).frames(0)] == list(range(2, COUNT))


@pytest.mark.parametrize("fps", [25.0, 30.0, 50.0])
def test_a_gif_lasts_as_long_as_its_frames(tmp_path, fps):
    path = tmp_path / "short.gif"
    with written(path, (40, 24), fps) as write:
        for number in range(COUNT):
            write(grey(number))
    with Image.open(path) as gif:
        assert gif.n_frames == COUNT
        durations = []
        for number in range(COUNT):
            gif.seek(number)
            assert number_in(gif.convert("RGB")) == number
            durations.append(gif.info["duration"])
    assert sum(durations) == pytest.approx(1000 * COUNT / fps, abs=10)
    assert max(durations) - min(durations) <= 10


def test_an_mp4_has_the_frames_and_the_rate_it_was_given(coded):
    assert imageio_ffmpeg.count_frames_and_secs(str(coded)) == (COUNT, COUNT / 25)


def test_what_fails_leaves_no_file(tmp_path):
    for name in ("a.mp4", "a.gif"):
        with pytest.raises(AttributeError), written(tmp_path / name, (40, 24), 25) as write:
            write(None)
    with pytest.raises(BenchError, match=r"ends in \.mp4 or \.gif"), written(tmp_path / "a.avi", (40, 24), 25):
        pass
    assert not list(tmp_path.iterdir())


def test_what_is_no_video_is_refused(tmp_path, coded):
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(BenchError, match=r"text\.mp4 cannot be read as a video"):
        Footage(tmp_path / "text.mp4").size()
    with pytest.raises(BenchError, match="not found: no video there"):
        Footage(tmp_path / "none.mp4").size()
    with pytest.raises(BenchError, match="has 40 x 24 pixels; 20 x 20 from 30, 0 on do not fit in"):
        Footage(coded, crop=(30, 0, 20, 20)).size()


def test_without_ffmpeg_the_message_says_how_to_get_it_and_gifs_are_written_all_the_same(tmp_path, coded, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    install = r"videos need ffmpeg.*pip install -e '\.\[video\]'"
    with pytest.raises(BenchError, match=install), written(tmp_path / "a.mp4", (40, 24), 25):
        pass
    with pytest.raises(BenchError, match=install):
        Footage(coded).size()
    with written(tmp_path / "a.gif", (40, 24), 25) as write:
        write(grey(1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "coded.mp4"]
