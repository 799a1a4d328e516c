"""Still pictures of skeletons. matplotlib is imported by the functions: `import bench.show.draw` costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bench.geometry.skeleton import H36M_17, Skeleton
from bench.show.draw.look import (
    AZIMUTH,
    EDGES,
    ELEVATION,
    FLOOR,
    GHOST,
    GRID,
    LINES,
    SIDE,
    TRUNK,
    Array,
    colour,
    upright,
)
from bench.system.paths import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def skeleton_picture(
    path: Path,
    poses: dict[str, Array],
    *,
    keypoints_2d: Array | None = None,
    skeleton: Skeleton = H36M_17,
    title: str = "",
) -> None:
    """One row of panels: the 2D input if given, then each named pose in 3D, all at one scale.

    poses: (joints, 3) metres, camera axes; they are drawn about their roots. keypoints_2d: (joints, 2), y down, any
    scale. The file's suffix chooses the format. Raises ValueError for arrays of another shape.
    """
    _check(poses, keypoints_2d, skeleton)
    panels = len(poses) + (keypoints_2d is not None)
    figure = _figure(panels, 1, title)
    if keypoints_2d is not None:
        _draw_2d(figure, (1, panels, 1), np.asarray(keypoints_2d, float), skeleton)
    _draw_3d(figure, 1, panels, panels - len(poses), poses, skeleton)
    save(figure, path)


def contact_sheet(
    path: Path, poses: dict[str, Array], *, columns: int = 6, skeleton: Skeleton = H36M_17, title: str = ""
) -> None:
    """A grid of named poses in 3D, row by row, all at one scale. poses: (joints, 3) metres, camera axes.

    Raises ValueError for arrays of another shape.
    """
    _check(poses, None, skeleton)
    columns = min(columns, len(poses))
    rows = -(-len(poses) // columns)
    figure = _figure(columns, rows, title)
    _draw_3d(figure, rows, columns, 0, poses, skeleton)
    save(figure, path)


@dataclass(frozen=True)
class Sample:
    """One frame to show. keypoints_2d: (joints, 2), y down, any scale; pose: (joints, 3) metres, camera axes."""

    label: str
    keypoints_2d: Array
    pose: Array


def input_sheet(
    path: Path, samples: Sequence[Sample], *, pairs: int = 4, skeleton: Skeleton = H36M_17, title: str = ""
) -> None:
    """A grid of frames, `pairs` per row: the 2D input and beside it the 3D pose, under one label.

    Raises ValueError for arrays of another shape.
    """
    if not samples:
        raise ValueError("there is no frame to draw")
    for sample in samples:
        _check({sample.label: sample.pose}, sample.keypoints_2d, skeleton)
    pairs = min(pairs, len(samples))
    rows, columns = -(-len(samples) // pairs), 2 * pairs
    figure = _figure(columns, rows, title)
    for cell, sample in enumerate(samples):
        keypoints = np.asarray(sample.keypoints_2d, float)
        _draw_2d(figure, (rows, columns, 2 * cell + 1), keypoints, skeleton, sample.label, loc="left")
        _draw_3d(figure, rows, columns, 2 * cell + 1, {"": sample.pose}, skeleton)
    save(figure, path)


# --- details


def _check(poses: dict[str, Array], keypoints_2d: Array | None, skeleton: Skeleton) -> None:
    if not poses:
        raise ValueError("there is no pose to draw")
    expected = {name: (pose, 3) for name, pose in poses.items()}
    if keypoints_2d is not None:
        expected["keypoints_2d"] = (keypoints_2d, 2)
    for name, (points, axes) in expected.items():
        if np.shape(points) != (len(skeleton), axes):
            raise ValueError(f"{name}: {np.shape(points)}, but {skeleton.name} is drawn from {(len(skeleton), axes)}")


def _figure(columns: int, rows: int, title: str) -> Figure:
    from matplotlib.figure import Figure

    height = 2.5 * rows + (0.65 if title else 0.35)  # inches
    figure = Figure(figsize=(2.3 * columns, height), dpi=120, facecolor="white")
    top = 1 - (0.65 if title else 0.35) / height
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=top, wspace=0.04, hspace=0.12)
    if title:
        figure.suptitle(title, fontsize=11, color=TRUNK, y=1 - 0.1 / height, va="top")
    return figure


def _draw_2d(
    figure: Figure,
    position: tuple[int, int, int],
    keypoints: Array,
    skeleton: Skeleton,
    title: str = "2D input",
    loc: Literal["left", "center"] = "center",
) -> None:
    draw_2d(figure.add_subplot(*position), keypoints, skeleton, title, loc)


def draw_2d(axes: Axes, keypoints: Array, skeleton: Skeleton, title: str, loc: Literal["left", "center"]) -> None:
    """The 2D input in one panel. keypoints: (joints, 2), y down, any scale."""
    for joint, parent in skeleton.bones:
        axes.plot(*keypoints[[joint, parent]].T, color=colour(joint, skeleton), linewidth=2, solid_capstyle="round")
    axes.scatter(
        keypoints[:, 0],
        keypoints[:, 1],
        s=7,
        color=[colour(joint, skeleton) for joint in range(len(skeleton))],
        zorder=3,
    )
    centre, half = (keypoints.min(axis=0) + keypoints.max(axis=0)) / 2, 0.6 * np.ptp(keypoints, axis=0).max() + 1e-9
    axes.set_xlim(centre[0] - half, centre[0] + half)
    axes.set_ylim(centre[1] + half, centre[1] - half)  # y runs down, as in the image
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(EDGES)
    axes.set_title(title, fontsize=9, color=TRUNK, pad=3, loc=loc)


def _draw_3d(figure: Figure, rows: int, columns: int, skip: int, poses: dict[str, Array], skeleton: Skeleton) -> None:
    turned = {name: upright(np.asarray(pose, float), skeleton) for name, pose in poses.items()}
    half = max(map(half_side, turned.values()))
    for cell, (name, pose) in enumerate(turned.items(), start=skip + 1):
        draw_3d(figure.add_subplot(rows, columns, cell, projection="3d"), pose, skeleton, name, half)


def half_side(pose: Array) -> float:
    """Half the side, in metres, of the cube around the origin that holds a pose."""
    return max(SIDE / 2, float(np.nanmax(np.abs(pose), initial=0.0)))


def draw_3d(axes: Any, pose: Array, skeleton: Skeleton, title: str, half: float, behind: Array | None = None) -> None:
    """A pose in one panel of matplotlib's 3D. pose, behind: (joints, 3), `upright`; the latter is drawn in grey."""
    from matplotlib.colors import to_rgba

    if behind is not None:
        for joint, parent in skeleton.bones:
            axes.plot(*behind[[joint, parent]].T, color=GHOST, linewidth=2, solid_capstyle="round")
    for joint, parent in skeleton.bones:
        axes.plot(*pose[[joint, parent]].T, color=colour(joint, skeleton), linewidth=2, solid_capstyle="round")
    axes.scatter(*pose.T, s=5, color=[colour(joint, skeleton) for joint in range(len(skeleton))], depthshade=False)
    axes.set(xlim=(-half, half), ylim=(-half, half), zlim=(-half, half))
    axes.set_box_aspect((1, 1, 1), zoom=1.3)
    axes.view_init(elev=ELEVATION, azim=AZIMUTH)
    reach = GRID * int(half / GRID)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color(to_rgba(FLOOR))
        axis.line.set_color(EDGES)
        axis.set_ticks(np.arange(-reach, reach + GRID / 2, GRID))
        axis.set_ticklabels([])
        axis._axinfo["grid"].update(color=LINES, linewidth=0.6)
        axis._axinfo["tick"].update(inward_factor=0, outward_factor=0)
    axes.set_title(title, fontsize=9, color=TRUNK, pad=3, y=1.06)


def save(figure: Figure, path: Path) -> None:
    """Write a figure whole or not at all; the suffix chooses the format, PNG if there is none."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    with whole_file(Path(path)) as unfinished:
        figure.savefig(unfinished, format=Path(path).suffix.lstrip(".") or "png")
