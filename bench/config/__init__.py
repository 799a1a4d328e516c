"""A benchmark file as typed objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.system.lazy import lazily

if TYPE_CHECKING:
    from bench.config.accounting import PRESETS as PRESETS
    from bench.config.accounting import Accounting as Accounting
    from bench.config.load import benchmark_names as benchmark_names
    from bench.config.load import load_benchmark as load_benchmark
    from bench.config.schema import Benchmark as Benchmark
    from bench.config.schema import MethodEntry as MethodEntry
    from bench.config.schema import Protocol as Protocol
    from bench.config.schema import Recipe as Recipe
    from bench.config.schema import Source as Source
    from bench.config.schema import Stage as Stage
    from bench.config.schema import Strict as Strict
    from bench.config.schema import Sweep as Sweep
    from bench.config.schema import identity as identity

_HOME = {
    "Accounting": "bench.config.accounting",
    "PRESETS": "bench.config.accounting",
    "Benchmark": "bench.config.schema",
    "MethodEntry": "bench.config.schema",
    "Protocol": "bench.config.schema",
    "Recipe": "bench.config.schema",
    "Source": "bench.config.schema",
    "Stage": "bench.config.schema",
    "Strict": "bench.config.schema",
    "Sweep": "bench.config.schema",
    "benchmark_names": "bench.config.load",
    "identity": "bench.config.schema",
    "load_benchmark": "bench.config.load",
}

__all__ = sorted(_HOME)
__getattr__, __dir__ = lazily(__name__, _HOME)
