"""How a case is measured: reference, ours, reference, ours, ... in one process, and their results compared."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from bench.system.device import keep_freed_memory
from perf.reference import Part


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where methods and attention are measured: cpu, cuda, cuda:1 ...")
    parser.addoption("--toy", action="store_true", help="small sizes of everything")
    parser.addoption("--runs-of", default="demo", help="whose runs are measured side by side (demo: one epoch each)")
    parser.addoption("--data", help="the folder of that benchmark's data")
    parser.addoption("--seeds", type=int, default=1, help="of each of its methods")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.config.getoption("--device"))


@pytest.fixture(scope="session")
def toy(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--toy"))


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Ratios of one core: they depend less on the machine and on what else runs there."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_freed_memory()  # as runs do
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def measure(benchmark, device) -> Callable[..., None]:
    """measure(case, ours, reference, rounds=5) times two functions in turn and checks that they return the same.

    The ratio is the median of reference / ours over the rounds: a temporary slowdown of the machine affects both. A
    result is a text, a tensor or a list of tensors, or None if there is nothing to compare. reference: None if there is
    none; it may do a part of the work, see `Part`. warmup: rounds that do not count. reach: the ratio that the case
    must have. within: the seconds that ours may take. notes: further entries for the case.
    """
    gpu = device.type == "cuda"
    gpu_notes: dict[str, int] = {}

    def done(form: str) -> None:
        if gpu:  # kernels run on after their call has returned
            torch.cuda.synchronize(device)
            gpu_notes[f"{form}_peak_gpu_bytes"] = torch.cuda.max_memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)

    def run(
        case: str,
        ours: Callable[[], Any],
        reference: Callable[[], Any] | None,
        *,
        rounds: int,
        warmup: int = 1,
        tolerance: float = 1e-5,
        reach: float | None = None,
        within: float | None = None,
        **notes: Any,
    ) -> None:
        seconds: list[float] = []
        expected: list[Any] = [None]

        def before() -> None:
            """The reference runs, timed separately, in the setup of each round of ours by pytest-benchmark."""
            if reference is None:
                return
            expected[0] = None  # frees the last result first
            started = time.perf_counter()
            found = reference()
            done("reference")
            spent = time.perf_counter() - started
            expected[0], whole = (found.result, found.seconds) if isinstance(found, Part) else (found, spent)
            seconds.append(whole)

        def timed() -> Any:
            result = ours()
            done("ours")
            return result

        result = benchmark.pedantic(timed, setup=before, rounds=rounds, warmup_rounds=warmup)
        if reference is not None:
            if result is None or isinstance(result, str):
                assert result == expected[0]
            else:
                torch.testing.assert_close(result, expected[0], atol=tolerance, rtol=tolerance)
            pairs = zip(seconds[warmup:], benchmark.stats.stats.data, strict=True)
            notes["ratio"] = statistics.median(plain / own for plain, own in pairs)
            notes["reference_seconds"] = statistics.median(seconds[warmup:])
        aims = {name: value for name, value in (("reach", reach), ("within", within)) if value is not None}
        benchmark.extra_info.update(case=case, **aims, **notes, **gpu_notes)

    return run
