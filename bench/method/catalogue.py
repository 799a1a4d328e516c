"""The registered methods as a table: paper, size, cost, and the licence of the paper's own code."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING

from tabulate import tabulate

from bench.method.registry import GROUP, build, method_class, methods
from bench.system.entry_points import declarations
from bench.system.errors import BenchError
from bench.system.remembered import Remembered

if TYPE_CHECKING:
    from bench.method.base import Method

FRAMES, JOINTS = 27, 17  # where a method has no default of its own


def catalogue() -> str:
    """One line per method at its default size; below the table, the methods that cannot be used.

    MACs are multiply-accumulates of matrix products per frame of output, all sampling steps included; `unknown` where
    they cannot be counted. Every network is built once and counted; after that the answer comes from the cache, until
    the code of a method, of the suite or of a package that they need changes.
    """
    if "torch" in sys.modules:  # then methods may be loaded as well, from files that have changed since
        return _catalogue()[0]
    asked = Remembered("methods", [declarations(GROUP), sys.version, sys.path])
    if (known := asked.answer) is not None:
        return known
    text, whole = _catalogue()
    if whole:
        asked.keep(text)
    return text


def _catalogue() -> tuple[str, bool]:
    """The text, and whether every method can be used: a package that one lacks may be installed at any time."""
    rows, broken = [], []
    for name in methods():
        try:
            rows.append(_row(name))
        except BenchError as error:
            broken.append(f"{name} cannot be used: {error}")
    table = tabulate(rows, headers="keys", stralign="left", disable_numparse=True)
    notes = [
        "Sizes are those of the paper; `licence` is that of its authors' own code, of which nothing is used here.",
        *broken,
    ]
    return "\n".join([table, "", *notes]), not broken


def _row(name: str) -> dict[str, str]:
    from bench.method.cost import macs_per_frame, macs_text  # imports torch: only where there is something to count

    cls = method_class(name)
    default = inspect.signature(cls).parameters.get("frames")
    frames = default.default if default is not None and isinstance(default.default, int) else FRAMES
    method = _described(name, frames)
    return {
        "method": name,
        "paper": cls.paper or "-",
        "lifts": f"{frames} frames to {_answer(method)}",
        "parameters": f"{method.parameter_count:,}",
        "MMACs/frame": macs_text(macs_per_frame(method, JOINTS)),
        "stages before": ", ".join(cls.stages) or "-",
        "licence": cls.licence or "-",
    }


def _described(name: str, frames: int) -> Method:
    """A method on the meta device, where values take no time and no memory, if it can be built there."""
    import torch

    try:
        with torch.device("meta"):
            return build(name, frames=frames, joints=JOINTS)
    except BenchError:
        return build(name, frames=frames, joints=JOINTS)


def _answer(method: Method) -> str:
    return {"all": "all of them", "centre": "the centre one", "last": "the last one"}[method.window.targets]
