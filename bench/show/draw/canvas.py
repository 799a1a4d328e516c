"""A quick painter of skeletons, for animations: panels in a row, drawn with Pillow at twice the size and halved.

matplotlib's 3D takes a third of a second per frame; this takes a hundredth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bench.geometry.skeleton import Skeleton
from bench.show.draw.look import AZIMUTH, EDGES, ELEVATION, FLOOR, GRID, LINES, SIDE, TRUNK, Array, colour

FINE = 2  # times the final size: halving it smooths the lines
BAR, GAP = 30, 6  # pixels: a panel's title above it, and between panels
DISTANCE = 3.5  # of the eye, in sides of the cube: how strong the perspective is
FILL = 0.78  # share of a panel that the cube takes


@dataclass(frozen=True)
class Panel:
    """A place on the canvas, in pixels of the canvas."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Space:
    """The cube around a person, as it is seen in a panel."""

    panel: Panel
    half: float = SIDE / 2  # metres

    def project(self, points: Array) -> Array:
        """(..., 3) metres, `upright`, to (..., 3): x and y on the canvas, and the depth, larger nearer the eye."""
        right, up, towards = _axes()
        depth = points @ towards
        size = FILL * min(self.panel.width, self.panel.height) / (2 * self.half)
        zoom = size / (1 - depth / (2 * self.half * DISTANCE))
        x = self.panel.left + self.panel.width / 2 + zoom * (points @ right)
        y = self.panel.top + self.panel.height / 2 - zoom * (points @ up)
        return np.stack([x, y, depth], axis=-1)


@cache
def _axes() -> tuple[Array, Array, Array]:
    """Unit vectors of the view: to its right, up, and towards the eye."""
    azimuth, elevation = math.radians(AZIMUTH), math.radians(ELEVATION)
    towards = np.array(
        [math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth), math.sin(elevation)]
    )
    right = np.array([-math.sin(azimuth), math.cos(azimuth), 0.0])
    return right, np.cross(towards, right), towards


def panels_in_a_row(widths: Sequence[int], height: int) -> tuple[list[Panel], tuple[int, int]]:
    """Panels of these widths under their titles, and the size of the canvas: even, as video codecs want it."""
    lefts = np.cumsum([GAP, *(width + GAP for width in widths)]).tolist()
    panels = [Panel(left, 2 * BAR, width, height) for left, width in zip(lefts, widths, strict=False)]
    size = lefts[-1], 2 * BAR + height + GAP
    return panels, (size[0] + size[0] % 2, size[1] + size[1] % 2)


class Canvas:
    """One picture while it is drawn."""

    def __init__(self, size: tuple[int, int], background: Canvas | None = None) -> None:
        self.size = size
        self._image: Image.Image = (
            background._image.copy() if background else Image.new("RGB", (FINE * size[0], FINE * size[1]), "white")
        )
        self._draw = ImageDraw.Draw(self._image)

    def finished(self) -> Image.Image:
        """The picture, at its final size."""
        return self._image.reduce(FINE)

    def text(self, text: str, left: float, middle: float, width: float, size: int = 16, centred: bool = True) -> None:
        """Write one line of text; what does not fit is cut off at its end."""
        font = _font(FINE * size)
        while text and font.getlength(text) > FINE * width:
            text = text.removesuffix("...")[:-1].rstrip() + "..." if len(text) > 4 else ""
        where = (FINE * (left + width / 2 if centred else left), FINE * middle)
        self._draw.text(where, text, fill=TRUNK, font=font, anchor="mm" if centred else "lm")

    def title(self, panel: Panel, text: str) -> None:
        """Write a title above a panel."""
        self.text(text, panel.left, panel.top - BAR / 2, panel.width)

    def ground(self, panel: Panel) -> None:
        """Fill a panel with the background of a 2D skeleton where there is no video."""
        self._draw.rectangle(_box(panel), fill=FLOOR, outline=EDGES, width=FINE)

    def picture(self, panel: Panel, picture: Image.Image) -> None:
        """Fill a panel with a picture."""
        size = FINE * panel.width, FINE * panel.height
        self._image.paste(picture.resize(size, Image.Resampling.BILINEAR), (FINE * panel.left, FINE * panel.top))

    def room(self, space: Space) -> None:
        """Draw the floor and the two walls behind a person: lines every half metre, cut off at the panel's edge."""
        panel, half, reach = space.panel, space.half, GRID * int(space.half / GRID)
        room = Canvas((panel.width, panel.height))
        room._draw.rectangle((0, 0, *room._image.size), fill=FLOOR)
        inside = replace(space, panel=replace(panel, left=0, top=0))
        for flat, side in ((2, -half), (1, half), (0, -half)):  # floor, back wall, left wall
            first, second = (axis for axis in range(3) if axis != flat)
            for along, across in ((first, second), (second, first)):
                for place in (-half, *np.arange(-reach, reach + GRID / 2, GRID), half):
                    ends = np.zeros((2, 3))
                    ends[:, flat], ends[:, across], ends[:, along] = side, place, (-half, half)
                    shade, width = (LINES, FINE) if abs(place) < half else (EDGES, FINE + 1)
                    room._draw.line(room._points(inside.project(ends)), fill=shade, width=width)
        room._draw.rectangle(_box(inside.panel), outline=EDGES, width=FINE)
        self._image.paste(room._image, (FINE * panel.left, FINE * panel.top))

    def skeleton(self, points: Array, skeleton: Skeleton, width: int, edge: str | None = None) -> None:
        """Draw a skeleton.

        points: (joints, 2) on the canvas, or (joints, 3) with depths, so that near bones cover far ones; joints that
        are NaN are left out. edge: the colour of an outline, by which it stands out from a video.
        """
        bones = [(joint, parent) for joint, parent in skeleton.bones if np.isfinite(points[[joint, parent]]).all()]
        if points.shape[-1] == 3:
            bones.sort(key=lambda bone: points[list(bone), 2].sum())
        for shade, wide in ((edge, width + 2), (None, width)) if edge else ((None, width),):
            for bone in bones:
                fill = shade or colour(bone[0], skeleton)
                self._draw.line(self._points(points[list(bone)]), fill=fill, width=FINE * wide)
                for joint in bone:
                    self._dot(points[joint], fill if shade or joint == bone[0] else colour(joint, skeleton), wide / 2)
        for joint in {joint for bone in bones for joint in bone} if points.shape[-1] == 2 else ():
            self._dot(points[joint], colour(joint, skeleton), 0.75 * width)

    def _dot(self, point: Array, fill: str, radius: float) -> None:
        x, y = FINE * point[:2]
        self._draw.ellipse((x - FINE * radius, y - FINE * radius, x + FINE * radius, y + FINE * radius), fill=fill)

    def _points(self, points: Array) -> list[tuple[float, float]]:
        return [(FINE * x, FINE * y) for x, y in points[:, :2].tolist()]


def _box(panel: Panel) -> tuple[int, int, int, int]:
    corners = panel.left, panel.top, panel.left + panel.width - 1, panel.top + panel.height - 1
    left, top, right, bottom = (FINE * value for value in corners)
    return left, top, right, bottom


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)
