"""Acclaim ASF/AMC, the motion-capture format of the CMU database: a skeleton file, a motion file, the bones' far ends.

An ASF file gives every bone a direction and a length in the rest pose, and a local frame in which an AMC file turns it,
frame by frame. World axes are those of the files (y up); lengths are converted to metres.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.system.errors import BenchError, MissingDataError
from bench.system.paths import shown

Array = NDArray[Any]

INCH = 0.0254  # metres; the unit of length is 1 / `length` inches
AXES = ("rx", "ry", "rz")
ROOT = ("tx", "ty", "tz", *AXES)


@dataclass(frozen=True)
class Bone:
    """One bone. offset: (3,) metres from its near to its far end in the rest pose, world axes.

    frame: (3, 3), its columns are the axes of rotation, in world axes of the rest pose. channels: which of rx, ry, rz
    the motion file holds, in its order; empty if the bone cannot turn.
    """

    name: str
    offset: Array
    frame: Array
    channels: tuple[str, ...]


@dataclass(frozen=True)
class Figure:
    """A skeleton. bones, parents (name of each bone's parent): ordered from the root outwards, without the root."""

    bones: tuple[Bone, ...]
    parents: tuple[str, ...]
    root_channels: tuple[str, ...]
    unit: float  # metres

    @property
    def channels(self) -> dict[str, tuple[str, ...]]:
        """The numbers a motion file holds per frame: of the root, then of each bone that can turn."""
        return {"root": self.root_channels} | {bone.name: bone.channels for bone in self.bones if bone.channels}


def bone_ends(figure: Figure, motion: dict[str, Array]) -> dict[str, Array]:
    """The far end of every bone, and `root`: each (frames, 3) metres, world axes of the files.

    motion: what `read_motion` gives. A bone turns by C M C^-1 relative to its parent, C its frame, M = Rz Ry Rx.
    """
    placed = _columns(motion["root"], figure.root_channels, ROOT)
    ends = {"root": placed[:, :3] * figure.unit}
    turns = {"root": _rotation(placed[:, 3:])}
    for bone, parent in zip(figure.bones, figure.parents, strict=True):
        turns[bone.name] = turns[parent]
        if bone.channels:
            local = _rotation(_columns(motion[bone.name], bone.channels, AXES))
            turns[bone.name] = turns[parent] @ bone.frame @ local @ bone.frame.T
        ends[bone.name] = ends[parent] + turns[bone.name] @ bone.offset
    return ends


def _columns(values: Array, channels: tuple[str, ...], wanted: tuple[str, ...]) -> Array:
    """Numbers by name: (frames, len(channels)) to (frames, len(wanted)), 0 where a channel is not recorded."""
    placed = np.zeros((len(values), len(wanted)))
    placed[:, [wanted.index(channel) for channel in channels]] = values
    return placed


def _rotation(degrees: Array) -> Array:
    """Rz Ry Rx of Euler angles: (..., 3) degrees to (..., 3, 3), for column vectors."""
    (sx, sy, sz), (cx, cy, cz) = (np.moveaxis(f(np.radians(degrees)), -1, 0) for f in (np.sin, np.cos))
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


# --- the motion file


def read_motion(amc: Path, figure: Figure) -> dict[str, Array]:
    """Every frame of an AMC file (.amc or .amc.gz): channel values of the root and of each turning bone.

    Each is (frames, channels) in the file's units (root translation in length units, angles in degrees). Raises
    MissingDataError if there is no file, BenchError with file and line if it does not fit the skeleton or is truncated.
    """
    lines = [(number, words) for number, words in _words(amc) if words[0][0] != ":"]
    channels = figure.channels
    order = _order(amc, lines, channels)
    widths = [len(channels[name]) for name in order]
    block = len(order) + 1
    values: list[float] = []
    for index, (number, words) in enumerate(lines):
        if index % block == 0:
            if len(words) != 1 or not words[0].isdecimal():
                raise _wrong(amc, number, f"expected a frame number, found {' '.join(words)!r}")
            continue
        name, width = order[index % block - 1], widths[index % block - 1]
        if words[0] != name:
            raise _wrong(amc, number, f"expected bone {name}, as in the first frame, found {words[0]!r}")
        numbers = _numbers(amc, number, words[1:])
        if len(numbers) != width:
            raise _wrong(amc, number, f"{name} has {width} channels, found {len(numbers)} numbers")
        values += numbers
    if len(lines) % block:
        raise _wrong(amc, lines[-1][0], "the file ends inside a frame; copy it again")
    table = np.array(values).reshape(-1, sum(widths))
    return dict(zip(order, np.split(table, np.cumsum(widths)[:-1], axis=1), strict=True))


def _order(amc: Path, lines: list[tuple[int, list[str]]], channels: dict[str, tuple[str, ...]]) -> list[str]:
    """The bones of the first frame, checked: each frame repeats this order."""
    order: list[str] = []
    for number, words in lines[1:]:
        if words[0].isdecimal():
            break
        if words[0] not in channels or words[0] in order:
            known = "occurs twice in a frame" if words[0] in order else "does not turn in the skeleton, or is not in it"
            raise _wrong(amc, number, f"bone {words[0]!r} {known}")
        order.append(words[0])
    missing = sorted(set(channels) - set(order))
    if missing:
        raise _wrong(amc, lines[-1][0] if lines else 1, f"the first frame lacks {', '.join(missing)}")
    return order


# --- the skeleton file


def read_figure(asf: Path) -> Figure:
    """The skeleton in an ASF file.

    Raises MissingDataError if there is no file, BenchError with file and line if it is incomplete or not supported here
    (a root that is not at the origin, angles other than degrees in XYZ order).
    """
    section, unit = "", 0.0
    root_channels: tuple[str, ...] = ()
    bones: dict[str, Bone] = {}
    parents: dict[str, str] = {}
    entry: dict[str, tuple[int, list[str]]] = {}
    number = 0
    for number, words in _words(asf):
        key, rest = words[0], words[1:]
        if key.startswith(":"):
            section = key
        elif section == ":units" and key == "length":
            (length,) = _numbers(asf, number, rest, count=1)
            unit = INCH / length
        elif section == ":units" and key == "angle" and rest != ["deg"]:
            raise _wrong(asf, number, f"angles must be in deg, found {' '.join(rest)!r}")
        elif section == ":root" and key == "order":
            root_channels = tuple(word.lower() for word in rest)
            if sorted(root_channels) != sorted(ROOT):
                raise _wrong(asf, number, f"the root's order must name {', '.join(ROOT)}, found {' '.join(rest)!r}")
        elif section == ":root" and key in ("position", "orientation"):
            if any(_numbers(asf, number, rest, count=3)):
                raise _wrong(asf, number, f"a root with {key} other than 0 0 0 is not supported")
        elif section == ":bonedata" and key == "end":
            bone = _bone(asf, number, entry, unit)
            bones[bone.name], entry = bone, {}
        elif section == ":bonedata":
            entry[key] = number, rest
        elif section == ":hierarchy" and key not in ("begin", "end"):
            for child in rest:
                if child not in bones or child in parents or (key != "root" and key not in parents):
                    raise _wrong(asf, number, f"cannot attach {child!r} to {key!r}: unknown bone, or twice")
                parents[child] = key
    missing = [part for part, known in ((":units length", unit), (":root order", root_channels)) if not known]
    missing += [f"{name} in :hierarchy" for name in bones if name not in parents] or ([] if bones else [":bonedata"])
    if missing:
        raise _wrong(asf, number, f"the file ends without {', '.join(missing)}")
    return Figure(tuple(bones[name] for name in parents), tuple(parents.values()), root_channels, unit)


def _bone(asf: Path, end: int, entry: dict[str, tuple[int, list[str]]], unit: float) -> Bone:
    """A bone from its lines, each as (line number, words after the key); `end` is the number of the last one."""
    missing = [key for key in ("name", "direction", "length", "axis") if not entry.get(key, (0, []))[1]]
    if missing:
        raise _wrong(asf, end, f"the bone that ends here has no {', '.join(missing)}")
    number, (*angles, order) = entry["axis"]
    if order.upper() != "XYZ":
        raise _wrong(asf, number, f"an axis must be in the order XYZ, found {order!r}")
    frame = _rotation(np.array(_numbers(asf, number, angles, count=3)))
    number, words = entry.get("dof", (end, []))
    channels = tuple(word.lower() for word in words)
    if not set(channels) <= set(AXES):
        raise _wrong(asf, number, f"dof may name {', '.join(AXES)}, found {' '.join(words)!r}")
    number, words = entry["direction"]
    direction = np.array(_numbers(asf, number, words, count=3))
    number, words = entry["length"]
    (length,) = _numbers(asf, number, words, count=1)
    return Bone(entry["name"][1][0], direction * length * unit, frame, channels)


# --- lines, numbers, errors


def _words(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, words) of every line that is neither empty nor a comment."""
    if not path.is_file():
        raise MissingDataError(f"{shown(path)} not found")
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("latin-1")
    except (OSError, EOFError, zlib.error) as error:
        raise BenchError(f"{shown(path)} cannot be read ({error}); copy it again") from error
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if words and words[0][0] != "#":
            yield number, words


def _numbers(path: Path, number: int, words: list[str], count: int | None = None) -> list[float]:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = [math.nan]
    if not math.isfinite(sum(numbers)) or count not in (None, len(numbers)):
        raise _wrong(path, number, f"expected {'' if count is None else f'{count} '}numbers, found {' '.join(words)!r}")
    return numbers


def _wrong(path: Path, number: int, what: str) -> BenchError:
    return BenchError(f"{shown(path)}, line {number}: {what}")
