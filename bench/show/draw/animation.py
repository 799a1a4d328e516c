"""Animations: a video's input, truth and predictions side by side; and the denoising of one frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.geometry.camera import denormalise_screen
from bench.geometry.skeleton import Skeleton
from bench.show.draw.canvas import BAR, GAP, Canvas, Panel, Space, panels_in_a_row
from bench.show.draw.figure import pose_error
from bench.show.draw.look import SIDE, SIDES, Array, upright
from bench.show.draw.scene import Scene
from bench.show.draw.trace import Trace
from bench.show.draw.video import Footage, written
from bench.system.errors import BenchError
from bench.system.paths import shown
from bench.system.progress import Progress

PANEL = 400  # pixels
DENOISING_FPS = 2.0
HELD = 4  # frames that the result of denoising is shown for
MARGIN = 0.1  # around the 2D input, where there is no video
WHITE = "#ffffff"


@dataclass(frozen=True)
class Span:
    """Which frames of a video are drawn, as a slice of Python: start and stop (None: the end), every step-th."""

    start: int = 0
    stop: int | None = None
    step: int = 1

    def frames(self, scene: Scene) -> range:
        """The frame numbers. Raises BenchError if the video does not have them."""
        stop = len(scene) if self.stop is None else self.stop
        if not 0 <= self.start < stop <= len(scene):
            raise BenchError(f"frames {self.start}:{stop} of a video that has {len(scene)}, numbered from 0")
        return range(self.start, stop, self.step)


def animate(
    path: Path,
    scene: Scene,
    *,
    span: Span | None = None,
    footage: Footage | None = None,
    fps: float | None = None,
    panel: int = PANEL,
) -> int:
    """Write a video's input, truth if it is known, and predictions side by side; return the number of frames.

    footage: the video behind the input. fps: frames per second (default: real time). panel: height in pixels.
    Raises BenchError for frames that are not there, footage that is too short, and files that cannot be written.
    """
    span = span or Span()
    frames = span.frames(scene)
    view, keypoints_2d = _input(scene, footage, panel)
    poses = _poses(scene)
    panels, size = panels_in_a_row([view.width, *[panel] * len(poses)], panel)
    still = _still(size, f"{scene.title}; {SIDES}")
    spaces = [Space(one, _half(list(poses.values()))) for one in panels[1:]]
    for space in spaces:
        still.room(space)
    projected = [space.project(pose) for space, pose in zip(spaces, poses.values(), strict=True)]
    if footage is None:
        still.ground(panels[0])
    corner = np.array([panels[0].left, panels[0].top])
    pictures = None if footage is None else footage.frames(scene.first + span.start, span.step)
    with written(path, size, fps or scene.fps / span.step) as write, Progress("draw", len(frames)) as progress:
        for frame in frames:
            canvas = Canvas(size, still)
            if pictures is not None:
                canvas.picture(panels[0], _next(pictures, footage, scene, frame))
            points = keypoints_2d[frame] + corner
            canvas.skeleton(points, scene.skeleton_2d, _width(panel), edge=WHITE if pictures else None)
            canvas.title(panels[0], f"input, frame {frame:,}")
            for one, label, points in zip(panels[1:], poses, projected, strict=True):
                canvas.skeleton(points[frame], scene.skeleton, _width(panel))
                canvas.title(one, _titled(scene, label, frame))
            write(canvas.finished())
            progress.update(1)
    return len(frames)


def animate_denoising(
    path: Path, scene: Scene, frame: int, traces: dict[str, Trace], *, fps: float | None = None, panel: int = PANEL
) -> int:
    """Write the denoising of one frame, steps counting down: the noisy pose, and the clean pose that is estimated.

    traces: by method, of as many steps each. Returns the number of frames; the result is held. Raises BenchError as
    `animate`, and where the numbers of steps differ.
    """
    (steps, *others) = {trace.steps for trace in traces.values()}
    if others:
        raise BenchError("the methods' samplers take different numbers of steps; give one number with --steps")
    assert scene.truth is not None  # known for a test set
    truth = upright(scene.truth[frame], scene.skeleton)
    view, keypoints_2d = _input(scene, None, panel, frame)
    panels, size = panels_in_a_row([view.width, panel, *[panel] * 2 * len(traces)], panel)
    still = _still(size, f"{scene.title}, frame {frame:,}: reverse diffusion in {steps} steps, not mirror-averaged")
    still.ground(panels[0])
    still.title(panels[0], "input")
    points = keypoints_2d[frame] + np.array([panels[0].left, panels[0].top])
    still.skeleton(points, scene.skeleton_2d, _width(panel))
    _pose(still, panels[1], truth, scene.skeleton, "ground truth")
    shown_states = [*range(steps + 1), *[steps] * (HELD - 1)]
    with (
        written(path, size, fps or DENOISING_FPS) as write,
        Progress("draw", len(shown_states), unit="picture") as progress,
    ):
        for state in shown_states:
            canvas = Canvas(size, still)
            for number, (label, trace) in enumerate(traces.items()):
                noisy, clean = panels[2 + 2 * number], panels[3 + 2 * number]
                pose, believed = trace.states[state], trace.clean[min(state, steps - 1)]
                left = f"K = {steps - state}" if state < steps else "result"
                title = f"{label}, {left}: {pose_error(pose, scene, frame):,.0f} mm"
                _pose(canvas, noisy, upright(pose), scene.skeleton, title)
                title = f"estimate: {pose_error(believed, scene, frame):,.0f} mm"
                _pose(canvas, clean, upright(believed), scene.skeleton, title)
            write(canvas.finished())
            progress.update(1)
    return len(shown_states)


# --- details


def _still(size: tuple[int, int], title: str) -> Canvas:
    """The background: everything that is the same in all frames."""
    canvas = Canvas(size)
    canvas.text(title, GAP, 0.55 * BAR, size[0] - 2 * GAP)
    return canvas


def _width(panel: int) -> int:
    """The width of a bone, in pixels, in a panel of that height."""
    return max(3, round(panel / 85))


def _poses(scene: Scene) -> dict[str, Array]:
    """The poses drawn in 3D, by label."""
    known = {} if scene.truth is None else {"ground truth": scene.truth}
    return {label: upright(poses, scene.skeleton) for label, poses in {**known, **scene.predictions}.items()}


def _half(poses: list[Array]) -> float:
    """Half the side of a cube that holds nearly all poses; an outlier among the predictions may leave it."""
    return max(SIDE / 2, *(float(np.nanquantile(np.abs(one).max(axis=(1, 2)), 0.95)) for one in poses))


def _titled(scene: Scene, label: str, frame: int) -> str:
    if label not in scene.errors:
        return label
    error = scene.errors[label][frame]
    return f"{label}, not scored" if np.isnan(error) else f"{label}, {error:.1f} mm"


def _pose(canvas: Canvas, panel: Panel, pose: Array, skeleton: Skeleton, title: str) -> None:
    """Draw a pose in a cube that holds it."""
    space = Space(panel, max(SIDE / 2, float(np.abs(pose).max())))
    canvas.room(space)
    canvas.skeleton(space.project(pose), skeleton, _width(panel.height))
    canvas.title(panel, title)


def _input(scene: Scene, footage: Footage | None, height: int, frame: int | None = None) -> tuple[Panel, Array]:
    """The size of the input's panel, and the keypoints in its pixels: on the video, else on a square around them.

    frame: the one that the square is drawn around; None: all.
    """
    if footage is None:
        seen = scene.keypoints_2d if frame is None else scene.keypoints_2d[frame]
        low, high = seen.reshape(-1, 2).min(axis=0), seen.reshape(-1, 2).max(axis=0)
        side = (1 + 2 * MARGIN) * float((high - low).max()) + 1e-9
        return Panel(0, 0, height, height), ((scene.keypoints_2d - (low + high) / 2) / side + 0.5) * height
    full = footage.size()
    left, top, wide, high = footage.crop or (0, 0, *full)
    pixels = denormalise_screen(np.asarray(scene.keypoints_2d, float), *full)
    return Panel(0, 0, round(wide * height / high), height), (pixels - (left, top)) * height / high


def _next(pictures: Iterator[Image.Image], footage: Any, scene: Scene, frame: int) -> Image.Image:
    """The picture of a frame. Raises BenchError if the video has ended before."""
    picture = next(pictures, None)
    if picture is None:
        needed = footage.skip + scene.first + len(scene)
        raise BenchError(
            f"{shown(footage.path)} ends before frame {frame}: with {footage.skip} skipped it must have {needed} "
            "frames; draw fewer with --frames, or correct --skip"
        )
    return picture
