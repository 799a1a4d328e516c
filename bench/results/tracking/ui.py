"""MLflow's own pages over the project's store, for one person on this machine: `bench ui`."""

from __future__ import annotations

import os
import platform
import socket
import sys
from typing import NoReturn

from bench.results.tracking.mlflow_store import SETTINGS, artifact_folder, is_server, sqlite_file, store_uri
from bench.system import paths
from bench.system.errors import BenchError

PAGE = "/#/experiments?workflowType=machine_learning"  # without it MLflow shows its pages for language models


def announcement(port: int = 5000) -> list[str]:
    """The address to open once `serve` runs, in lines for the user.

    Raises BenchError if there is no store yet, if runs are logged to a server, or if the port cannot be used.
    """
    uri = store_uri()
    database = sqlite_file(uri)
    if is_server(uri):
        raise BenchError(f"Runs are logged to the server that MLFLOW_TRACKING_URI names: open {uri} in a browser")
    if database and not database.is_file():
        raise BenchError(f"No runs to show: {paths.shown(database)} does not exist. Run 'make demo' first")
    _check_port(port)
    return [
        f"http://127.0.0.1:{port}{PAGE}  in about ten seconds; stop with Ctrl-C",
        f"from another machine first: ssh -N -L {port}:127.0.0.1:{port} {platform.node()}",
    ]


def serve(port: int = 5000) -> NoReturn:
    """Replace this process by `mlflow server`, which listens on loopback only and has no log-in."""
    for name, value in {**SETTINGS, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}.items():
        os.environ.setdefault(name, value)
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", *command(store_uri(), port)])


def command(uri: str, port: int) -> list[str]:
    """The arguments of `mlflow`. Only this machine may connect; by default MLflow also allows private addresses."""
    return [
        *("server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", uri, "--artifacts-destination", artifact_folder(uri).as_uri()),
        *("--allowed-hosts", f"localhost:{port},127.0.0.1:{port}"),
        *("--uvicorn-opts", "--log-level warning"),  # else it logs one line per requested file
    ]


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or "there is no such port"
            raise BenchError(
                f"Port {port} cannot be used: {reason}. Choose another, e.g. {port % 60000 + 1}"
            ) from error
