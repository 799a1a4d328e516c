"""The digest of a method's code: alike on every version of Python, moved by code alone."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.method.code import code_digest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = {"baselines", "diff3dhpe"}
MODULES = {
    "diff3dhpe": "diff3dhpe.method",
    "mean_pose": "baselines.mean_pose",
    "mixste": "baselines.mixste",
    "poseformer": "baselines.poseformer",
    "pstmo": "baselines.pstmo",
    "videopose3d": "baselines.videopose3d",
}
# Part of the key of every committed record. Whoever changes the code of a method measures its records again and then
# changes these; a version of Python never does.
GOLDEN = {
    "diff3dhpe": "48dba3408beb5904377f71e678120438e75d814bf697c9b9e3e6be2971267164",
    "mean_pose": "376c3091c074df087c44618e6b8dbaa756f05a7d81ff5a6e0a4769dced2ccf8b",
    "mixste": "2cc2cf0e1316bac85c51f39a6ffbd1b866bcca6992a0015a50fbd9aab4a176b7",
    "poseformer": "3beca5a080bf22d8c7d586ca1df4b4304ebccfdca2651ede097fef32f3e9da08",
    "pstmo": "dd3592d4391b46060c9f4a9c2026791db649df3d924348bacc8bcf35fd2d4822",
    "videopose3d": "01c91745705ea12271940eb324046b3cc9afe5d2e642c755520e696ee407ca40",
}

# Syntax that versions of Python are known to parse, dump or optimise differently.
TORTURE = '''
"""A docstring."""
from __future__ import annotations
import bench.metrics
import numpy as np, bench
from bench.method import Method
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from bench import Batch
else:
    Batch = None

class One(Method, metaclass=type):
    """Another."""
    size: int = 3
    big: float

    @property
    def width(self) -> int:
        """Nothing else in here."""

    async def later(self, a, /, b=1e-3, *args, c: str = u"x", **more):
        async with a as b, c:
            return [x async for x in b if (y := x)]

def text(value, width=3):
    name = "inner"
    try:
        return f"{value!r:>{width}} {value:.3f} {{x}} {name + 'quoted'}" "joined" f"{value=}"
    except (ValueError, KeyError) as error:
        raise RuntimeError(f"{error}") from None
    finally:
        import bench

def match(value):
    match value:
        case {"a": [1, 2, *rest], **others} if rest:
            return lambda x, *, y=-0.0: (x, y, 1j, b"bytes", ..., None, True, 1_000, 0x10)
        case One(size=3) | None:
            return np.arange(3)[..., ::2, None]
'''


@functools.cache
def pythons() -> list[str]:
    """Every version of Python from 3.11 on this machine, those that pyenv keeps aside included; each once."""
    managed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [*filter(None, (shutil.which(f"python3.{minor}") for minor in range(11, 30)))]
    candidates += map(str, sorted(managed.glob("3.*/bin/python")))
    found = {sys.version_info[:2]: sys.executable}
    for candidate in candidates:
        said = subprocess.run(
            [candidate, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True
        )
        if said.returncode == 0 and (version := tuple(map(int, said.stdout.split()))) >= (3, 11):
            found.setdefault(version, candidate)
    return list(found.values())


def digests(python: str, folder: Path, modules: list[str], packages: set[str]) -> list[str]:
    """The digests of modules in a folder, taken by one Python without any package."""
    code = (
        f"import sys, json; sys.path[:0] = [{str(folder)!r}, {str(REPOSITORY)!r}]; "
        "from bench.method.code import code_digest; "
        f"print(json.dumps([code_digest(name, {packages!r}) for name in {modules!r}]))"
    )
    done = subprocess.run(
        [python, "-I", "-S", "-B", "-c", code], check=True, capture_output=True, text=True, cwd=folder
    )
    found: list[str] = json.loads(done.stdout)
    return found


def test_every_python_takes_the_same_digest_of_every_method() -> None:
    for python in pythons():
        found = digests(python, REPOSITORY, list(MODULES.values()), PACKAGES)
        assert dict(zip(MODULES, found, strict=True)) == GOLDEN, python


def test_every_python_takes_the_same_digest_of_all_syntax(tmp_path: Path) -> None:
    (tmp_path / "torture.py").write_text(TORTURE)
    found = {python: digests(python, tmp_path, ["torture"], {"torture"}) for python in pythons()}
    assert len(set(map(tuple, found.values()))) == 1, found


def digest_of(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str | None:
    (folder / "specimen_of_code.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    return code_digest("specimen_of_code", {"specimen_of_code"})


@pytest.mark.parametrize(
    "changed",
    [
        "# a comment\n" + TORTURE,
        TORTURE.replace('"""Another."""', '"""In other words."""'),
        TORTURE.replace("from bench.method import Method", "from bench.lifters import Method, Window"),
        TORTURE.replace("    from bench import Batch\n", "    from bench.data.batch import Batch\n"),
        TORTURE.replace("import numpy as np, bench\n", "import numpy as np, bench\n\n\n"),
    ],
    ids=["comment", "docstring", "room", "room for types", "layout"],
)
def test_comments_layout_and_imports_do_not_change_the_digest(changed, tmp_path, monkeypatch) -> None:
    assert digest_of(changed, tmp_path, monkeypatch) == digest_of(TORTURE, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("b=1e-3", "b=1e-4"),
        ("-0.0", "0.0"),
        ("1_000", "1_001"),
        (">{width}", "<{width}"),
        ("size: int = 3", "size: int"),
    ],
)
def test_code_that_computes_something_else_changes_the_digest(old, new, tmp_path, monkeypatch) -> None:
    assert digest_of(TORTURE.replace(old, new), tmp_path, monkeypatch) != digest_of(TORTURE, tmp_path, monkeypatch)
