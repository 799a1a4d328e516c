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

from bench.system import paths
from bench.system import provenance as module
from bench.system.provenance import provenance


def test_it_can_be_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USER", "LOGNAME", "USERNAME", "HOME", "HOSTNAME"):
        monkeypatch.setenv(name, "somebody")
    for function in ((platform, "node"), (socket, "gethostname"), (getpass, "getuser")):
        monkeypatch.setattr(*function, lambda: "somebody")
    host = subprocess.run(["uname", "-n"], capture_output=True, text=True).stdout.strip()
    facts = module._facts.__wrapped__()
    text = json.dumps(facts, allow_nan=False)
    assert "somebody" not in text
    assert not re.search(rf"\b{re.escape(host)}\b", text)
    assert str(paths.root()) not in text
    assert str(Path.home()) not in text
    assert not re.search(r'"[/~]|[A-Z]:\\\\', text), "nothing looks like a path"


def test_it_names_code_packages_and_hardware() -> None:
    facts = provenance()
    assert facts["packages"]["python"] == platform.python_version()
    assert facts["packages"]["torch"].startswith("2.")
    assert facts["hardware"]["cores"] >= 1
    assert facts["hardware"]["cpu"]
    assert (facts["hardware"]["gpu"] is None) == (facts["hardware"]["gpus"] == 0)


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
def test_git_tells_commit_and_changes_of_the_code_only(tmp_path: Path) -> None:
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
