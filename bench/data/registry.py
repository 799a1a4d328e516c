"""Data sets by name, the suite's own and those of other packages, through the entry-point group `bench.datasets`."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

from bench.system.entry_points import declared, loaded
from bench.system.errors import BenchError, unknown

if TYPE_CHECKING:
    from bench.data.dataset import Dataset

GROUP = "bench.datasets"
NAME = r"\w[\w.-]*"  # used in folder names


def datasets() -> list[str]:
    """Names of all data sets that can be read, sorted. Imports none of them."""
    return declared(GROUP)


def dataset_named(name: str) -> Dataset:
    """The data set behind a name; its module is imported here.

    Raises BenchError if the name is unknown or claimed by two packages, or if the entry point is not a subclass of
    Dataset with that name and a skeleton.
    """
    from bench.data.dataset import Dataset
    from bench.geometry.skeleton import Skeleton

    cls, where = loaded(GROUP, name, "data set")
    if not (isinstance(cls, type) and issubclass(cls, Dataset)):
        raise BenchError(f"data set {name!r}: {where} is not a subclass of bench.Dataset, found {cls!r}")
    if getattr(cls, "name", "") != name or not re.fullmatch(NAME, name):
        raise BenchError(
            f"data set {name!r}: {where} needs the class attribute `name = {name!r}`, like its entry point and of "
            f"letters, digits, '-', '_' and '.'; found {getattr(cls, 'name', None)!r}"
        )
    if inspect.isabstract(cls):
        lacking = ", ".join(f"{method}()" for method in sorted(cls.__abstractmethods__))
        raise BenchError(f"data set {name!r}: {where} does not implement {lacking}")
    if not isinstance(getattr(cls, "skeleton", None), Skeleton) or not getattr(cls, "fps", 0) > 0:
        raise BenchError(
            f"data set {name!r}: {where} needs the class attributes `skeleton`, a bench.Skeleton, and `fps`, its "
            "frames per second"
        )
    return cls()


def kind_of(name: str, keypoints: str) -> str:
    """The data set's own name for the requested keypoints. Raises BenchError if data set or keypoints are unknown."""
    kinds = dataset_named(name).keypoints
    if keypoints not in kinds and keypoints not in kinds.values():
        raise unknown(f"{name} keypoints", keypoints, kinds)
    return kinds.get(keypoints, keypoints)
