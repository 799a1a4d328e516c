"""A stranger follows a page of the docs: types its files, and gives its commands in a checkout of their own."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
CHECKOUT = ("bench", "baselines", "diff3dhpe", "configs", "pyproject.toml", "results/published.csv")


class Page:
    """A page of the docs with blocks of files and of commands. name: of its file, in whatever folder of docs/."""

    def __init__(self, name: str) -> None:
        (path,) = (REPOSITORY / "docs").rglob(name)
        self.text = path.read_text(encoding="utf-8")

    def section(self, heading: str) -> str:
        """The text below a heading of the second level."""
        found = self.text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        assert found, f"the page has no section {heading}"
        return found

    def commands(self, heading: str) -> list[list[str]]:
        """Words of every line of the section's shell commands."""
        lines = [line for file, body in blocks(self.section(heading)) if not file for line in body.splitlines()]
        return [shlex.split(line) for line in lines]

    def write_package(self, folder: Path) -> Path:
        """The page's package as a stranger types it; files with a folder in their name are the repository's."""
        folder.mkdir(parents=True)
        for file, content in blocks(self.text):
            if file and "/" not in file:
                assert not (folder / file).exists(), f"{file} is shown twice"
                (folder / file).write_text(content, encoding="utf-8")
        return folder


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """(file, content) of every block; the file is the first one that the paragraph before it names, "" for commands."""
    around = re.split(r"^```(\w*)\n(.*?)^```$", text, flags=re.M | re.S)
    for before, language, body in zip(around[::3], around[1::3], around[2::3], strict=False):
        named = re.findall(r"`([\w/.-]+\.(?:py|toml|yaml))`", before.rstrip().rpartition("\n\n")[2])
        assert named or not language, f"which file is this?\n{body}"
        yield (named[0] if language else ""), body


def checkout_in(folder: Path, *more: str) -> Path:
    """A checkout after `make setup`, without records. more: files and folders of the repository that it has, too.

    Third-party packages are those of this environment, so that nothing is downloaded.
    """
    checkout = folder / "checkout"
    (checkout / "results").mkdir(parents=True)
    for name in (*CHECKOUT, *more):
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, checkout / name)
    for name in ("README.md", "LICENSE"):
        (checkout / name).touch()
    shell(checkout, sys.executable, "-m", "venv", "--without-pip", ".venv")
    own = next((checkout / ".venv").glob("[Ll]ib/**/site-packages"))
    (own / "third_party.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    shell(checkout, ".venv/bin/pip", "install", "--no-deps", "--editable", ".")
    (checkout / ".venv" / ".stamp").touch()
    return checkout


def shell(checkout: Path, *words: str, status: int = 0) -> str:
    """Give a command of the page in the checkout and return what it printed."""
    if words[0] == ".venv/bin/pip":
        words = (".venv/bin/python", "-m", "pip", *words[1:], "--no-index", "--no-build-isolation")
    hidden = ("BENCH_", "MLFLOW_", "PIP_", "PYTEST", "PYTHON", "GIT_", "MAKE", "MFLAGS")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.run(
        words, cwd=checkout, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert process.returncode == status, f"{shlex.join(words)}\n{process.stdout}\n{process.stderr}"
    assert "Traceback" not in process.stderr, process.stderr
    return process.stdout + process.stderr
