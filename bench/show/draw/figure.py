"""The figure of one frame: input, truth, the pose of each method, the steps of its sampler, the errors of the video."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.evaluation.scores import MM
from bench.show.draw.look import CURVES, EDGES, GRID, LINES, SIDES, TRUNK, Array, upright
from bench.show.draw.pictures import draw_2d, draw_3d, half_side, save
from bench.show.draw.scene import Scene
from bench.show.draw.trace import Trace

PANEL, CURVE = 2.35, 1.5  # inches: a panel's side, the height of the curve
NOTE = 8  # points


def draw_figure(path: Path, scene: Scene, frame: int, traces: Mapping[str, Trace] | None = None) -> None:
    """Write the figure; the suffix chooses the format. traces: by method, of that frame.

    Raises ValueError for a format that matplotlib does not write.
    """
    from matplotlib.figure import Figure

    traces = traces or {}
    columns = 2 + 2 * len(scene.predictions)
    height = PANEL * (1 + 2 * len(traces)) + CURVE + 1.4
    figure = Figure(figsize=(PANEL * columns, height), dpi=120, facecolor="white")
    figure.suptitle(f"{scene.title}, frame {frame:,}", fontsize=11, color=TRUNK, y=1 - 0.12 / height, va="top")
    rows = figure.add_gridspec(
        1 + 2 * len(traces),
        columns,
        left=0.02, right=0.98, bottom=(CURVE + 0.75) / height, top=1 - 0.62 / height, wspace=0.06, hspace=0.18,
    )  # fmt: skip
    _answers(figure, rows, scene, frame)
    for number, (label, one) in enumerate(traces.items()):
        _course(figure, rows, 1 + 2 * number, columns, scene, frame, label, one)
    width = PANEL * columns
    _curves(figure.add_axes((0.6 / width, 0.45 / height, 1 - 0.8 / width, CURVE / height)), scene, frame)
    save(figure, path)


def chosen_states(steps: int, panels: int) -> list[int]:
    """Which of the states 0 (noise) to `steps` (the answer) are shown: both ends, and others evenly spaced."""
    return sorted({round(state) for state in np.linspace(0, steps, min(panels, steps + 1))})


def pose_error(pose: Array, scene: Scene, frame: int) -> float:
    """MPJPE in mm of a pose whose root counts as zero; NaN where there is no truth. pose: (joints, 3) metres."""
    if scene.truth is None:
        return float("nan")
    distances = np.linalg.norm(pose - scene.truth[frame], axis=-1)
    distances[scene.skeleton.root] = 0
    joints = slice(None) if scene.scored is None else list(scene.scored)
    return float(MM * distances[joints].mean())


# --- rows


def _answers(figure: Any, rows: Any, scene: Scene, frame: int) -> None:
    """The input, the truth, and each prediction alone and over the truth."""
    draw_2d(figure.add_subplot(rows[0, 0]), scene.keypoints_2d[frame], scene.skeleton_2d, "2D input", "center")
    assert scene.truth is not None  # known for a test set
    truth = upright(scene.truth[frame], scene.skeleton)
    poses = {label: upright(one[frame], scene.skeleton) for label, one in scene.predictions.items()}
    half = max(map(half_side, (truth, *poses.values())))
    draw_3d(figure.add_subplot(rows[0, 1], projection="3d"), truth, scene.skeleton, "ground truth", half)
    for number, (label, pose) in enumerate(poses.items()):
        alone, over = (figure.add_subplot(rows[0, 2 + 2 * number + side], projection="3d") for side in (0, 1))
        title = f"{label}: {scene.errors[label][frame]:.1f} mm"
        draw_3d(alone, pose, scene.skeleton, title, half)
        draw_3d(over, pose, scene.skeleton, "over ground truth (grey)", half, behind=truth)


def _course(figure: Any, rows: Any, top: int, columns: int, scene: Scene, frame: int, label: str, trace: Trace) -> None:
    """Two rows: the noisy poses, and under each the clean pose that the network estimates."""
    for column, state in enumerate(chosen_states(trace.steps, columns)):
        left = trace.steps - state
        pose = trace.states[state]
        name = "noise" if state == 0 else "result" if left == 0 else f"{left} step{'s' * (left > 1)} left"
        title = f"{name}: {pose_error(pose, scene, frame):,.0f} mm"
        _draw_in_own_cube(figure.add_subplot(rows[top, column], projection="3d"), pose, scene, title)
        if left:
            clean = trace.clean[state]
            title = f"estimate from it: {pose_error(clean, scene, frame):,.0f} mm"
            _draw_in_own_cube(figure.add_subplot(rows[top + 1, column], projection="3d"), clean, scene, title)
        else:
            _note(figure.add_subplot(rows[top + 1, column]), label, trace)


def _draw_in_own_cube(axes: Any, pose: Array, scene: Scene, title: str) -> None:
    """Draw a pose about the origin as it is, noise included, in a cube of its own size."""
    turned = upright(pose)
    draw_3d(axes, turned, scene.skeleton, title, half_side(turned))


def _note(axes: Any, label: str, trace: Trace) -> None:
    axes.set_axis_off()
    text = (
        f"Reverse diffusion of {label},\nK = {trace.steps} step{'s' * (trace.steps > 1)} from noise to result;\n"
        "one sample, not averaged\nwith the mirror image, as the\nprediction above may be.\n\n"
        f"Grid: {GRID} m. Panels zoom out\nwhere noise needs it."
    )
    axes.text(0.08, 0.85, text, fontsize=NOTE, color=TRUNK, va="top", transform=axes.transAxes, linespacing=1.4)


def _curves(axes: Any, scene: Scene, frame: int) -> None:
    """The error of every frame of the video, this one marked."""
    for number, (label, errors) in enumerate(scene.errors.items()):
        shade = CURVES[number % len(CURVES)]
        axes.plot(errors, color=shade, linewidth=1.2, label=f"{label}, mean {np.nanmean(errors):.1f} mm")
        axes.plot(frame, errors[frame], "o", color=shade, markersize=4)
    axes.axvline(frame, color=TRUNK, linewidth=0.8, linestyle=":")
    axes.set_xlim(0, max(len(scene) - 1, 1))
    axes.set_ylim(0, 1.05 * max(float(np.nanmax(errors)) for errors in scene.errors.values()) + 1e-9)
    axes.set_xlabel("frame", fontsize=NOTE, color=TRUNK, labelpad=2)
    axes.set_ylabel("MPJPE (mm)", fontsize=NOTE, color=TRUNK)
    axes.tick_params(labelsize=NOTE, colors=TRUNK)
    axes.grid(color=LINES, linewidth=0.5)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(EDGES)
    shown = {"fontsize": NOTE, "frameon": False, "ncols": len(scene.errors), "labelcolor": TRUNK}
    axes.legend(**shown, loc="lower right", bbox_to_anchor=(1, 0.97), borderaxespad=0)
    axes.text(1, -0.26, SIDES, fontsize=NOTE, color=TRUNK, ha="right", va="bottom", transform=axes.transAxes)
