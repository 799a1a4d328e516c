"""What records say of the machine, and what they must not say."""

from __future__ import annotations

import getpass
import json
import platform
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.config.schema import Strict
from bench.results.records import portable_text
from bench.system import paths
from bench.system import provenance as module
from bench.system.provenance import hardware_text, provenance


def test_it_can_be_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "LOGNAME", "USERNAME", "HOME", "HOSTNAME"):
        monkeypatch.setenv(name, "somebody")
    for function in ((platform, "node"), (socket, "gethostname"), (getpass, "getuser")):
        monkeypatch.setattr(*function, lambda: "somebody")
    host = subprocess.run(["uname", "-n"], capture_output=True, text=True).stdout.strip()
    found = module._found.__wrapped__()
    text = json.dumps(found, allow_nan=False)
    assert "somebody" not in text
    assert not re.search(rf"\b{re.escape(host)}\b", text)
    assert str(paths.root()) not in text
    assert str(Path.home()) not in text
    assert not re.search(r'"[/~]|[A-Z]:\\\\', text), "nothing looks like a path"


def test_it_names_code_packages_and_hardware() -> None:
    found = provenance()
    assert found["packages"]["python"] == platform.python_version()
    assert found["packages"]["torch"].startswith("2.")
    assert found["hardware"]["cores"] >= 1
    assert found["hardware"]["cpu"]
    assert (found["hardware"]["gpu"] is None) == (found["hardware"]["gpus"] == 0)


def test_changing_what_it_returns_changes_nothing_for_the_next() -> None:
    provenance()["git"]["sha"] = "edited"
    assert provenance()["git"]["sha"] != "edited"


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def seen_from(checkout: Path) -> dict:
    code = "import json; from bench.system import provenance; print(json.dumps(provenance._git()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=checkout, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_reports_commit_and_changes_of_the_code_only(tmp_path: Path) -> None:
    (tmp_path / "bench" / "system").mkdir(parents=True)
    shutil.copy(str(module.__file__), tmp_path / "bench" / "system" / "provenance.py")
    git(tmp_path, "init", "-q")
    assert seen_from(tmp_path) == {"sha": None, "dirty": None}, "installed inside a checkout of something else"

    (tmp_path / ".gitignore").write_text("__pycache__\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    sha = git(tmp_path, "rev-parse", "HEAD").strip()
    assert seen_from(tmp_path) == {"sha": sha, "dirty": False}

    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "record.json").write_text("{}")
    (tmp_path / "README.md").write_text("a table")
    assert seen_from(tmp_path) == {"sha": sha, "dirty": False}, "what a run writes is not a change of the code"

    (tmp_path / "bench" / "mine.py").write_text("")
    assert seen_from(tmp_path) == {"sha": sha, "dirty": True}


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert module._git() == {"sha": None, "dirty": None}


# Kernels


def test_it_names_the_kernels_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in module.LIMITS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setenv("MKL_CBWR", "somebody's/own")
    kernels = module._kernels()
    built = torch.__config__.show()
    assert kernels["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    assert f"BLAS_INFO={kernels['blas']}" in built
    assert bool(kernels["mkl"]) == torch.backends.mkl.is_available()
    assert bool(kernels["onednn"]) == torch.backends.mkldnn.is_available()
    assert all(version is None or version in built for version in (kernels["mkl"], kernels["onednn"]))
    assert kernels["threads"] == torch.get_num_threads()
    assert kernels["limits"] == {"ONEDNN_MAX_CPU_ISA": "AVX2"}, "what is no limit might be anything, and is left out"


HARDWARE = {
    "cpu": "AMD EPYC,Model A",
    "cpu_model": "family 25 model 17",
    "cores": 2,
    "gpu": None,
    "gpus": 0,
    "cuda": None,
    "platform": "Linux x86_64",
    "kernels": {
        "cpu_capability": "AVX2",
        "blas": "mkl",
        "mkl": "2024.2",
        "onednn": "3.7",
        "limits": {"MKL_CBWR": "AVX2,STRICT"},
        "threads": 2,
    },
}


def test_hardware_as_a_record_gives_it() -> None:
    assert hardware_text(HARDWARE) == (
        "AMD EPYC Model A (family 25 model 17), AVX2, MKL 2024.2, oneDNN 3.7, MKL_CBWR=AVX2+STRICT, "
        "2 cores, Linux x86_64"
    )
    other = HARDWARE | {"cpu": "arm64", "cpu_model": None, "cores": 1, "gpu": "a GPU", "platform": "Darwin arm64"}
    other["kernels"] = HARDWARE["kernels"] | {
        "cpu_capability": "DEFAULT",
        "mkl": None,
        "blas": "accelerate",
        "limits": {},
    }
    assert hardware_text(other) == "arm64, DEFAULT, BLAS accelerate, oneDNN 3.7, 1 core, a GPU, Darwin arm64"


def test_hardware_of_this_machine_can_stand_in_a_record() -> None:
    text = hardware_text(provenance()["hardware"])
    assert text.startswith(provenance()["hardware"]["cpu"].replace(",", " "))
    assert portable_text(Machine(hardware=text), shown="a record")


class Machine(Strict):
    """As much of a record as holds the hardware."""

    hardware: str


def test_importing_it_does_not_import_torch() -> None:
    code = "import sys; from bench.system import provenance; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
