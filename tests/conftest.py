"""What all tests share: results of their own, golden numbers, and one thread so that sums come out the same."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, and for the commands that tests start

import hypothesis
import numpy as np
import pytest
from torch import Tensor, nn

from bench.results.tracking import mlflow_store

hypothesis.settings.register_profile("bench", deadline=None)  # a loaded machine is no failure
hypothesis.settings.load_profile("bench")

os.environ["BENCH_JOBS"] = "1"  # unless a test says otherwise: a worker would not see what the test has patched

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def results_folders(tmp_path_factory) -> Iterator[Path]:
    """A new folder each time. Counted here: pytest would list all the folders before it makes one."""
    base = tmp_path_factory.mktemp("results")
    return (base / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def results_folder(results_folders, monkeypatch):
    """Caches, records and stores of a test go to a folder of its own, and it sees no imported weights."""
    folder = next(results_folders)
    folder.mkdir()
    monkeypatch.setenv("BENCH_RESULTS", str(folder))
    monkeypatch.setenv("BENCH_CHECKPOINTS", str(folder / "checkpoints"))
    return folder


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """A migrated MLflow database without experiments: making one takes seconds, copying it does not."""
    database = tmp_path_factory.mktemp("store") / "mlflow.db"
    mlflow_store._client(f"sqlite:///{database}")
    return database


@pytest.fixture
def golden():
    """Golden numbers by file name: golden("mixste.npz")."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(GOLDEN / name, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}

    return load


@pytest.fixture
def first_output():
    """first_output(module) is a list that receives what the module gives when it is first called."""

    def watch(module: nn.Module) -> list[Tensor]:
        seen: list[Tensor] = []

        def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
            if not seen:
                seen.append(output.detach())

        module.register_forward_hook(keep)
        return seen

    return watch
