"""Fill the environment for `make setup`: with what running needs, or with an extra (`dev`) on top of it.

The Makefile runs this file with a Python that has nothing installed, so it needs the standard library only:
`python -I bench/system/install.py .venv [dev]`. Versions are those of constraints.txt. pip installs torch, since it is
pip that a machine's settings tell which build of torch to take. uv, itself installed by pip, then installs everything
else from the indexes that pip is set to. Where uv cannot be had, or pip has a setting that uv does not know, pip
installs everything: the packages are the same, only slower.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CONSTRAINTS = "constraints.txt"

# Settings of pip and the variables by which uv is told the same.
OF_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}

# Settings of pip that do not change what is installed, or from where.
WITHOUT_EFFECT = {
    "cache-dir", "disable-pip-version-check", "no-cache-dir", "no-color", "no-compile", "no-input",
    "no-python-version-warning", "no-warn-script-location", "progress-bar", "quiet", "require-virtualenv", "retries",
    "root-user-action", "verbose",
}  # fmt: skip

# Imported once at the end, which shows that they work and compiles what they need.
FIRST = (
    "torch, mlflow.store.tracking.sqlalchemy_store, matplotlib.pyplot, scipy.io, bench.runs.launch, bench.show.report"
)


class SetUpError(Exception):
    """A step failed. The message holds the end of what its tool printed."""


def main(arguments: list[str]) -> int:
    """Fill the environment. arguments: its folder, and an extra of pyproject.toml or nothing."""
    try:
        fill(Path(arguments[0]).absolute(), *arguments[1:])
    except SetUpError as error:
        print(f"\n{error}\n", file=sys.stderr)
        print(
            "The set-up failed. Is there a network, and does pip know its index (`pip config list`)?", file=sys.stderr
        )
        print("Give the command again to go on; remove the folder first to start afresh.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nThe set-up was stopped. Give the command again to go on.", file=sys.stderr)
        return 130
    return 0


def fill(venv: Path, extra: str = "") -> None:
    """Install the suite's dependencies and the suite itself in venv; with an extra, what that needs beside them.

    Raises SetUpError when packages cannot be installed.
    """
    started = time.monotonic()
    python = str(venv / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--no-compile", "--constraint", CONSTRAINTS]
    if extra:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        wanted = [*project["dependencies"], *project["optional-dependencies"][extra]]
    else:
        wanted = ["--no-build-isolation", "--editable", "."]  # with the setuptools that are there by then
        step("environment", [sys.executable, "-m", "venv", str(venv)])
        no_uv = "cannot be had: pip installs everything"
        if not step("uv (pip)", [*pip, "--only-binary", ":all:", "uv", "setuptools"], otherwise=no_uv):
            step("setuptools (pip)", [*pip, "setuptools"])
        step("torch (pip)", [*pip, "--no-deps", "torch"])
    packages = "packages" + (f" of {extra}" if extra else "")
    if not install_with_uv(packages, venv, wanted):
        step(f"{packages} (pip)", [*pip, *wanted])
    if not extra:
        compiled = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}
        step("first import", [python, "-W", "ignore", "-c", f"import {FIRST}"], compiled)
    print(f"{'installed':<24}{contents(venv)}, {time.monotonic() - started:.0f} s")


def install_with_uv(packages: str, venv: Path, wanted: list[str]) -> bool:
    """Whether uv installed what is wanted. packages: what the step is called."""
    uv, python = venv / "bin" / "uv", venv / "bin" / "python"
    if not uv.exists():
        return False
    listing = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    environment = None if listing.returncode else uv_environment(pip_settings(listing.stdout), os.environ)
    if environment is None:
        return False
    command = [str(uv), "pip", "install", "--python", str(python), *wanted]
    return step(f"{packages} (uv)", command, environment, otherwise="failed: pip installs them")


def pip_settings(listing: str) -> dict[str, str]:
    """The settings that hold for `pip install`, by name, from what `pip config list` prints.

    Those of `install` go before those for all commands, and those of PIP_... variables before both.
    """
    found = {}
    for section in ("global", "install", ":env:"):
        for name, value in re.findall(rf"^{section}\.([\w-]+)=(.+)$", listing, re.M):
            found[name] = str(ast.literal_eval(value))
    return found


def uv_environment(settings: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str] | None:
    """The environment in which uv installs as pip with these settings would; None if uv does not know one of them.

    environment: the present one. An activated environment, and settings of uv's own except for the place of its cache,
    have no effect.
    """
    if settings.keys() - OF_UV.keys() - WITHOUT_EFFECT:
        return None
    ours = {
        name: value
        for name, value in environment.items()
        if name == "UV_CACHE_DIR" or not name.startswith(("UV_", "VIRTUAL_ENV"))
    }
    # As pip does: the best version of all indexes, not of the first that has the package.
    ours |= {"UV_NO_CONFIG": "1", "UV_INDEX_STRATEGY": "unsafe-best-match", "UV_CONSTRAINT": CONSTRAINTS}
    for name, variable in OF_UV.items():
        if name in settings:
            values = settings[name].split()
            if name == "constraint":
                values.insert(0, CONSTRAINTS)
            ours[variable] = ("," if name == "find-links" else " ").join(values)
    return ours


def step(what: str, command: list[str], environment: Mapping[str, str] | None = None, otherwise: str = "") -> bool:
    """Run a tool as one line: what it is, and in the end its seconds. On a terminal, the line shows what it is doing.

    otherwise: what to say if it fails; without it, that raises SetUpError.
    """
    started = time.monotonic()
    terminal = sys.stdout.isatty()
    print(f"{what:<24}", end="", flush=True)
    lines = []
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            if line.strip() and not line.startswith("WARNING"):
                lines.append(line.rstrip())
                if terminal:
                    print(f"\r{what:<24}{lines[-1].strip()[:54]}\033[K", end="", flush=True)
    if terminal:
        print(f"\r{what:<24}\033[K", end="")
    if process.returncode == 0:
        print(f"{time.monotonic() - started:4.0f} s", flush=True)
    elif otherwise:
        print(otherwise, flush=True)
    else:
        print("failed", flush=True)
        raise SetUpError("\n".join(lines[-12:]) or f"{command[0]} ended with status {process.returncode}")
    return process.returncode == 0


def contents(venv: Path) -> str:
    """What is in the environment: the build of torch, the number of packages, and their size."""
    installed = [path.stem for path in venv.glob("lib/python*/site-packages/*.dist-info")]
    (torch,) = (name.partition("-")[2] for name in installed if name.startswith("torch-"))
    size = sum(path.lstat().st_size for path in venv.rglob("*") if path.is_file())
    return f"{len(installed)} packages with torch {torch}, {size / 1e9:.1f} GB in {venv.name}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
