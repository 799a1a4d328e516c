"""The `bench` command, end to end on small files in Human3.6M's format: what is printed, written, and returned."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import filelock
import numpy as np
import pandas as pd
import pytest
import torch
from samples import MPI_INF_3DHP_VALID, h36m_positions, mpi_inf_3dhp, save_3dhp, save_h36m

from bench import methods
from bench.cli import benchmarks, main
from bench.config import benchmark_names
from bench.evaluation import Predictions
from bench.method import checkpoint
from bench.results.tracking import mlflow_store

REPOSITORY = Path(__file__).resolve().parents[2]
COMMANDS = (
    "run",
    "compare",
    "sweep",
    "score",
    "lift",
    "audit",
    "draw",
    "draw figure",
    "draw animate",
    "import",
    "export",
    "export template",
    "export 3dhp-mat",
    "tables",
    "report",
    "methods",
    "data",
    "data describe",
    "data verify",
    "data prepare",
    "data fetch",
    "ui",
    "selftest",
)

VIDEOS = {
    "S1": {"Sitting 1": 40, "Walking": 30},
    "S5": {"Walking": 30},
    "S8": {"Walking": 20},
    "S9": {"Photo": 20, "Walking 1": 15},
}

TINY = """
title: Tiny people
protocol:
  dataset: h36m
  keypoints: gt
  frames: 9
  train_subjects: [S1, S5, S8]
  validation_subjects: [S8]
  test_subjects: [S9]
methods:
  mean_pose: {}
  mixste:
    model: {dim: 16, depth: 1, heads: 2}
    recipe: {epochs: 2, batch_windows: 8, learning_rate: 1e-3, keep: best-validation}
  diff3dhpe:
    model: {dim: 16, depth: 1, heads: 2, sampling_steps: 2}
    recipe: {epochs: 2, batch_windows: 8, learning_rate: 1e-3}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Holds `tiny.yaml` and, in `data/`, its Human3.6M files."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny.yaml").write_text(TINY)
    save_h36m(folder / "data" / "h36m", *h36m_positions(VIDEOS))
    return folder


def start(folder: Path, results: str, *arguments: str) -> subprocess.Popen[str]:
    """`bench ARGUMENTS` as a user starts it, results in a folder of their own."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("BENCH_", "MLFLOW_"))}
    environment |= {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "BENCH_RESULTS": str(folder / results)}
    environment["BENCH_CHECKPOINTS"] = str(folder / "checkpoints")
    return subprocess.Popen(
        [sys.executable, "-m", "bench.cli", *arguments],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ended(process: subprocess.Popen[str], status: int = 0) -> tuple[str, str]:
    """What a command printed, on both streams; it must end with `status` and without a traceback."""
    out, err = process.communicate(timeout=600)
    assert process.returncode == status, f"{out}\n{err}"
    assert "Traceback" not in err
    return out, err


def run(*arguments: str) -> tuple[str, ...]:
    return ("run", "tiny.yaml", "--data", "data", *arguments)


def records(folder: Path, results: str) -> dict[str, dict]:
    """Of every run, those with other settings than the file states (`--set`) included."""
    found = [json.loads(path.read_text()) for path in (folder / results).glob("[rt]*/tiny/*.json")]
    return {record["method"]: record for record in found}


def tracked_files() -> str:
    command = ["git", "-C", str(REPOSITORY), "--no-optional-locks", "status", "--porcelain"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


# A whole benchmark


@pytest.fixture(scope="module")
def twice(folder) -> list[tuple[str, str]]:
    """The same benchmark run with the same seed into two empty folders, `first` and `second`."""
    before = tracked_files()
    running = [start(folder, results, *run("--no-track")) for results in ("first", "second")]
    texts = [ended(process) for process in running]
    assert tracked_files() == before, "a run touches no file of the checkout"
    return texts


def test_a_run_prints_its_plan_its_table_and_every_path(folder, twice):
    text, log = twice[0]
    assert text.startswith("tiny: Tiny people\n  data        h36m, gt keypoints, 50 fps\n")
    assert "train       S1, S5: 12 videos, 400 frames, S8 held out" in text
    assert "test        S9: 8 videos, 140 frames, each counted once, root zeroed, averaged with the mirrored" in text
    table = text[text.index("\nTiny people\n") :]
    assert re.findall(r"^(?:mean_pose|MixSTE|Diff3DHPE)\S*", table, re.MULTILINE) == [
        "mean_pose", "MixSTE", "Diff3DHPE-MixSTE",
    ]  # fmt: skip
    assert "1.00x" in table, "methods are compared with the mean pose"
    for name in re.findall(r"record +(\S+)", table):
        assert (folder / name).is_file()
    for name in ("mixste", "diff3dhpe"):
        assert re.search(rf"{name}-s0-\w{{8}}: epoch 2/2  loss \S+  lr 0.00099  validation \S+ mm  \S+ frames/s", log)
    assert "\nreport      make report  (one HTML file" in table
    assert len(re.findall(r"record +first/records/tiny/\w+-s0-\w{8}\.json\n", table)) == 3


LOOK = """
import sys
from bench.cli import main
try:
    main(sys.argv[1:])
finally:
    print("torch loaded:", "torch" in sys.modules, file=sys.stderr)
"""


def looked(folder: Path, *arguments: str) -> tuple[str, bool]:
    """What `bench run --dry-run` prints of the runs in `looked`, and whether it loaded torch."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    environment |= {"BENCH_RESULTS": str(folder / "looked"), "BENCH_CHECKPOINTS": str(folder / "no-checkpoints")}
    command = [sys.executable, "-c", LOOK, *run("--dry-run", "--device", "cpu", *arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, "torch loaded: True" in done.stderr


@pytest.mark.skipif(bool(torch.version.cuda or torch.version.hip), reason="PyTorch is built for GPUs: not kept there")
def test_the_plan_of_finished_runs_is_shown_again_without_loading_torch(folder, twice):
    shutil.copytree(folder / "first", folder / "looked")
    shown, loaded = looked(folder)
    assert loaded
    assert len(re.findall("finished", shown)) == 3
    assert looked(folder) == (shown, False)

    other, loaded = looked(folder, "--set", "methods.mixste.recipe.epochs=3")
    assert loaded
    assert re.search(r"mixste-s0-\w{8} +train ", other)
    assert looked(folder) == (shown, False)

    (gone,) = (folder / "looked" / "cache" / "runs" / "tiny").glob("mixste-s0-*/record.json")
    gone.unlink()
    again, loaded = looked(folder)
    assert loaded
    assert re.search(r"mixste-s0-\w{8} +score ", again)
    assert looked(folder)[1], "a plan with something to do is made each time"


def test_a_run_leaves_record_weights_predictions_and_checkpoints(folder, twice):
    found = records(folder, "first")
    assert found.keys() == {"mean_pose", "mixste", "diff3dhpe"}
    for method, record in found.items():
        assert (record["benchmark"], record["seed"], record["accounting"]) == ("tiny", 0, "shared")
        assert (record["frames"], record["sequences"], record["receptive_field"]) == (140, 8, 9)
        assert record["per_action"].keys() == {"Photo", "Walking"}
        assert record["training"]["kept"] == {
            "mean_pose": "none to train", "mixste": "best-validation", "diff3dhpe": "last",
        }[method]  # fmt: skip
        left = folder / "first" / "cache" / "runs" / "tiny" / f"{method}-s0-{record['run_key'][:8]}"
        files = {path.name for path in left.iterdir()}
        assert files >= {"record.json", "weights.pt", "predictions.npz"}
        assert ("last.pt" in files) == (method != "mean_pose")
        assert checkpoint.load(left / "weights.pt")["skeleton"] == "H36M-17"
        assert str(folder) not in (left / "record.json").read_text()
    assert found["mean_pose"]["parameters"] == 0 < found["mixste"]["parameters"] < found["diff3dhpe"]["parameters"]
    assert not (folder / "first" / "mlflow").exists(), "--no-track"


def test_two_runs_with_the_same_seed_give_the_same_metrics_bit_for_bit(folder, twice):
    first, second = records(folder, "first"), records(folder, "second")
    for method in first:
        for part in ("run_key", "metrics", "per_action", "per_joint"):
            assert first[method][part] == second[method][part], method


def test_the_same_command_again_repeats_no_work_and_shows_the_table(folder, twice):
    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in (folder / "first").rglob("*") if path.is_file()}

    before = state()
    text, log = ended(start(folder, "first", *run("--no-track")))
    assert state() == before
    assert text.count("finished") == 3
    assert log == "", "no epoch is trained"
    title = "\nTiny people\n"
    assert text[text.index(title) :] == twice[0][0][twice[0][0].index(title) :]


def test_another_seed_or_another_setting_is_another_run(folder, twice, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("BENCH_RESULTS", str(folder / "first"))
    for arguments in (["--seeds", "2"], ["--set", "recipe.epochs=3"], ["--set", "protocol.flip_test=false"]):
        with pytest.raises(SystemExit, match="0"):
            main(run("--dry-run", "--methods", "mixste", *arguments))
        lines = [line for line in capsys.readouterr().out.splitlines() if "mixste-s" in line]
        states = [line.split()[1] for line in lines]
        assert states == (["finished", "train"] if "--seeds" in arguments else ["train"])


@pytest.fixture
def again(folder, twice, tmp_path, monkeypatch) -> Path:
    """A copy of the results of the first run, to go on with in this process."""
    monkeypatch.chdir(folder)
    results = tmp_path / "results"
    shutil.copytree(folder / "first", results)
    monkeypatch.setenv("BENCH_RESULTS", str(results))
    return results


def test_a_run_as_published_reuses_the_training_of_the_shared_one(again, monkeypatch, capsys):
    monkeypatch.setattr("bench.training.loop._run_epoch", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr("bench.runs.launch.predict", lambda *_, **__: pytest.fail("lifted again"))
    command = run("--no-track", "--methods", "mixste,diff3dhpe", "--set", "protocol.accounting=as-published")
    shared = records(again, "")
    for state in ("score", "finished"):
        with pytest.raises(SystemExit, match="0"):
            main(command)
        text = capsys.readouterr().out
        assert len(re.findall(rf"-s0-\w{{8}} +{state} ", text)) == 2
    assert "counted for each method as its own code does" in text
    assert "rows do not compare with each other" in text
    assert "MixSTE: counted as by Zhang et al., CVPR 2022: the last window of a video counts whole" in text
    found = [json.loads(path.read_text()) for path in (again / "records" / "tiny").glob("*.json")]
    counted = {record["method"]: record for record in found if record["accounting"] == "as-published"}
    assert len(found) == len(shared) + 2
    for method, record in counted.items():
        assert record["run_key"] != shared[method]["run_key"]
        assert record["training"] == shared[method]["training"]
        assert record["metrics"]["mpjpe"]["value"] != shared[method]["metrics"]["mpjpe"]["value"]
        assert len(shared[method]["blocks"]) == 2, "four cameras each"
        assert record["blocks"] == [], "frames that count twice or for another action make no blocks"
    # Windows of 9: two for the 15 frames of a video, three for the 20; four cameras each.
    assert {method: record["frames"] for method, record in counted.items()} == {"mixste": 4 * 9 * 5, "diff3dhpe": 140}
    with pytest.raises(SystemExit, match="2"):
        main(run("--set", "protocol.accounting=as-published"))
    assert "bench: mean_pose: no published accounting is known for it on h36m" in capsys.readouterr().err


def strip(path: Path, **changes: float) -> None:
    """Make of a record what versions before blocks and intervals wrote; changes: of headline metrics."""
    content = json.loads(path.read_text())
    for part in ("blocks", "groups"):
        content.pop(part, None)
    for name, metric in content["metrics"].items():
        content["metrics"][name] = {"value": changes.get(name, metric["value"]), "unit": metric["unit"]}
    path.write_text(json.dumps(content))


def test_a_finished_run_without_blocks_is_scored_again_from_its_predictions(again, monkeypatch, capsys):
    monkeypatch.setattr("bench.training.loop._run_epoch", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr("bench.runs.launch.predict", lambda *_, **__: pytest.fail("lifted again"))
    committed = {path.name.partition("-")[0]: path for path in (again / "records" / "tiny").glob("*.json")}
    own = {name: again / "cache" / "runs" / "tiny" / path.stem / "record.json" for name, path in committed.items()}
    before = {path: path.read_text() for path in [*committed.values(), *own.values()]}
    for path in before:
        strip(path)
    strip(committed["mixste"], mpjpe=123.4)  # as another machine had it
    strip(own["diff3dhpe"], mpjpe=123.4)  # not what the predictions say
    committed["mean_pose"].unlink()  # withdrawn
    with pytest.raises(SystemExit, match="0"):
        main(run("--no-track"))
    log = capsys.readouterr().err
    assert log.count("score again, its record has no blocks") == 3
    assert re.search(r"diff3dhpe-s0-\w+: record unchanged: its numbers and those of its predictions are up to ", log)
    assert own["mean_pose"].read_text() == before[own["mean_pose"]], "the same run key, provenance and numbers"
    assert own["mixste"].read_text() == before[own["mixste"]]
    assert not committed["mean_pose"].exists()
    for path in (committed["mixste"], own["diff3dhpe"], committed["diff3dhpe"]):
        assert "blocks" not in json.loads(path.read_text()), path
    (own["diff3dhpe"].parent / "predictions.npz").unlink()
    with pytest.raises(SystemExit, match="0"):
        main(run("--no-track"))
    assert "its record has no blocks and its predictions are gone; remove" in capsys.readouterr().err


def test_an_audit_shows_presets_and_rules_of_a_finished_run(again, tmp_path, capsys):
    audit = ("audit", "tiny.yaml", "--data", "data", "--method", "mixste")
    before = {path: path.stat().st_mtime_ns for path in again.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit, match="0"):
        main([*audit, "--lift", "--device", "cpu", "--csv", str(tmp_path / "audit.csv")])
    text = capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in again.rglob("*") if path.is_file()}, "changes nothing"
    record = records(again, "")["mixste"]
    mpjpe = record["metrics"]["mpjpe"]["value"]
    assert re.search(rf"^shared +140 +{mpjpe:.2f} ", text, re.M)
    assert re.search(r"^mixste \* +180 ", text, re.M)
    assert re.search(rf"^A6 +root as predicted .* MPJPE \(mm\) +{mpjpe:.2f} ", text, re.M)
    assert re.search(r"^A14 +no average with the mirrored input ", text, re.M)
    table = pd.read_csv(tmp_path / "audit.csv")
    raw = table[(table["rule"] == "root as predicted") & (table["metric"] == "mpjpe")].iloc[0]
    assert raw["value"] == pytest.approx(record["metrics"]["mpjpe_raw_root"]["value"], rel=1e-5)
    assert raw["difference"] == pytest.approx(raw["value"] - mpjpe, abs=1e-3)
    predictions = next(again.glob("cache/runs/tiny/mixste-*/predictions.npz"))
    with pytest.raises(SystemExit, match="0"):
        main([*audit, "--predictions", str(predictions)])
    assert capsys.readouterr().out.splitlines()[4:20] == text.splitlines()[4:20]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "1"], r"mixste-s1-\w{8} has no predictions .* bench run tiny --methods mixste --seeds 2"),
        (["--method", "mist"], "No method of tiny 'mist'"),
        (["--predictions", "tiny.yaml"], "tiny.yaml is not a file of predictions"),
        (["--predictions", "nowhere.npz"], "nowhere.npz not found"),
        (["--predictions", "fewer.npz"], "fewer.npz: these predictions are not of the test videos of tiny, S9"),
        (["--predictions", "fewer.npz", "--lift"], "lifting again needs the weights of a run"),
    ],
)
def test_an_audit_reports_what_is_missing(again, folder, capsys, arguments, message):
    whole = Predictions.load(next(again.glob("cache/runs/tiny/mixste-*/predictions.npz")))
    Predictions(whole.window, whole.table[1:], whole.poses_3d[1:]).save(folder / "fewer.npz")
    with pytest.raises(SystemExit, match="2"):
        main(["audit", "tiny.yaml", "--data", "data", "--method", "mixste", *arguments])
    assert re.search(message, capsys.readouterr().err)


def test_a_dry_run_prints_the_plan_and_trains_nothing(folder, results_folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit, match="0"):
        main(run("--dry-run", "--methods", "mixste,mean_pose", "--device", "cpu"))
    text = capsys.readouterr().out
    assert "device      cpu" in text
    assert re.search(r"mean_pose-s0-\w{8} +fit and test +9 +0 ", text)
    assert re.search(r"mixste-s0-\w{8} +train +9 +5,059 .* 2 +13 +best-validation", text)
    assert "diff3dhpe" not in text
    assert "MPJPE" not in text
    assert not (results_folder / "records").exists()
    assert not (results_folder / "cache" / "runs").exists()


# Stopping and going on


def wait_for(path: Callable[[], list[Path]], process: subprocess.Popen[str]) -> None:
    """Until a file is there, which a training run writes after its first epoch."""
    until = time.monotonic() + 300
    while not path():
        assert process.poll() is None, "the run ended before it could be stopped"
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_run_is_resumed_with_the_same_result(folder):
    command = run("--no-track", "--methods", "mixste", "--set", "methods.mixste.recipe.epochs=60")
    whole, victim = start(folder, "whole", *command), start(folder, "killed", *command)
    wait_for(lambda: list((folder / "killed").rglob("last.pt")), victim)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert victim.returncode == -signal.SIGKILL
    assert records(folder, "killed") == {}
    _, text = ended(start(folder, "killed", *command))
    done = int(re.search(r"mixste-s0-\w{8}: continue after epoch (\d+)", text)[1])
    assert 1 <= done < 60
    assert f"epoch {done + 1}/60" in text
    assert f"epoch {done}/60" not in text
    ended(whole)
    first, second = records(folder, "whole")["mixste"], records(folder, "killed")["mixste"]
    assert first["metrics"] == second["metrics"]
    assert first["training"]["final_loss"] == second["training"]["final_loss"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")
def test_a_stopped_run_says_so_and_continues_in_the_same_mlflow_run(folder):
    command = run("--methods", "mixste", "--set", "methods.mixste.recipe.epochs=60")
    victim = start(folder, "stopped", *command)
    wait_for(lambda: list((folder / "stopped").rglob("last.pt")), victim)
    victim.send_signal(signal.SIGTERM)
    assert "stopped by SIGTERM; run the same command again to continue" in ended(victim, status=143)[1]

    client = mlflow_store._client(f"sqlite:///{folder / 'stopped' / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny").experiment_id

    def statuses() -> list[tuple[str, str]]:
        runs = client.search_runs([experiment], order_by=["attributes.start_time"])
        return [(one.data.tags["mlflow.runName"].partition("-s0")[0], one.info.status) for one in runs]

    assert sorted(statuses()) == [("bench run tiny", "KILLED"), ("mixste", "KILLED")]
    text, log = ended(start(folder, "stopped", *command))
    assert "continue after epoch" in log
    assert "tracked in  stopped/mlflow/mlflow.db" in text
    assert sorted(statuses()) == [("bench run tiny", "FINISHED"), ("bench run tiny", "KILLED"), ("mixste", "FINISHED")]
    (child,) = client.search_runs([experiment], "attributes.run_name LIKE 'mixste%'")
    record = records(folder, "stopped")["mixste"]
    assert record["provenance"]["mlflow_run_id"] == child.info.run_id
    steps = [point.step for point in client.get_metric_history(child.info.run_id, "train/total")]
    assert steps == list(range(1, 61)), "every epoch once"
    assert child.data.metrics["test/mpjpe_mm"] == pytest.approx(record["metrics"]["mpjpe"]["value"], rel=1e-5)
    kept = {artifact.path for artifact in client.list_artifacts(child.info.run_id)}
    assert kept >= {"record.json", "config.json", "per_action.csv", "figures", "checkpoints"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")
def test_mpi_inf_3dhp_from_its_files_to_a_table(folder):
    save_3dhp(folder / "data" / "3dhp", *mpi_inf_3dhp())
    sizes = ("model.dim=16", "model.depth=1", "model.heads=2", "recipe.epochs=1", "protocol.frames=9")
    held_out = ("protocol.train_subjects=[S1,S2,S8]", "protocol.validation_subjects=[S8]")
    changes = [word for change in (*sizes, *held_out) for word in ("--set", change)]
    text, _ = ended(
        start(folder, "3dhp", "run", "3dhp-gt", "--data", "data", "--methods", "mixste,diff3dhpe", *changes)
    )
    assert "TS1, TS2, TS3, TS4, TS5, TS6: 6 videos, 33 frames, 16 valid, each counted once" in text
    assert re.search(r"Method .* MPJPE \(mm\) .* MPJPE over actions \(mm\) +PCK \(%\) +AUC \(%\)", text)
    found = {path.name.partition("-")[0]: json.loads(path.read_text()) for path in folder.glob("3dhp/trials/*/*.json")}
    assert found.keys() == {"mixste", "diff3dhpe"}
    for record in found.values():
        assert (record["frames"], record["sequences"]) == (16, 6)
        assert record["per_action"].keys() == {"TS1", "TS2", "TS3", "TS4", "TS5", "TS6"}
        metrics = {name: metric["value"] for name, metric in record["metrics"].items()}
        assert record["metrics"]["pck"]["unit"] == "%"
        by_sequence = {name: values["mpjpe"] for name, values in record["per_action"].items()}
        weights = {name: sum(valid) for name, valid in MPI_INF_3DHP_VALID.items()}
        pooled = sum(weights[name] * value for name, value in by_sequence.items()) / 16
        assert metrics["mpjpe"] == pytest.approx(pooled, rel=1e-4)
        assert metrics["mpjpe_actions"] == pytest.approx(sum(by_sequence.values()) / 6, rel=1e-4)
    tracked = mlflow_store._client(f"sqlite:///{folder / '3dhp' / 'mlflow' / 'mlflow.db'}")
    run_id = found["mixste"]["provenance"]["mlflow_run_id"]
    assert tracked.get_run(run_id).data.metrics["test/pck_percent"] == found["mixste"]["metrics"]["pck"]["value"]


# Mistakes: exit status 2, one clear message, nothing written


@pytest.fixture
def refused(results_folder, monkeypatch, tmp_path, capsys) -> Callable[..., str]:
    """Runs a command in an empty folder; returns its message after checking how it ended."""

    def call(*arguments: str) -> str:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "Traceback" not in err
        assert not (results_folder / "records").exists()
        assert not (results_folder / "cache" / "runs").exists()
        assert not (results_folder / "cache" / "data").exists()
        return err

    return call


@pytest.mark.parametrize("name", ["h36m-cpn-243", "cmu-gt-27"])
def test_missing_data_are_named_with_what_to_do(refused, results_folder, name):
    message = refused("run", name, "--data", "nowhere")
    assert message.startswith("bench: ")
    assert "nowhere" in message
    assert {"h36m-cpn-243": "data_3d_h36m.npz", "cmu-gt-27": "cmu"}[name] in message
    assert "make demo" in message, "what to run instead"
    assert list(results_folder.iterdir()) == [], "nothing is written"


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_wrong_files_are_refused_with_one_clear_message(refused, folder, tmp_path):
    def copy(name: str) -> Path:
        shutil.copytree(folder / "data" / "h36m", tmp_path / name)
        return tmp_path / name

    tiny = str(folder / "tiny.yaml")
    whole = (folder / "data" / "h36m" / "data_3d_h36m.npz").read_bytes()
    (copy("cut") / "data_3d_h36m.npz").write_bytes(whole[: len(whole) // 2])
    message = refused("run", tiny, "--data", "cut")
    assert re.fullmatch(r"bench: cut/data_3d_h36m\.npz is not a whole \.npz file .*; copy it again\n", message)

    array = np.array(None, dtype=object)
    array[()] = {"S1": Hostile(tmp_path / "victim")}
    np.savez(copy("hostile") / "data_3d_h36m.npz", positions_3d=array)
    message = refused("run", tiny, "--data", "hostile")
    assert re.match(r"bench: hostile/data_3d_h36m\.npz was refused: it wants to run \w+\.system", message)
    assert not (tmp_path / "victim").exists()

    world, pixels = h36m_positions(VIDEOS)
    millimetres = {subject: {name: 1000 * poses for name, poses in videos.items()} for subject, videos in world.items()}
    save_h36m(tmp_path / "millimetres", millimetres, pixels)
    message = refused("run", tiny, "--data", "millimetres")
    assert "S1 'Sitting 1': a joint lies" in message
    assert "is the file in millimetres?" in message

    (copy("text") / "data_2d_h36m_gt.npz").write_text("not an archive")
    assert "data_2d_h36m_gt.npz is not a whole .npz file" in refused("run", tiny, "--data", "text")


def test_names_that_are_not_known_are_answered_with_those_that_are(refused, folder):
    tiny, data = str(folder / "tiny.yaml"), str(folder / "data")
    assert f"Known: {', '.join(benchmark_names())}" in refused("run", "h36m")
    assert "did you mean epochs?" in refused("run", tiny, "--set", "recipe.epoch=3")
    assert "No method of tiny 'mixst'. Did you mean 'mixste'?" in refused(
        "run", tiny, "--data", data, "--methods", "mixst"
    )
    assert "No data set 'h37m'. Did you mean 'h36m'?" in refused("data", "describe", "h37m")
    assert "No h36m keypoints 'det'" in refused("data", "describe", "h36m", "--keypoints", "det")
    assert "device 'banana' cannot be used here" in refused("run", tiny, "--data", data, "--device", "banana")


def test_wrong_names_do_not_wait_for_the_data_to_be_read(refused, tmp_path):
    (tmp_path / "mine.yaml").write_text(TINY.replace("mean_pose", "my_method"))
    assert "No method 'my_method'" in refused("run", "mine.yaml", "--data", "nowhere")
    assert "No method of demo 'mixst'" in refused("run", "demo", "--methods", "mixst")


def test_a_run_held_by_another_process_is_skipped(folder, results_folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    command = run("--no-track", "--methods", "mean_pose")
    with pytest.raises(SystemExit, match="0"):
        main((*command, "--dry-run"))
    name = re.search(r"mean_pose-s0-\w{8}", capsys.readouterr().out)[0]
    lock = results_folder / "cache" / "runs" / "tiny" / name / ".lock"
    lock.parent.mkdir(parents=True)
    with filelock.FileLock(lock), pytest.raises(SystemExit, match="0"):
        main(command)
    said = capsys.readouterr()
    assert f"{name}: skipped: another process is running {name}" in said.err
    assert f"skipped     {name}: another process is running it" in said.out
    with pytest.raises(SystemExit, match="0"):
        main(command)
    assert "1.00x" in capsys.readouterr().out


def test_a_hyperparameter_that_does_not_fit_is_refused_before_training(folder, monkeypatch, capsys, results_folder):
    monkeypatch.chdir(folder)
    for change, expected in (
        ("methods.mixste.model.dims=3", "No hyper-parameter of mixste 'dims'. Did you mean 'dim'?"),
        ("model.heads=3", "mixste: dim 16 is not a multiple of heads 3"),
        ("methods.diff3dhpe.model.sampling_steps=5000", "diff3dhpe: sampling steps must be in 1..1000, not 5000"),
        ("protocol.test_subjects=[S9, S11]", "h36m: no subject 'S11'; the data hold S1, S5, S8, S9"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(run("--no-track", "--set", change))
        assert expected in capsys.readouterr().err
        assert not (results_folder / "cache" / "runs").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["runs"],
        ["run", "demo", "--seeds", "0"],
        ["run", "demo", "--seeds", "x"],
        ["run", "demo", "--epochs", "3"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_line_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "usage: bench" in capsys.readouterr().err


def test_bench_alone_prints_its_commands(capsys):
    with pytest.raises(SystemExit, match="2"):
        main([])
    shown = capsys.readouterr().out
    assert all(f"\n  {command} " in shown.replace("    ", "  ") for command in COMMANDS if " " not in command)


def test_ctrl_c_and_a_closed_pipe_are_no_errors(monkeypatch, capsys):
    def raises(error: BaseException):
        def call(options):
            raise error

        return call

    monkeypatch.setattr(benchmarks, "_methods", raises(KeyboardInterrupt()))
    with pytest.raises(SystemExit, match="130"):
        main(["methods"])
    assert "run the same command again to continue" in capsys.readouterr().err
    monkeypatch.setattr(benchmarks, "_methods", raises(RuntimeError("ours")))
    with pytest.raises(RuntimeError, match="ours"):
        main(["methods"])
    process = subprocess.Popen(
        f"{sys.executable} -m bench.cli methods | true; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    ended(process)


# The other commands


def test_methods_are_listed_with_paper_and_summary(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["methods"])
    text = capsys.readouterr().out
    assert all(re.search(rf"^{name} +\S", text, re.MULTILINE) for name in methods())
    assert "Zhang et al., CVPR 2022" in text


def test_data_are_described(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit, match="0"):
        main(["data", "describe", "h36m", "--data", "data"])
    text = capsys.readouterr().out
    assert "h36m, gt keypoints: 24 videos, 620 frames at 50 fps, H36M-17\n" in text
    assert "actions: Photo, Sitting, Walking" in text
    assert "images: 1000 x 1000, 1000 x 1002 pixels\nkeypoints with files: gt\n" in text
    assert re.search(r"^S1 +8 +280 +2 +4$", text, re.MULTILINE)
    assert re.search(r"^Walking +16 +380 +4$", text, re.MULTILINE)


def test_data_are_shown(folder, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(folder)
    sheet = tmp_path / "sheet.png"
    with pytest.raises(SystemExit, match="0"):
        main(["data", "describe", "h36m", "--data", "data", "--picture", str(sheet)])
    assert capsys.readouterr().out.endswith(f"picture: {sheet}\n")
    assert sheet.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit, match="2"):
        main(["data", "describe", "h36m", "--picture", "sheet.doc"])
    assert "sheet.doc does not end in .png, .pdf or .svg" in capsys.readouterr().err


def test_data_are_verified(folder, refused, monkeypatch, capsys, tmp_path):
    assert "Did you mean 'h36m'?" in refused("data", "verify", "h37m")
    assert "data_3d_h36m.npz not found" in refused("data", "verify", "h36m", "--data", "elsewhere")
    world, pixels = h36m_positions(VIDEOS)
    millimetres = {name: {key: poses * 1000 for key, poses in takes.items()} for name, takes in world.items()}
    save_h36m(tmp_path / "wrong", millimetres, pixels)
    with pytest.raises(SystemExit, match="2"):
        main(["data", "verify", "h36m", "--data", "wrong"])
    assert re.search(r"^wrong +units +.*millimetres", capsys.readouterr().out, re.MULTILINE)
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit, match="0"):
        main(["data", "verify", "h36m", "--data", "data"])
    text = capsys.readouterr().out
    assert text.startswith("h36m, gt keypoints, in data\n")
    assert re.search(r"^warning +subjects +missing: S6, S7, S11$", text, re.MULTILINE)
    assert re.search(r"^ok +reprojection +median <0.001 px", text, re.MULTILINE)


def test_data_are_looked_for_where_the_environment_says(folder, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(folder / "data"))
    with pytest.raises(SystemExit, match="0"):
        main(["data", "describe", "h36m"])
    assert "24 videos" in capsys.readouterr().out


def test_tables_are_checked_without_being_written(results_folder, monkeypatch, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["tables", "--check"])  # an empty results folder has no tables yet
    out, err = capsys.readouterr()
    assert all(re.search(rf"outdated +\S*tables/{name}\.md", out) for name in benchmark_names())
    assert "run: make tables" in err
    assert list(results_folder.iterdir()) == []


# What a command costs to start


def test_help_shows_an_example_and_imports_neither_torch_nor_mlflow():
    """One process for all: `import bench`, then the help of every command."""
    script = f"""
import contextlib, io, sys
import bench
assert "evaluate" in dir(bench) and "build" in dir(bench)
from bench.cli import main
for command in {[[], *[command.split() for command in COMMANDS]]!r}:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        main([*command, "--help"])
    assert "example: bench" in shown.getvalue(), command
with contextlib.redirect_stderr(io.StringIO()) as shown, contextlib.suppress(SystemExit):
    main(["run", "no-such-benchmark"])
assert "No benchmark" in shown.getvalue()
heavy = [name for name in ("torch", "mlflow", "pandas", "matplotlib", "numpy") if name in sys.modules]
assert not heavy, heavy
"""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
