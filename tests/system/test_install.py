"""Set-up without a network: what uv is told of pip's settings, and what make does once it is done."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.system import install

ROOT = Path(__file__).parents[2]


# --- uv installs from where pip would


def test_settings_of_pip_are_those_that_hold_for_an_installation():
    listing = """\
:env:.default-timeout='180'
:env:.find-links='/here /there'
download.index-url='https://not-for-install'
global.find-links='/elsewhere'
global.index-url='https://all'
install.index-url='https://install'
list.format='json'
"""
    assert install.pip_settings(listing) == {
        "index-url": "https://install",
        "find-links": "/here /there",
        "default-timeout": "180",
    }


def test_pip_lists_its_settings_in_the_form_that_is_read(tmp_path):
    (tmp_path / "pip.conf").write_text("[global]\nextra-index-url =\n    https://one\n    https://two\n")
    environment = os.environ | {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "PIP_FIND_LINKS": "/wheels"}
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], env=environment, capture_output=True, text=True, check=True
    )
    settings = install.pip_settings(listing.stdout)
    assert settings["extra-index-url"].split() == ["https://one", "https://two"]
    assert settings["find-links"] == "/wheels"


def test_uv_is_told_the_same():
    settings = {
        "index-url": "https://all",
        "extra-index-url": "\nhttps://one\nhttps://two",
        "find-links": "/here /there",
        "constraint": "/etc/capped.txt",
        "cert": "/etc/own.pem",
        "default-timeout": "180",
        "quiet": "1",
    }
    told = install.uv_environment(settings, {"PATH": "/bin"})
    assert told == {
        "PATH": "/bin",
        "UV_DEFAULT_INDEX": "https://all",
        "UV_INDEX": "https://one https://two",
        "UV_FIND_LINKS": "/here,/there",
        "UV_CONSTRAINT": "constraints.txt /etc/capped.txt",
        "SSL_CERT_FILE": "/etc/own.pem",
        "UV_HTTP_TIMEOUT": "180",
        "UV_NO_CONFIG": "1",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


def test_uv_is_not_led_elsewhere_by_its_own_variables():
    present = {"VIRTUAL_ENV": "/other", "UV_PYTHON": "/other", "UV_INDEX": "https://other", "UV_CACHE_DIR": "/cache"}
    told = install.uv_environment({}, present)
    assert told is not None
    assert told.keys() & present.keys() == {"UV_CACHE_DIR"}
    assert told["UV_CONSTRAINT"] == "constraints.txt"


@pytest.mark.parametrize("name", ["no-index", "client-cert", "no-binary"])
def test_a_setting_that_uv_does_not_know_leaves_everything_to_pip(name):
    assert install.uv_environment({"cert": "/etc/own.pem", name: "1"}, {}) is None


def test_what_uv_does_not_install_is_left_to_pip(tmp_path):
    assert not install.install_with_uv("packages", tmp_path, ["numpy"])


# --- a step is one line


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_step_says_what_it_is_and_its_seconds(capfd):
    assert install.step("torch (pip)", python("print('Downloading torch')"))
    assert capfd.readouterr().out.split() == ["torch", "(pip)", "0", "s"]


def test_a_step_that_fails_tells_what_its_tool_said(capfd):
    failing = python("import sys; print('WARNING: old'); print('no such index'); sys.exit(1)")
    with pytest.raises(install.SetUpError, match=r"\Ano such index\Z"):
        install.step("torch (pip)", failing)
    assert not install.step("uv (pip)", failing, otherwise="cannot be had")
    assert "cannot be had" in capfd.readouterr().out


def test_a_failed_set_up_ends_with_what_to_do(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text("#!/bin/sh\necho no module named venv\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    assert install.main([str(tmp_path / ".venv")]) == 2
    error = capfd.readouterr().err
    assert "no module named venv" in error
    assert "The set-up failed. " in error


# --- make


@pytest.fixture
def checkout(tmp_path) -> Path:
    """What make looks at, after a set-up without the extra `dev`."""
    for name in ("pyproject.toml", "constraints.txt", "Makefile"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".stamp").touch()
    return tmp_path


def make(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *words], cwd=checkout, env=environment, capture_output=True, text=True, check=False)


def test_a_second_set_up_does_nothing(checkout):
    assert "install.py" not in make(checkout, "--dry-run", "setup").stdout
    assert "Nothing to be done" in make(checkout, "setup").stdout
    os.utime(checkout / "constraints.txt", (2**31, 2**31))
    assert "install.py .venv" in make(checkout, "--dry-run", "setup").stdout


@pytest.mark.parametrize("target", ["demo", "bench-demo", "data-cmu", "verify-cmu", "tables", "report", "ui"])
def test_running_needs_no_more(checkout, target):
    assert "install.py" not in make(checkout, "--dry-run", target).stdout


@pytest.mark.parametrize("target", ["test", "lint", "docs", "perf", "format"])
def test_developing_adds_its_own_once(checkout, target):
    assert "install.py .venv dev" in make(checkout, "--dry-run", target).stdout
    (checkout / ".venv" / ".stamp-dev").touch()
    assert "install.py" not in make(checkout, "--dry-run", target).stdout


def test_a_set_up_that_fails_is_not_taken_for_done(checkout):
    (checkout / ".venv" / ".stamp").unlink()
    failing = checkout / "python"
    failing.write_text('#!/bin/sh\n[ "$1" = -c ]\n')  # new enough, and installs nothing
    failing.chmod(0o755)
    assert make(checkout, "setup", f"PYTHON={failing}").returncode == 2
    assert not (checkout / ".venv" / ".stamp").exists()


def test_an_old_python_is_refused(checkout):
    (checkout / ".venv" / ".stamp").unlink()
    old = checkout / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    assert "Python 3.11 or newer is needed" in make(checkout, "setup", f"PYTHON={old}").stderr
