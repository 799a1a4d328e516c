"""Names that other projects, notebooks and logged models import stay where they are, and cost nothing until used."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
STAY = {
    "bench": (
        "Batch", "Method", "Scores", "Window", "build", "evaluate", "import_upstream", "load_benchmark", "load_dataset",
        "load_weights", "methods", "register",
    ),
    "bench.cli": ("main",),
    "bench.config": ("Accounting", "PRESETS"),
    "bench.data.cmu": ("read_trial",),
    "bench.data.pose_dataset": ("PoseDataset",),
    "bench.data.windows": ("test_windows", "train_windows"),
    "bench.evaluation": ("Predictions", "Scores", "predict", "score"),
    "bench.logged_model": ("lift", "load_method"),
    "bench.method": ("Batch", "Method", "Window", "randn"),
    "bench.metrics": ("auc", "mpjpe", "mpjve", "n_mpjpe", "p_mpjpe", "pck"),
    "bench.testing": ("check_method",),
    "baselines.pstmo": ("Pretrainer",),
    "diff3dhpe.diffusion": ("Diffusion",),
}  # fmt: skip


@pytest.mark.parametrize("module", STAY)
def test_names_stay(module):
    found = importlib.import_module(module)
    assert [name for name in STAY[module] if not hasattr(found, name)] == []


def test_there_are_at_most_eleven_rooms_and_no_loose_files():
    bench = REPOSITORY / "bench"
    rooms = {path.name for path in bench.iterdir() if (path / "__init__.py").is_file()}
    assert len(rooms) <= 11
    assert not rooms & {"utils", "core", "common", "misc"}
    files = {path.name for path in bench.glob("*.py")}
    assert files == {"__init__.py", "metrics.py", "testing.py", "logged_model.py"}, "the last for models logged before"


@pytest.mark.parametrize(
    "code",
    [
        "import bench; bench.methods()",
        "import bench.method, bench.evaluation, bench.config, bench.data, bench.results.tracking",
        "from bench.show import tables; tables.write(check=True)",
        "from bench.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass",
    ],
    ids=["methods", "faces", "tables", "help"],
)
def test_looking_pays_for_neither_torch_nor_mlflow(code):
    check = f"{code}\nimport sys\nassert not {{'torch', 'mlflow'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], cwd=REPOSITORY, check=True, capture_output=True)
