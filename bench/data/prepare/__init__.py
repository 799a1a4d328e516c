"""Convert raw downloads to the community's files, which the data sets read: one module per data set."""

from __future__ import annotations

import importlib
from pathlib import Path

from bench.system import paths
from bench.system.errors import unknown

PREPARED = {"3dhp": "bench.data.prepare.mpi_inf_3dhp", "h36m": "bench.data.prepare.human36m"}


def prepare(
    name: str,
    raw: str | Path,
    output: str | Path | None = None,
    skeleton: str | None = None,
    partial: bool = False,
    force: bool = False,
) -> str:
    """Make the files of a data set from its raw download; returns a report as text.

    raw: the folder of the download, unpacked or not. output: default the data set's folder below the data folder.
    skeleton: which 3D labels of 3dhp, "universal" or "camera". partial: accept an incomplete download. force: replace
    existing files of other content. Converted arrays are kept below the cache until everything is written, so that an
    interrupted preparation resumes. Raises MissingDataError if files are missing, BenchError if the content of one is
    invalid.
    """
    if name not in PREPARED:
        raise unknown("raw data set", name, PREPARED)
    folder = Path(output) if output is not None else paths.data() / name
    module = importlib.import_module(PREPARED[name])
    text: str = module.prepare(Path(raw), folder, skeleton, partial, force)
    return text


def next_command(dataset: str, output: Path) -> str:
    """The next command to run."""
    elsewhere = "" if output.resolve() == (paths.data() / dataset.partition("-")[0]).resolve() else f" --data {output}"
    return f"next: bench data verify {dataset}{elsewhere}"
