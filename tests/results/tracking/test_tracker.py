"""A run's status tells how it ended, no point is logged twice, and tracking never stops a run."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.results import tracking
from bench.results.tracking import (
    DatasetInput,
    Invocation,
    LoggedRun,
    Tracker,
    TrainedModel,
    mlflow_store,
    mlflow_tracker,
    open_tracker,
    processes,
)
from bench.results.tracking.mlflow_tracker import mlflow_name
from bench.system.stop import Stopped

# MLflow's own, at its first use in a process.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")

TAGS = {"protocol": "demo", "seed": "0"}
RUN = {"run_key": "f00d", "params": {"epochs": 3}, "tags": TAGS}

# One run that logs three epochs, says so, and waits to be ended from outside.
VICTIM = """
import time
from bench.results.tracking import open_tracker
from bench.system.stop import stoppable
with stoppable(), open_tracker("demo").invocation("bench run demo", {}) as invocation:
    with invocation.run("mixste-s0", run_key="f00d", params={"epochs": 3}, tags={}) as run:
        for epoch in range(3):
            run.metrics(epoch, {"train/loss": 1.0})
        run.flush()
        run.metrics(3, {"train/loss": 0.5})
        print(run.run_id, flush=True)
        time.sleep(600)
"""


@pytest.fixture
def results(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results folder of its own; the current folder is elsewhere, and stays as it is."""
    folder = tmp_path / "my results"
    (folder / "mlflow").mkdir(parents=True)
    shutil.copy(empty_store, folder / "mlflow" / "mlflow.db")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("BENCH_RESULTS", str(folder))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return folder


@contextmanager
def one_run(*, enabled: bool = True, **changes) -> Iterator[tuple[Invocation, LoggedRun]]:
    tracker = open_tracker("demo", enabled=enabled)
    with tracker.invocation("bench run demo", TAGS) as outer, outer.run("mixste-s0", **{**RUN, **changes}) as run:
        yield outer, run


def client():
    return mlflow_store._client(mlflow_store.store_uri())


def opened() -> Tracker:
    """A tracker whose store is open, as in the first moment of an invocation."""
    tracker = open_tracker("demo")
    tracker.open()
    return tracker


def status(run_id: str | None) -> str:
    return client().get_run(run_id).info.status


def artifacts(run_id: str | None) -> list[str]:
    return [artifact.path for artifact in client().list_artifacts(run_id)]


def steps(run_id: str | None, name: str = "train/loss") -> list[int]:
    return [point.step for point in client().get_metric_history(run_id, name)]


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (None, "FINISHED"),
        (SystemExit(0), "FINISHED"),
        (SystemExit(None), "FINISHED"),
        (SystemExit(2), "FAILED"),
        (RuntimeError("CUDA out of memory"), "FAILED"),
        (KeyboardInterrupt(), "KILLED"),
        (Stopped(signal.SIGTERM), "KILLED"),
    ],
    ids=repr,
)
def test_status_tells_how_the_block_ended(results: Path, end: BaseException | None, expected: str) -> None:
    with ExitStack() as stack:
        if end is not None:
            stack.enter_context(pytest.raises(type(end)))
        with one_run() as (invocation, run):
            run.metrics(0, {"train/loss": 1.0})
            if end is not None:
                raise end
    assert (status(run.run_id), status(invocation.run_id)) == (expected, expected)
    assert steps(run.run_id) == [0], "what was noted before the end is sent"
    assert list(Path.cwd().iterdir()) == [], "nothing is left in the current folder"


def test_a_failed_run_does_not_fail_its_invocation(results: Path) -> None:
    with open_tracker("demo").invocation("bench run demo", TAGS) as invocation:
        with suppress(RuntimeError), invocation.run("mixste-s0", **RUN) as run:
            raise RuntimeError("diverged")
        assert status(run.run_id) == "FAILED"
    assert status(invocation.run_id) == "FINISHED"


def victim(results: Path) -> tuple[subprocess.Popen[str], str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(tracking.__file__).parents[3])}
    process = subprocess.Popen([sys.executable, "-c", VICTIM], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_sigterm_leaves_the_runs_killed_and_their_points_sent(results: Path) -> None:
    process, run_id = victim(results)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 1
    assert status(run_id) == "KILLED"
    assert status(client().get_run(run_id).data.tags["mlflow.parentRunId"]) == "KILLED"
    assert steps(run_id) == [0, 1, 2, 3]


def test_a_run_left_running_by_kill_9_is_set_to_killed_and_resumed(results: Path) -> None:
    process, run_id = victim(results)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie: its launcher has not looked yet
    assert status(run_id) == "RUNNING"
    tracker = opened()
    process.wait(timeout=120)
    assert status(run_id) == "KILLED"
    assert status(client().get_run(run_id).data.tags["mlflow.parentRunId"]) == "KILLED"
    with tracker.invocation("bench run demo", TAGS) as invocation, invocation.run("mixste-s0", **RUN) as run:
        assert run.run_id == run_id


def test_a_living_process_is_not_taken_for_dead(results: Path) -> None:
    with open_tracker("demo").invocation("bench run demo", TAGS) as invocation:
        opened()
        assert status(invocation.run_id) == "RUNNING"


def test_another_process_with_the_number_of_a_dead_one_is_not_taken_for_it(results: Path) -> None:
    with open_tracker("demo").invocation("bench run demo", TAGS) as invocation:
        host_pid = client().get_run(invocation.run_id).data.tags["host_pid"]
        process = processes.Process(*host_pid.split(":"))
        client().set_tag(invocation.run_id, "host_pid", ":".join(process._replace(started=f"{process.started}0")))
        opened()
        assert status(invocation.run_id) == "KILLED"


def interrupted(points: dict[str, int]) -> str | None:
    with suppress(KeyboardInterrupt), one_run(datasets=[H36M]) as (_, run):
        for name, last in points.items():
            for step in range(last + 1):
                run.metrics(step, {name: float(step)})
        raise KeyboardInterrupt
    return run.run_id


H36M = DatasetInput("h36m-cpn", "sha256:0123456789abcdef", "https://example.org/h36m", "train", {"sha256": "0" * 64})


def test_resuming_logs_no_point_twice(results: Path) -> None:
    run_id = interrupted({"train/loss": 5, "validation/mpjpe_mm": 2})
    with one_run(datasets=[H36M], tags={**TAGS, "device": "cuda:1"}) as (invocation, run):
        assert status(run.run_id) == "RUNNING"
        for step in range(2, 9):  # from an older checkpoint than the last logged step
            run.metrics(step, {"train/loss": -1.0, "validation/mpjpe_mm": -1.0, "new": 0.0})
    assert run.run_id == run_id
    assert steps(run_id) == list(range(9))
    assert steps(run_id, "validation/mpjpe_mm") == list(range(9)), "each metric has its own last step"
    assert steps(run_id, "new") == list(range(2, 9))
    logged = client().get_run(run_id)
    assert logged.info.status == "FINISHED"
    assert logged.data.tags["mlflow.parentRunId"] == invocation.run_id
    assert logged.data.tags["device"] == "cuda:1"
    assert len(logged.inputs.dataset_inputs) == 1


def test_a_finished_run_is_not_opened_again(results: Path) -> None:
    tracker = open_tracker("demo")
    with tracker.invocation("first", TAGS) as invocation, invocation.run("mixste-s0", **RUN) as first:
        pass
    with tracker.invocation("second", TAGS) as invocation, invocation.run("mixste-s0", **RUN) as second:
        pass
    assert first.run_id != second.run_id


def test_other_parameters_make_another_run_whatever_the_key_says(results: Path, capsys) -> None:
    run_id = interrupted({"train/loss": 2})
    with one_run(params={"epochs": 4}) as (_, run):
        pass
    assert run.run_id != run_id
    assert client().get_run(run.run_id).data.params == {"epochs": "4"}
    assert capsys.readouterr().err == ""


@pytest.fixture
def batches(results: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What log_batch is called with, as (kind, number)."""
    from mlflow import MlflowClient

    sent: list[tuple[str, int]] = []
    log_batch = MlflowClient.log_batch

    def counted(self, run_id, synchronous=None, **entities):
        sent.extend((kind, len(each)) for kind, each in entities.items())
        return log_batch(self, run_id, synchronous=synchronous, **entities)

    monkeypatch.setattr(MlflowClient, "log_batch", counted)
    return sent


def test_metrics_are_sent_by_the_thousand(batches: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_tracker, "SECONDS_BETWEEN_FLUSHES", 1000.0)
    with one_run(params={}) as (_, run):
        run.metrics(0, {f"test/mpjpe_mm/action{i}": float(i) for i in range(900)})
        assert batches == []
        run.metrics(1, {f"test/mpjpe_mm/action{i}": float(i) for i in range(200)})
        assert batches == [("metrics", 1000), ("metrics", 100)]
        run.metrics(2, {"train/loss": 1.0})
        run.flush()
        run.flush()
    assert batches == [("metrics", 1000), ("metrics", 100), ("metrics", 1)]


def test_metrics_do_not_wait_longer_than_the_interval(batches: list[tuple[str, int]], monkeypatch) -> None:
    monkeypatch.setattr(mlflow_tracker, "SECONDS_BETWEEN_FLUSHES", 0.0)
    with one_run(params={}) as (_, run):
        run.metrics(0, {"train/loss": 1.0})
        assert batches == [("metrics", 1)]


def test_many_parameters_go_in_hundreds_and_long_values_are_cut(batches: list[tuple[str, int]]) -> None:
    params = {**{f"p{i}": i for i in range(150)}, "long": "y" * 9000}
    with one_run(params=params, tags={"note": "z" * 9000}) as (_, run):
        pass
    assert batches == [("params", 100), ("params", 51)]
    logged = client().get_run(run.run_id).data
    assert (len(logged.params), len(logged.params["long"]), len(logged.tags["note"])) == (151, 6000, 8000)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_left_out_and_reported_once(results: Path, value: float, capsys) -> None:
    with one_run() as (_, run):
        for step in (7, 8):
            run.metrics(step, {"fine": 1.0, "train/loss": value})
        run.metrics(9, {"train/loss": 0.5})
    assert steps(run.run_id, "fine") == [7, 8]
    assert steps(run.run_id) == [9]
    assert status(run.run_id) == "FINISHED"
    assert capsys.readouterr().err == (
        f"train/loss is {value} at step 7: the log leaves out values that are not finite\n"
    )


def test_what_json_cannot_hold_is_reported_and_loses_nothing_else(results: Path, capsys) -> None:
    with one_run() as (_, run):
        run.json({"loss": float("nan")}, "bad.json")
        run.json({"loss": 1.0}, "good.json")
    assert artifacts(run.run_id) == ["good.json"]
    assert capsys.readouterr().err.startswith("bad.json is not in the log: ")
    assert status(run.run_id) == "FINISHED"


def test_artifacts_and_tags_are_kept(results: Path, tmp_path: Path) -> None:
    (tmp_path / "curve.svg").write_text("<svg/>")
    with one_run() as (_, run):
        run.text("epochs: 3\n", "config.yaml")
        run.json({"b": 1, "a": [1.5]}, "tables/per_action.json")
        run.file(tmp_path / "curve.svg", "figures")
    kept = results / "mlflow" / "artifacts" / "demo" / str(run.run_id) / "artifacts"
    assert (kept / "config.yaml").read_text() == "epochs: 3\n"
    assert (kept / "tables" / "per_action.json").read_text() == '{\n "a": [\n  1.5\n ],\n "b": 1\n}\n'
    assert (kept / "figures" / "curve.svg").read_text() == "<svg/>"
    tags = client().get_run(run.run_id).data.tags
    assert tags["seed"] == "0"
    assert set(tags) == {"protocol", "seed", "run_key", "host_pid", "mlflow.parentRunId", "mlflow.runName"}


def test_a_data_set_read_for_training_and_test_is_logged_once_with_both(results: Path) -> None:
    again = DatasetInput(H36M.name, H36M.digest, H36M.source, "test")
    made = DatasetInput("synthetic", "sha256:fedcba9876543210", "made from seed 0", "test")
    with one_run(datasets=[H36M, again, made]) as (_, run):
        pass
    noted = {
        each.dataset.name: {tag.key: tag.value for tag in each.tags}
        for each in client().get_run(run.run_id).inputs.dataset_inputs
    }
    assert noted == {
        "h36m-cpn": {"mlflow.data.context": "train, test", "sha256": "0" * 64},
        "synthetic": {"mlflow.data.context": "test"},
    }


def test_a_disabled_tracker_does_nothing(results: Path, tmp_path: Path, capsys) -> None:
    before = sorted(results.rglob("*"))
    with one_run(enabled=False, datasets=[H36M]) as (invocation, run):
        run.metrics(0, {"train/loss": 1.0})
        run.flush()
        run.text("x", "x.txt")
        run.json({}, "x.json")
        run.file(tmp_path / "not-there")
    assert (open_tracker("demo", enabled=False).where, invocation.run_id, run.run_id) == (None, None, None)
    assert sorted(results.rglob("*")) == before
    assert capsys.readouterr() == ("", "")


def test_neither_a_disabled_tracker_nor_an_import_loads_mlflow() -> None:
    code = """if True:
        import sys
        from bench.results.tracking import open_tracker
        with open_tracker("demo", enabled=False).invocation("x", {}) as invocation:
            with invocation.run("y", run_key="k", params={}, tags={}) as run:
                run.metrics(0, {"loss": 1.0})
        print(sorted({"mlflow", "torch", "pandas"} & set(sys.modules)))"""
    environment = {**os.environ, "PYTHONPATH": str(Path(tracking.__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_server_that_does_not_answer_is_reported_in_one_line_and_loses_no_run(
    results: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracker = open_tracker("demo")
    with tracker.invocation("bench run demo", TAGS) as invocation, invocation.run("mixste-s0", **RUN) as run:
        run.metrics(0, {"train/loss": 1.0})
    assert (tracker.where, run.run_id) == (None, None)
    assert capsys.readouterr().err == (
        "tracking off: the server does not answer (store: http://***@127.0.0.1:9; records are still written)\n"
    )


def test_waiting_for_an_absent_server_is_bounded_unless_the_user_says_otherwise() -> None:
    assert int(mlflow_store.SETTINGS["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) <= 3
    assert int(mlflow_store.SETTINGS["MLFLOW_HTTP_REQUEST_TIMEOUT"]) <= 10


def test_a_failure_in_the_middle_is_reported_once_and_the_run_continues(results: Path, monkeypatch, capsys) -> None:
    from mlflow import MlflowClient

    def broken(*arguments, **named):
        raise OSError("No space left\non device")

    with one_run() as (invocation, run):
        monkeypatch.setattr(MlflowClient, "log_batch", broken)
        for step in range(3):
            run.metrics(step, {"train/loss": 1.0})
            run.flush()
        run.text("x", "x.txt")
        reached = True
        with invocation.run("mixste-s1", **RUN) as next_run:
            assert next_run.run_id is None
    assert reached
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("tracking off: No space left on device")
    assert status(run.run_id) == "KILLED", "a log that broke off does not say FINISHED"


def breaking(monkeypatch: pytest.MonkeyPatch, *methods: str) -> None:
    """Let these methods of MLflow's client fail as on a full disk."""
    from mlflow import MlflowClient

    def broken(*arguments, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    for method in methods:
        monkeypatch.setattr(MlflowClient, method, broken)


MODEL = TrainedModel("mixste", ("root", "head"), 3, 1, lambda path: None)


@pytest.mark.parametrize("method", ["log_artifact", "log_text"])
def test_an_artifact_that_cannot_be_kept_loses_no_metric(results, tmp_path, monkeypatch, capsys, method) -> None:
    breaking(monkeypatch, method)
    (tmp_path / "weights.pt").write_text("weights")
    with one_run() as (_, run):
        for _ in range(2):
            run.text("x", "x.txt")
            run.file(tmp_path / "weights.pt")
        run.metrics(1, {"test/mpjpe_mm": 50.0})
    assert client().get_run(run.run_id).data.metrics == {"test/mpjpe_mm": 50.0}
    assert status(run.run_id) == "FINISHED"
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("tracking without artifacts: [Errno 28] No space left on device (store: ")


@pytest.mark.parametrize(
    "method", ["create_logged_model", "log_model_artifacts", "finalize_logged_model", "log_outputs"]
)
def test_a_model_that_cannot_be_kept_loses_nothing_else(results, monkeypatch, capsys, method) -> None:
    breaking(monkeypatch, method)
    with one_run() as (_, run):
        run.model(MODEL)
        run.text("x", "x.txt")
    assert (artifacts(run.run_id), status(run.run_id)) == (["x.txt"], "FINISHED")
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("the trained model is not logged: [Errno 28] No space left on device (store: ")


def test_weights_that_cannot_be_written_lose_only_the_model(results, monkeypatch, capsys) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with one_run() as (_, run):
        run.model(replace(MODEL, write_weights=full))
        run.metrics(1, {"test/mpjpe_mm": 50.0})
    assert client().get_run(run.run_id).data.metrics == {"test/mpjpe_mm": 50.0}
    assert len(capsys.readouterr().err.splitlines()) == 1


EVERY_CALL = [
    "create_run", "search_runs", "log_batch", "log_inputs", "set_tag", "set_terminated", "get_experiment_by_name",
]  # fmt: skip


@pytest.mark.parametrize("method", EVERY_CALL)
def test_any_failing_call_is_reported_in_one_line_and_the_run_continues(results, monkeypatch, capsys, method) -> None:
    breaking(monkeypatch, method)
    with one_run(datasets=[H36M]) as (invocation, run):
        run.metrics(1, {"train/loss": 1.0})
        run.text("x", "x.txt")
        run.model(MODEL)
        invocation.compare(["a", "b"])
        reached = True
    assert reached
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("tracking off: [Errno 28] No space left on device (store: ")


def test_entities_that_mlflow_does_not_make_turn_tracking_off(results, monkeypatch, capsys) -> None:
    import mlflow.entities

    monkeypatch.delattr(mlflow.entities, "Metric")  # as where another version has moved it
    with one_run() as (_, run):
        run.metrics(1, {"train/loss": 1.0})
        reached = True
    assert reached
    assert capsys.readouterr().err.startswith("tracking off: ")


def test_an_outdated_store_names_the_command_that_repairs_it(results: Path, capsys) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(results / "mlflow" / "mlflow.db")) as connection, connection:
        connection.execute("update alembic_version set version_num = '0584bdc529eb'")
    assert opened().where is None
    assert f"mlflow db upgrade sqlite:///{results}/mlflow/mlflow.db" in capsys.readouterr().err


def test_a_file_that_is_no_database_is_left_alone(results: Path, capsys) -> None:
    (results / "mlflow" / "mlflow.db").write_text("my notes, long enough to be read as the header of a database " * 20)
    assert opened().where is None
    assert "file is not a database" in capsys.readouterr().err


def test_a_moved_store_continues_without_recreating_the_old_folders(results: Path, monkeypatch, capsys) -> None:
    with open_tracker("demo").invocation("before", TAGS):
        pass
    moved = results.rename(results.with_name("moved"))
    monkeypatch.setenv("BENCH_RESULTS", str(moved))
    with open_tracker("demo").invocation("after", TAGS) as invocation, invocation.run("mixste-s0", **RUN) as run:
        run.metrics(0, {"train/loss": 1.0})
        run.text("x", "x.txt")
    assert not results.exists()
    assert status(run.run_id) == "FINISHED"
    assert "tracking without artifacts" in capsys.readouterr().err


def test_a_deleted_experiment_is_reported_and_not_restored(results: Path, capsys) -> None:
    opened()
    client().delete_experiment(client().get_experiment_by_name("demo").experiment_id)
    assert opened().where is None
    assert "mlflow experiments restore --experiment-id" in capsys.readouterr().err


def test_a_database_of_the_users_choice_keeps_its_artifacts_beside_it(results: Path, tmp_path, monkeypatch) -> None:
    (tmp_path / "mine").mkdir()
    shutil.copy(results / "mlflow" / "mlflow.db", tmp_path / "mine" / "runs.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mine/runs.db")
    with open_tracker("demo").invocation("bench run demo", TAGS) as invocation, invocation.run("s0", **RUN) as run:
        run.text("x", "x.txt")
    assert (tmp_path / "mine" / "artifacts" / "demo" / str(run.run_id) / "artifacts" / "x.txt").is_file()


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ("/dev/sda1 / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0\n", True),
        ("server:/ / nfs4 rw 0 0\n/dev/sda1 /home ext4 rw 0 0\n", False),
        ("", False),
    ],
)
def test_network_disks_are_distinguished_from_local_ones(mounts: str, expected: bool, monkeypatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path: mounts)
    assert mlflow_store._on_network_disk(Path("/home/me/results/mlflow.db")) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("test/mpjpe_mm/Walking", "test/mpjpe_mm/Walking"),
        ("test/mpjpe_mm/walk dog", "test/mpjpe_mm/walk dog"),
        ("test/mpjpe_mm/歩く", "test/mpjpe_mm/歩く"),
        ("test/mpjpe_mm/Ходьба", "test/mpjpe_mm/Ходьба"),
        ("test/mpjpe_mm/नमस्ते", "test/mpjpe_mm/नमस_x94d_त_x947_"),
        ("test/pck@150", "test/pck_x40_150"),
        ("a//b", "a/_x2f_b"),
        ("/a/", "_x2f_a_x2f_"),
        ("a/../.b", "a/_x2e_./_x2e_b"),
        ("_x40_", "_x5f_x40_"),
    ],
)
def test_names_keep_to_what_mlflow_takes(name: str, expected: str) -> None:
    assert mlflow_name(name) == expected


AWKWARD = st.text(st.sampled_from("aZ09 x4_-./:@%\n\\é歩Ж²\u0301\ud800"), max_size=8) | st.text(max_size=300)


@given(st.lists(AWKWARD, min_size=2, max_size=2, unique=True))
@example(["walk dog", "walk_dog"])
@example(["é", "e\u0301"])
@example(["@", "_x40_"])
@example(["_x4@", "\x04x40_"])
@example(["a" * 300, "a" * 301])
@example(["@" * 100, "@" * 101])
def test_every_name_is_accepted_by_mlflow_and_no_two_become_one(names: list[str]) -> None:
    from mlflow.utils.validation import _validate_metric

    first, second = (mlflow_name(f"test/mpjpe_mm/{name}") for name in names)
    assert first != second
    for name in (first, second):
        _validate_metric(name, 1.0, 0, 0)


def test_actions_of_any_script_and_long_parameters_are_logged(results: Path, capsys) -> None:
    actions = ["歩く", "Ходьба", "walk dog", "walk_dog", "pck@150", "", "..", "x" * 300]
    params = {"model.ширина": 3, "model.rate (1/s)": 4}
    with one_run(params=params) as (_, run):
        run.metrics(1, {f"test/mpjpe_mm/{action}": float(number) for number, action in enumerate(actions)})
    logged = client().get_run(run.run_id).data
    assert sorted(logged.metrics.values()) == list(range(len(actions)))
    assert logged.metrics["test/mpjpe_mm/歩く"] == 0
    assert sorted(logged.params.values()) == ["3", "4"]
    found = client().search_runs(
        [client().get_experiment_by_name("demo").experiment_id], "metrics.`test/mpjpe_mm/Ходьба` = 1"
    )
    assert [one.info.run_id for one in found] == [run.run_id]
    assert capsys.readouterr().err == ""


def test_a_run_with_a_parameter_of_any_name_is_resumed(results: Path) -> None:
    ids = []
    for _ in range(2):
        with suppress(KeyboardInterrupt), one_run(params={"model.rate (1/s)": 4}) as (_, run):
            ids.append(run.run_id)
            raise KeyboardInterrupt
    assert ids[0] == ids[1]


@pytest.mark.slow
def test_four_processes_open_a_new_store_at_once(tmp_path: Path) -> None:
    code = """if True:
        import sys
        from bench.results.tracking import open_tracker
        with open_tracker("demo").invocation("bench run demo", {}) as invocation:
            with invocation.run(f"s{sys.argv[1]}", run_key=sys.argv[1], params={}, tags={}) as run:
                for step in range(300):
                    run.metrics(step, {"train/loss": 1.0})
                    if step % 20 == 0:
                        run.flush()
        print(run.run_id)"""
    environment = {
        **os.environ,
        "BENCH_RESULTS": str(tmp_path),
        "PYTHONPATH": str(Path(tracking.__file__).parents[3]),
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(seed)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=tmp_path,
        )
        for seed in range(4)
    ]
    outcomes = [process.communicate(timeout=600) for process in processes]
    assert [errors for _, errors in outcomes] == [""] * 4
    store = mlflow_store._client(f"sqlite:///{tmp_path}/mlflow/mlflow.db")
    for run_id, _ in outcomes:
        assert store.get_run(run_id.strip()).info.status == "FINISHED"
        assert len(store.get_metric_history(run_id.strip(), "train/loss")) == 300
