"""What a run leaves in MLflow for its user: a model without pickles, a comparison, and runs that can be searched."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from samples import h36m_positions, save_h36m

import bench
from bench.cli import main
from bench.geometry.skeleton import H36M_17
from bench.method import logged_model
from bench.method.logged_model import load_method, trained_model
from bench.results import tracking
from bench.results.records import Record
from bench.results.tracking import mlflow_model, mlflow_store
from bench.runs.launch import run_benchmark
from bench.system.errors import BenchError

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")

DOCS = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "tracking.md"
SMALL = {
    "mean_pose": {},
    "videopose3d": {"dim": 8},
    "mixste": {"dim": 16, "depth": 1, "heads": 2},
    "poseformer": {"dim": 4, "depth": 1, "heads": 1},
    "pstmo": {"dim": 16, "depth": 1, "heads": 2, "hidden": 16},
    "diff3dhpe": {"dim": 16, "depth": 1, "heads": 2, "sampling_steps": 2},
}
TINY = """
title: Tiny people
protocol: {dataset: h36m, keypoints: gt, frames: 9, train_subjects: [S1], test_subjects: [S9, S11]}
methods:
  mean_pose: {}
  diff3dhpe:
    model: {dim: 16, depth: 1, heads: 2, sampling_steps: 2}
    recipe: {epochs: 1, batch_windows: 8, learning_rate: 1e-3}
"""


def trained(name: str) -> bench.Method:
    """A small method whose numbers are not those it is built with."""
    torch.manual_seed(0)
    method = bench.build(name, frames=9, **SMALL[name]).eval()
    with torch.no_grad():
        for value in method.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.rand_like(value))
    return method


def saved(method: bench.Method, folder: Path) -> Path:
    folder.mkdir()
    content = {"method": method.state_dict(), "name": method.name, "model": SMALL[method.name], "frames": 9}
    mlflow_model.write(trained_model(content, method.window, H36M_17), folder)
    return folder


@pytest.fixture
def nothing_is_unpickled(monkeypatch):
    def refused(*arguments, **named):
        raise AssertionError("something was unpickled")

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, refused)


@pytest.mark.parametrize("name", SMALL)
def test_a_model_loaded_by_mlflow_lifts_like_the_method(name, tmp_path, nothing_is_unpickled):
    import mlflow

    method = trained(name)
    folder = saved(method, tmp_path / "model")
    loaded = mlflow.pyfunc.load_model(str(folder))
    keypoints_2d = np.random.default_rng(1).uniform(-1, 1, (3, 9, 17, 2)).astype(np.float32)
    for seed in (0, 5):
        generators = [logged_model._noise(window, seed) for window in keypoints_2d]
        with torch.inference_mode():
            expected = method.lift(torch.from_numpy(keypoints_2d), generator=generators).numpy()
        np.testing.assert_array_equal(loaded.predict(keypoints_2d, params={"seed": seed}), expected)
    again = loaded.predict(keypoints_2d)
    np.testing.assert_array_equal(again, loaded.predict(keypoints_2d, params={"seed": 0}))
    assert (again.dtype, again.shape) == (np.float32, (3, 9 if method.window.targets == "all" else 1, 17, 3))

    example = loaded.metadata.load_input_example(str(folder))
    assert (example.dtype, example.shape) == (np.float32, (1, 9, 17, 2))
    assert loaded.metadata.signature.outputs.inputs[0].shape == (-1, *again.shape[1:])
    assert loaded.predict(example).shape == (1, *again.shape[1:])
    with pytest.raises(mlflow.MlflowException, match="does not match expected shape"):
        loaded.predict(keypoints_2d[:, :5])


def test_the_noise_of_a_window_of_a_logged_model_does_not_depend_on_its_batch():
    method = trained("diff3dhpe")
    still = np.random.default_rng(1).uniform(-1, 1, (1, 9, 17, 2)).astype(np.float32)
    windows = np.concatenate([still, still + np.float32(1e-6), still])
    together = logged_model.lift(method, windows)
    assert np.abs(together[0] - together[1]).max() > 0.01, "nearly the same keypoints, but other noise"
    alone = np.concatenate([logged_model.lift(method, window[None]) for window in windows])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(together[0], together[2], atol=1e-5)
    assert np.abs(logged_model.lift(method, windows, seed=1) - together).max() > 0.01


def test_the_folder_holds_text_and_safetensors_and_nothing_of_this_machine(tmp_path):
    folder = saved(trained("mixste"), tmp_path / "model")
    assert {path.name for path in folder.iterdir()} == {
        "MLmodel", "input_example.json", "model_code.py", "requirements.txt", "weights.safetensors",
    }  # fmt: skip
    for path in folder.iterdir():
        content = path.read_bytes()
        for found in (content, content[content.find(b"\x80") :]):  # a pickle, or one after something else
            with pytest.raises(Exception):  # noqa: B017, PT011  # whatever the bytes are taken for
                pickle.Unpickler(io.BytesIO(found)).load()
        if path.suffix != ".safetensors":
            assert str(tmp_path) not in content.decode()
            assert os.getcwd() not in content.decode()  # noqa: PTH109
    assert "cloudpickle" not in (folder / "requirements.txt").read_text()


def test_the_code_of_a_model_imports_only_the_stable_path_of_the_suite(tmp_path):
    code = (saved(trained("mean_pose"), tmp_path / "model") / "model_code.py").read_text()
    assert re.findall(r"^(?:from|import) ((?:bench|baselines|diff3dhpe)\S*) import (.*)$", code, re.M) == [
        ("bench.logged_model", "lift, load_method")
    ]


EARLIER_CODE = """
import mlflow
import numpy as np
from bench.logged_model import lift, load_method

class Lifter(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.method = load_method(context.artifacts["weights"])

    def predict(self, context, model_input: np.ndarray, params=None):
        return lift(self.method, model_input, **(params or {}))

mlflow.models.set_model(Lifter())
"""


def test_a_model_of_an_earlier_version_is_loaded(tmp_path):
    import mlflow

    method = trained("mean_pose")
    folder = saved(method, tmp_path / "model")
    (folder / "model_code.py").write_text(EARLIER_CODE)
    loaded = mlflow.pyfunc.load_model(str(folder))
    keypoints_2d = np.zeros((1, 9, 17, 2), np.float32)
    with torch.inference_mode():
        np.testing.assert_array_equal(loaded.predict(keypoints_2d), method.lift(torch.from_numpy(keypoints_2d)))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "holds no weights of a logged model, or is damaged"),
        (lambda path: path.unlink(), "holds no weights of a logged model, or is damaged"),
        (lambda path: save_file({"pose": torch.zeros(3)}, path), "holds no weights of a logged model, or is damaged"),
        (
            lambda path: logged_model._save_weights(
                {"pose": torch.zeros(17, 3)}, {"name": "mean_pose", "model": {}, "frames": 9, "joints": 16}, path
            ),
            "does not fit mean_pose as it is built now: size mismatch",
        ),
    ],
)  # fmt: skip
def test_weights_that_are_damaged_or_of_something_else_are_refused(change, expected, tmp_path):
    path = saved(trained("mean_pose"), tmp_path / "model") / "weights.safetensors"
    change(path)
    with pytest.raises(BenchError, match=expected):
        load_method(path)


# --- a run


@pytest.fixture(scope="module")
def tracked(tmp_path_factory, empty_store) -> tuple[Path, list[Record]]:
    """The results folder of a small benchmark with two methods, and their records."""
    folder = tmp_path_factory.mktemp("tracked")
    save_h36m(folder / "data" / "h36m", *h36m_positions())
    (folder / "demo.yaml").write_text(TINY)
    (folder / "results" / "mlflow").mkdir(parents=True)
    shutil.copy(empty_store, folder / "results" / "mlflow" / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_RESULTS", str(folder / "results"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        records = run_benchmark(bench.load_benchmark(str(folder / "demo.yaml")), data=folder / "data", device="cpu")
    return folder / "results", records


@pytest.fixture
def store(tracked, monkeypatch):
    """MLflow's client on that store, which is also the current one."""
    monkeypatch.setenv("BENCH_RESULTS", str(tracked[0]))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # what a test sets for this process is taken back afterwards
    return mlflow_store._client(mlflow_store.store_uri())


def test_a_run_leaves_a_model_that_is_found_by_its_id(tracked, store, nothing_is_unpickled):
    import mlflow

    mlflow.set_tracking_uri(mlflow_store.store_uri())
    run_id = tracked[1][1].provenance.mlflow_run_id
    loaded = mlflow.pyfunc.load_model(f"runs:/{run_id}/model")
    assert loaded.metadata.metadata["method"] == "diff3dhpe"
    assert loaded.predict(np.zeros((2, 9, 17, 2), np.float32)).shape == (2, 9, 17, 3)
    (output,) = store.get_run(run_id).outputs.model_outputs
    model = store.get_logged_model(output.model_id)
    assert (model.source_run_id, str(model.status)) == (run_id, "READY")


def test_the_parent_run_leads_to_the_comparison_of_its_runs(tracked, store):
    run_ids = [record.provenance.mlflow_run_id for record in tracked[1]]
    child = store.get_run(run_ids[0])
    note = store.get_run(child.data.tags["mlflow.parentRunId"]).data.tags["mlflow.note.content"]
    text, query = re.fullmatch(r"\[(.*)\]\(#/compare-runs\?(.*)\)", note).groups()
    assert text == "Compare the 2 runs of this call"
    compared = {key: json.loads(value) for key, (value,) in parse_qs(query).items()}
    assert compared == {"runs": run_ids, "experiments": [child.info.experiment_id]}


def test_every_documented_search_finds_its_run(tracked, store):
    section = DOCS.read_text(encoding="utf-8").partition("## Finding runs\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| .+ \| (`{1,2})(.+?)\1 \|$", section, re.M)
    assert len(rows) >= 6
    record = tracked[1][1]
    values = {
        "METHOD": "diff3dhpe", "SEED": "0", "KEY": record.run_key[:8], "CONFIG": record.provenance.config_hash,
        "DATA": record.provenance.data_fingerprint, "DIGEST": record.provenance.data_fingerprint[:16],
        "DIM": "16", "MILLIMETRES": str(record.metrics["mpjpe"].value + 1),
    }  # fmt: skip
    experiment = store.get_experiment_by_name("demo").experiment_id
    for _, documented in rows:
        written = re.sub("|".join(values), lambda word: values[word[0]], documented)
        found = {run.info.run_id for run in store.search_runs([experiment], written)}
        assert (record.provenance.mlflow_run_id in found) == ("KILLED" not in written), written


# --- the load of the machine


def test_system_metrics_without_psutil_say_what_to_install_before_anything_is_done(monkeypatch, capsys):
    monkeypatch.setattr(tracking.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="2"):
        main(["run", "demo", "--system-metrics"])
    assert capsys.readouterr() == (
        "", "bench: system metrics need psutil, which is not installed: pip install psutil\n",
    )  # fmt: skip


def test_system_metrics_are_logged_to_mlflow_or_not_at_all(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["run", "demo", "--system-metrics", "--no-track"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_with_psutil_every_run_has_the_load_of_the_machine(store, tmp_path, monkeypatch):
    found = SimpleNamespace(used=1e9, free=1e9, total=2e9, percent=50.0, bytes_sent=1, bytes_recv=1)
    (tmp_path / "psutil.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    import psutil

    for name in ("cpu_percent", "virtual_memory", "disk_usage", "net_io_counters"):
        monkeypatch.setattr(psutil, name, lambda *_, name=name: 12.5 if name == "cpu_percent" else found, raising=False)
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    tracking.check_system_metrics()
    opened = tracking.open_tracker("demo", system_metrics=True)
    with (
        opened.invocation("bench run demo", {}) as invocation,
        invocation.run("mixste-s0", run_key="f00d", params={}, tags={}) as run,
    ):
        until = time.monotonic() + 120
        while "system/cpu_utilization_percentage" not in store.get_run(run.run_id).data.metrics:
            assert time.monotonic() < until
            time.sleep(0.05)
    assert store.get_run(run.run_id).info.status == "FINISHED"
