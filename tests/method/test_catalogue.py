"""`bench methods` answers from the cache, without torch, until the code of a method changes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

METHOD = """
from bench.method import Method, Window
from torch import nn


class Theirs(Method):
    name = "theirs"
    paper = "Nobody, 2026"

    def __init__(self, frames=9, joints=17, *, dim=8):
        super().__init__()
        self.window = Window(frames)
        self.lift_joints = nn.Linear(joints * 2, joints * dim)

    def lift(self, keypoints_2d, *, generator=None):
        return self.lift_joints(keypoints_2d.flatten(2)).unflatten(2, (17, -1))[..., :3]
"""

# Only the stranger's method and one of ours: the others take seconds each to build.
LIST = """
import sys
from bench.method import catalogue
catalogue.methods = lambda: ["mean_pose", "theirs"]
print(catalogue.catalogue())
print("torch loaded:", "torch" in sys.modules)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A stranger's package; its module."""
    about = tmp_path / "site" / "theirs-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[bench.methods]\ntheirs = their_lifter:Theirs\n")
    module = tmp_path / "site" / "their_lifter.py"
    module.write_text(METHOD)
    return module


def listed(package: Path) -> tuple[str, bool]:
    """The list of methods from a new process, and whether it loaded torch."""
    folders = os.pathsep.join([str(package.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {
        "PYTHONPATH": folders,
        "BENCH_RESULTS": str(package.parents[1] / "results"),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", LIST], env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    text, _, loaded = done.stdout.rpartition("torch loaded: ")
    return text, loaded.strip() == "True"


def test_the_list_is_made_once_and_again_after_an_edit(package):
    first, loaded = listed(package)
    assert "Nobody, 2026" in first
    assert "4,760" in first  # 34 inputs and a bias for each of 17 x 8 outputs
    assert loaded
    assert listed(package) == (first, False)

    package.write_text(METHOD.replace("dim=8", "dim=9"))  # a hyper-parameter's default
    edited, loaded = listed(package)
    assert loaded
    assert edited == first.replace("4,760", "5,355")


def test_a_method_that_cannot_be_used_is_tried_again(package):
    whole = package.read_text()
    package.write_text("import no_such_package\n" + whole)
    for _ in range(2):
        text, loaded = listed(package)
        assert "theirs cannot be used" in text
        assert loaded, "the package may be installed at any time"
