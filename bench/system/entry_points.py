"""Entry points: what installed packages declare to the suite, which finds its own declarations in the same way."""

from __future__ import annotations

import functools
import sys
import traceback
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import Any

from bench.system import paths
from bench.system.errors import BenchError, unknown


def declared(group: str) -> list[str]:
    """The names that installed packages declare in a group, sorted. Imports none of them."""
    return sorted({point.name for point in _installed(group)})


def declarations(group: str) -> list[list[str]]:
    """Name and origin of everything that is declared in a group, sorted; imports nothing."""
    return sorted([point.name, _described(point)] for point in _installed(group))


def loaded(group: str, name: str, what: str) -> tuple[Any, str]:
    """The object behind a name, and its origin for error messages: `module:Class of PACKAGE`.

    what: the kind of object, "method" or "data set". Raises BenchError for a name that no package declares or that
    two do, and for a package that cannot be imported, with the line where its import fails.
    """
    points = list({point.value: point for point in _installed(group) if point.name == name}.values())
    if not points:
        raise unknown(what, name, declared(group))
    if len(points) > 1:
        raise BenchError(
            f"two packages register a {what} {name!r}: {' and '.join(map(_described, points))}; "
            "uninstall one, or give its entry point and its class another name"
        )
    try:
        return points[0].load(), _described(points[0])
    except Exception as error:  # a foreign module may raise anything
        lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.name == "<module>"]
        where = f" ({paths.shown(Path(lines[-1].filename))}, line {lines[-1].lineno})" if lines else ""
        raise BenchError(
            f"{what} {name!r} cannot be loaded from {_described(points[0])}: "
            f"{type(error).__name__}: {error}{where}; repair or uninstall it"
        ) from error


def _installed(group: str) -> EntryPoints:
    """What is declared in a group now. A plan asks a hundred times, and each time every package would be read."""
    return _read(group, tuple((folder, _changed(folder)) for folder in sys.path))


@functools.lru_cache(maxsize=64)
def _read(group: str, folders: tuple[tuple[str, int], ...]) -> EntryPoints:
    """folders: where packages are, and when a package was last added or removed there."""
    return entry_points(group=group)


def _changed(folder: str) -> int:
    try:
        return Path(folder).stat().st_mtime_ns
    except OSError:
        return 0


def _described(point: EntryPoint) -> str:
    return f"{point.value} of {point.dist.name if point.dist else 'an unknown package'}"
