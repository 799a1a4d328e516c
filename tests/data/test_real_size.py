"""Files of the real sizes are read in less than twice the memory that their arrays take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.system import paths

GENERATOR = Path(__file__).parents[1] / "real_size.py"

# The peak of a process' memory, less what it had before it read anything.
LOAD = """
import json, re, sys, time
from pathlib import Path
import bench.data.files.archive, bench.data.human36m, bench.data.mpi_inf_3dhp, bench.data.windows
from bench.data import load_dataset
from bench.method import Window

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

before, started = peak(), time.monotonic()
dataset = load_dataset(sys.argv[1], sys.argv[2])
seconds, peak_bytes = time.monotonic() - started, peak() - before
training = dataset.subset(sys.argv[3].split(","))
blocks = [getattr(dataset, name) for name in bench.data.files.archive.BLOCKS if getattr(dataset, name) is not None]
print(json.dumps({
    "seconds": seconds,
    "peak": peak_bytes,
    "blocks": sum(block.nbytes for block in blocks),
    "videos": len(dataset.sequences),
    "training frames": int(training.lengths.sum()),
    "frames": int(dataset.lengths.sum()),
    "shared": training.poses_3d.data_ptr() == dataset.poses_3d.data_ptr(),
    "windows": len(bench.data.windows.train_windows(training.lengths, Window(243, "centre"))),
    "peak with windows": peak() - before,
}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
@pytest.mark.parametrize(
    ("name", "train", "videos", "frames"),
    [
        ("h36m", "S1,S5,S6,S7,S8", 836, (1_559_752, 1_559_752 + 543_344)),
        ("3dhp", "S1,S2,S3,S4,S5,S6,S7,S8", 134, (1_052_736, 1_052_736 + 24_888)),
    ],
)
def test_real_size_is_read_in_twice_the_memory_of_its_arrays(tmp_path, name, train, videos, frames):
    environment = os.environ | {"PYTHONPATH": str(paths.root()), "BENCH_RESULTS": str(tmp_path / "results")}

    def run(*command: str) -> str:
        arguments = [sys.executable, *command]
        return subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True).stdout

    in_files = int(run(str(GENERATOR), name, str(tmp_path / "data")))
    first, second = (json.loads(run("-c", LOAD, name, str(tmp_path / "data"), train)) for _ in range(2))
    for load in first, second:
        assert load["videos"] == videos
        assert (load["training frames"], load["frames"]) == frames
        assert load["shared"], "the training part is a view"
        assert load["windows"] == load["training frames"]
    print(name, f"{in_files / 1e6:.0f} MB of arrays in the files, {first['blocks'] / 1e6:.0f} MB in the copy")
    for load in first, second:
        print(f"read in {load['seconds']:.2f} s, peak {load['peak'] / 1e6:.0f} MB")
    assert first["peak"] < 2 * min(in_files, first["blocks"])
    assert second["peak with windows"] < 0.5 * second["blocks"], "the copy is mapped, not read"
