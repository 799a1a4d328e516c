"""What the tests of data sets share: made-up files in the community's formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import h36m_positions, save_h36m

from bench.geometry.skeleton import H36M_17


@pytest.fixture
def h36m_root(tmp_path) -> Path:
    """A data folder with Human3.6M files: `gt`, and `cpn` with noise, surplus frames and a subject without 3D."""
    world, pixels = h36m_positions()
    save_h36m(tmp_path / "h36m", world, pixels, "gt", keypoints_symmetry=[np.array(H36M_17.left), H36M_17.right])
    rng = np.random.default_rng(6)
    noisy = {
        subject: {
            sequence: [(view + rng.normal(0, 5, view.shape)).astype(np.float32) for view in views]
            for sequence, views in sequences.items()
        }
        for subject, sequences in pixels.items()
    }
    noisy["S2"] = {"Sitting 1": [np.zeros((4, 17, 2), np.float32)] * 4}
    surplus = np.full((3, 17, 2), np.nan, np.float32)  # beyond the 3D, so nobody may look at it
    noisy["S9"]["Sitting"] = [np.concatenate([view, surplus]) for view in noisy["S9"]["Sitting"]]
    noisy["S11"]["Phoning 3"][2] = np.concatenate([noisy["S11"]["Phoning 3"][2], surplus])
    save_h36m(tmp_path / "h36m", world, noisy, "cpn_ft_h36m_dbb", layout_name="h36m")
    return tmp_path


@pytest.fixture
def h36m_files(tmp_path) -> Callable[..., Path]:
    """Writes Human3.6M files after `change(positions_3d, positions_2d)` has spoilt them; returns the data folder."""

    def write(change: Callable[[Any, Any], None], **metadata: Any) -> Path:
        world, pixels = h36m_positions({"S1": {"Sitting 1": 6, "Walking": 5}, "S9": {"Photo": 4}})
        change(world, pixels)
        save_h36m(tmp_path, world, pixels, **metadata)
        return tmp_path

    return write
