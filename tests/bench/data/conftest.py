"""What the tests of data sets share: caches go to a folder of the test's own."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def results_folder(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("results")
    monkeypatch.setenv("BENCH_RESULTS", str(folder))
    return folder
