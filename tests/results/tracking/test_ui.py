from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from bench.results.tracking import ui
from bench.system.errors import BenchError


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(os, "execv", lambda *arguments: pytest.fail("the server was started"))
    return tmp_path


@pytest.fixture
def store(results: Path) -> Path:
    (results / "mlflow").mkdir()
    (results / "mlflow" / "mlflow.db").touch()
    return results


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_without_a_store_it_says_how_to_get_one(results: Path) -> None:
    with pytest.raises(BenchError, match=r"mlflow\.db does not exist.*make demo"):
        ui.announcement(free_port())
    assert list(results.iterdir()) == []


def test_a_taken_port_is_named(store: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BenchError, match=rf"Port {port} cannot be used: Address already in use"):
            ui.announcement(port)


def test_an_impossible_port_is_named(store: Path) -> None:
    with pytest.raises(BenchError, match="Port 70000 cannot be used"):
        ui.announcement(70000)


def test_with_a_server_of_the_users_it_points_there(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")
    with pytest.raises(BenchError, match=r"open https://mlflow\.example\.org in a browser"):
        ui.announcement(free_port())


def test_it_becomes_a_server_that_only_this_machine_reaches(store: Path, monkeypatch, capsys) -> None:
    started = []
    monkeypatch.setattr(os, "execv", lambda *arguments: started.append(arguments))
    for name in ui.SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", raising=False)
    port = free_port()
    with monkeypatch.context() as patch:
        patch.setattr(os, "environ", dict(os.environ))
        ui.serve(port)
        assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    ((program, command),) = started
    assert program == sys.executable
    assert command[1:4] == ["-m", "mlflow", "server"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options == {
        "--host": "127.0.0.1",
        "--port": str(port),
        "--workers": "1",
        "--backend-store-uri": f"sqlite:///{store}/mlflow/mlflow.db",
        "--artifacts-destination": (store / "mlflow" / "artifacts").as_uri(),
        "--allowed-hosts": f"localhost:{port},127.0.0.1:{port}",
        "--uvicorn-opts": "--log-level warning",
    }
    assert capsys.readouterr() == ("", "")


def test_it_says_where_to_look(store: Path, capsys) -> None:
    port = free_port()
    here, elsewhere = ui.announcement(port)
    assert here.startswith(f"http://127.0.0.1:{port}/")
    assert f"ssh -N -L {port}:127.0.0.1:{port}" in elsewhere
    assert capsys.readouterr() == ("", ""), "the command line prints it"
