from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from report_samples import CONFIG, MARKUP, OFF_MM, leave_runs, record

from bench.results import records
from bench.results.records import PUBLISHED_COLUMNS


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Holds `toy.yaml` and, in `results`, records of two methods; `leave_runs` adds what their runs leave."""
    (tmp_path / "toy.yaml").write_text(CONFIG)
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    row = ("toy", "mixste", f"MixSTE {MARKUP}", 9, "mpjpe", 21.6, "mm", f"A paper {MARKUP}", "CVPR", f"a note {MARKUP}")
    numbers = pd.DataFrame([row], columns=list(PUBLISHED_COLUMNS))
    monkeypatch.setattr(records, "published", lambda: numbers)
    for method in OFF_MM:
        records.write(record(method))
    return tmp_path


@pytest.fixture
def with_runs(project: Path) -> Path:
    """The project after its runs."""
    leave_runs()
    return project
