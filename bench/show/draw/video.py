"""Videos and GIFs, read and written frame by frame, so that no video has to fit in memory.

Videos go through ffmpeg, which the extra `video` brings; GIFs need nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from bench.system.errors import BenchError, MissingDataError
from bench.system.paths import shown, whole_file

SUFFIXES = (".mp4", ".gif")
QUALITY = 18  # H.264's constant rate factor: no visible loss
COLOURS = 255  # of a GIF, one more being transparent
Box = tuple[int, int, int, int]  # left, top, width, height


class Writer(Protocol):
    """Takes the frames of an animation, one after another."""

    def __call__(self, frame: Image.Image) -> None: ...


def check_writable(path: Path) -> None:
    """Raise BenchError for a suffix that `written` cannot write, and for a video where ffmpeg is missing."""
    if path.suffix.lower() not in SUFFIXES:
        raise BenchError(f"{shown(path)}: give it a name that ends in {' or '.join(SUFFIXES)}")
    if path.suffix.lower() != ".gif":
        _ffmpeg()


@contextmanager
def written(path: Path, size: tuple[int, int], fps: float) -> Iterator[Writer]:
    """Write an animation, whole or not at all: MP4 (H.264) or GIF, as the suffix says.

    size: width and height of the frames in pixels, even numbers. fps: frames per second. Raises BenchError as
    `check_writable`, and where the file cannot be written.
    """
    check_writable(path)
    try:
        with whole_file(path) as unfinished:
            if path.suffix.lower() == ".gif":
                frames: list[Image.Image] = []
                yield lambda frame: frames.append(frame.quantize(COLOURS, dither=Image.Dither.NONE))
                _save_gif(unfinished, frames, fps)
            else:
                with closing(_encoder(unfinished, size, fps)) as encoder:
                    encoder.send(None)
                    yield lambda frame: encoder.send(frame.tobytes())
    except OSError as error:
        raise BenchError(f"{shown(path)} cannot be written: {error.strerror or error}") from None


def _ffmpeg() -> Any:
    try:
        import imageio_ffmpeg
    except ImportError:
        raise BenchError(
            "videos need ffmpeg, which is not installed: pip install -e '.[video]' in the checkout, or write a .gif"
        ) from None
    return imageio_ffmpeg


def _encoder(path: Path, size: tuple[int, int], fps: float) -> Any:
    """ffmpeg, fed with frames; pixels in the form that every player knows, and the index first, for the web."""
    return _ffmpeg().write_frames(
        str(path),
        size,
        fps=fps,
        codec="libx264",
        quality=None,
        macro_block_size=2,
        output_params=["-crf", str(QUALITY), "-preset", "veryfast", "-movflags", "+faststart"],
    )


def _save_gif(path: Path, frames: list[Image.Image], fps: float) -> None:
    """A GIF counts in hundredths of a second: each frame ends at the one nearest to its time."""
    ends = [round(100 * (number + 1) / fps) for number in range(len(frames))]
    durations = [10 * (end - start) for start, end in zip([0, *ends], ends, strict=False)]
    frames[0].save(path, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)


@dataclass(frozen=True)
class Footage:
    """A video file behind a drawing.

    skip: how many of its frames come before the first that is drawn. crop: the part of the image that is shown, in
    pixels.
    """

    path: Path
    skip: int = 0
    crop: Box | None = None

    def size(self) -> tuple[int, int]:
        """Width and height of its frames in pixels, before cropping.

        Raises MissingDataError if there is no such file; BenchError if it is no video, if `crop` does not lie within
        it, or where ffmpeg is missing.
        """
        if not self.path.is_file():
            raise MissingDataError(f"{shown(self.path)} not found: no video there")
        with closing(self._frames([])) as frames:
            width, height = self._about(frames)["size"]
        left, top, wide, high = self.crop or (0, 0, width, height)
        if left + wide > width or top + high > height:
            raise BenchError(
                f"{shown(self.path)} has {width} x {height} pixels; {wide} x {high} from {left}, {top} on do not fit in"
            )
        return width, height

    def frames(self, first: int, step: int = 1) -> Iterator[Image.Image]:
        """Every `step`-th frame from `first` on, counted from the first that is not skipped.

        Frames are counted as they are stored; none is doubled or dropped to even out time.
        """
        start = self.skip + first
        chosen = rf"select=gte(n\,{start})*not(mod(n-{start}\,{step}))"
        with closing(self._frames(["-vf", chosen])) as frames:
            size = self._about(frames)["size"]
            left, top, width, height = self.crop or (0, 0, *size)
            for content in frames:
                image = Image.frombytes("RGB", size, content)
                yield image.crop((left, top, left + width, top + height))

    def _frames(self, options: list[str]) -> Any:
        return _ffmpeg().read_frames(str(self.path), output_params=["-fps_mode", "passthrough", *options])

    def _about(self, frames: Any) -> dict[str, Any]:
        try:
            about: dict[str, Any] = next(frames)
        except (OSError, IndexError, RuntimeError, StopIteration):
            raise BenchError(f"{shown(self.path)} cannot be read as a video") from None
        return about
