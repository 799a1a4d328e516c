"""What is said of a run made again, beside its record."""

from __future__ import annotations

from typing import Any

import pytest

from bench.results import agreement as module
from bench.results.agreement import agreement
from bench.results.records import Record
from bench.results.statistics import NOTHING_TRAINED

HERE = "AMD EPYC (family 25 model 17), AVX512, MKL 2024.2, oneDNN 3.12.0, 2 cores, Linux x86_64"
THERE = "Intel(R) Xeon(R) CPU (family 6 model 143), AVX512, MKL 2024.2, oneDNN 3.12.0, 8 cores, Linux x86_64"
BEFORE = "AMD EPYC, 2, Linux x86_64"  # of records from before kernels were named


def make(
    hardware: str = HERE, *, device: str = "AMD EPYC", threads: int = 1, torch: str = "2.13.0", **changes: Any
) -> Record:
    """A record of one run. changes: metrics by name, or fields of the record."""
    values = {name: changes.pop(name, value) for name, value in {"mpjpe": 54.77, "mpjve": 4.63}.items()}
    fields: dict[str, Any] = {
        "run_key": "0" * 16,
        "benchmark": "toy",
        "method": "videopose3d",
        "seed": 0,
        "accounting": "shared",
        "data": {"dataset": "synthetic", "keypoints": "det"},
        "receptive_field": 27,
        "metrics": {name: {"value": value, "unit": "mm"} for name, value in values.items() if value is not None},
        "frames": 900,
        "sequences": 9,
        "parameters": 1,
        "macs_per_frame": 1,
        "cost": {"test_frames_per_second": 1000.0, "device": device, "threads": threads},
        "training": {"kept": "best-validation"},
        "provenance": {
            "config_hash": "c0ffee",
            "data_fingerprint": "da7a",
            "packages": {"torch": torch},
            "hardware": hardware,
            "finished_at": "2026-01-01T00:00:00Z",
        },
    }
    return Record.model_validate({**fields, **changes})


def said(again: Record, existing: Record | None = None) -> tuple[str, str]:
    """Verdict and text, which begins with it."""
    found = agreement(again, existing or make())
    assert found.text.startswith(found.verdict)
    assert "\n" not in found.text
    return found.verdict, found.text


def test_numbers_equal_in_six_digits_are_reproduced_on_any_machine() -> None:
    assert said(make(mpjpe=54.77000001)) == ("reproduced", "reproduced")
    assert said(make(THERE, threads=8)) == ("reproduced", "reproduced")


@pytest.mark.parametrize(
    ("again", "reason"),
    [
        (make(THERE, mpjpe=55.25), "other processor"),
        (make(HERE.replace("AVX512", "AVX2"), mpjpe=55.25), "other kernels"),
        (make(HERE.replace(", 2 cores", ", ONEDNN_MAX_CPU_ISA=AVX2, 2 cores"), mpjpe=55.25), "other kernels"),
        (make(threads=2, mpjpe=55.25), "2 instead of 1 threads"),
        (make(torch="2.14.0", mpjpe=55.25), "torch 2.14.0 instead of 2.13.0"),
        (make(HERE.replace(", Linux", ", NVIDIA A, Linux"), device="NVIDIA A", mpjpe=55.25), "other device"),
        (make(THERE, threads=8, mpjpe=55.25), "other processor, 8 instead of 1 threads"),
    ],
)
def test_numbers_within_the_limit_on_another_machine_agree(again: Record, reason: str) -> None:
    assert said(again) == ("agrees", f"agrees: mpjpe 0.48 mm apart, {reason}")


@pytest.mark.parametrize(
    "again",
    [
        make(mpjpe=55.25),
        make(HERE.replace("2 cores", "8 cores"), mpjpe=55.25),
        make(HERE.replace(", Linux", ", NVIDIA A, Linux"), mpjpe=55.25),
    ],
    ids=["same", "more cores that are not used", "a GPU that is not used"],
)
def test_other_numbers_on_the_same_machine_differ(again: Record) -> None:
    assert said(again) == ("differs", "differs: mpjpe 0.48 mm apart, on the same processor, kernels and threads")


def test_the_limit_holds_for_the_worst_metric() -> None:
    text = "differs: mpjve 0.2 mm apart, more than the 4 % that other kernels or threads explain (other processor)"
    assert said(make(THERE, mpjpe=55.25, mpjve=4.83)) == ("differs", text)
    assert said(make(THERE, mpjpe=54.77 * 1.0399))[0] == "agrees"
    assert said(make(THERE, mpjpe=54.77 * 1.0401))[0] == "differs"
    assert said(make(mpjpe=65.77))[1].endswith(
        "mpjpe 11 mm apart, more than the 4 % that other kernels or threads explain"
    )
    assert said(make(THERE, mpjve=4.64))[1] == "agrees: mpjve 0.01 mm apart, other processor", "mpjpe is the same"


@pytest.mark.parametrize(
    "untrained",
    [
        {"training": {"kept": NOTHING_TRAINED}},
        {"weights": {"file": "a.bin", "sha256": "0"}},
        {"training": {"scored_from": "predictions"}},
    ],
)
def test_without_training_the_limit_is_that_of_rounding(untrained: dict[str, Any]) -> None:
    existing = make(**untrained)
    assert said(make(THERE, mpjpe=54.7705, **untrained), existing)[0] == "agrees"
    verdict, text = said(make(THERE, mpjpe=54.79, **untrained), existing)
    assert (verdict, "0.01 %" in text) == ("differs", True)


def test_a_record_that_names_no_kernels_may_be_of_other_kernels() -> None:
    text = "agrees: mpjpe 0.48 mm apart, perhaps other kernels, which the record does not name"
    assert said(make(mpjpe=55.25), make(BEFORE)) == ("agrees", text)
    assert said(make(THERE, mpjpe=55.25), make(BEFORE))[1].endswith("apart, other processor")
    assert said(make(mpjpe=57.5), make(BEFORE))[0] == "differs"


def test_a_gpu_need_not_reproduce() -> None:
    gpu = HERE.replace(", Linux", ", NVIDIA A, Linux")
    verdict, text = said(make(gpu, device="NVIDIA A", mpjpe=55.25), make(gpu, device="NVIDIA A"))
    assert (verdict, text) == ("agrees", "agrees: mpjpe 0.48 mm apart, a GPU, which adds up in any order")


def test_only_metrics_of_the_existing_record_are_compared() -> None:
    assert said(make(), make(mpjve=None)) == ("reproduced", "reproduced")
    assert said(make(mpjve=None), make()) == ("differs", "differs: mpjve was not measured again")
    assert said(make(THERE, mpjve=0.1), make(mpjve=0.0))[0] == "differs", "of zero everything is more than the limit"


def test_records_of_two_runs_are_not_compared() -> None:
    with pytest.raises(ValueError, match="two runs"):
        agreement(make(run_key="1" * 16), make())


def test_the_limits_leave_room_for_what_was_measured() -> None:
    """docs/explanation/reproducibility.md: VideoPose3D on two threads, mpjpe and mpjve; P-STMO on another processor."""
    measured = max(0.72 / 54.77, 0.096 / 4.629, 0.69 / 90.6)
    assert measured < module.TRAINED < 2 * measured, "and no more room than that"
