"""One benchmark for monocular 3D human-pose lifters.

The public names; each is imported when it is first used, so that `import bench` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.checkpoint import import_upstream as import_upstream
    from bench.config import load_benchmark as load_benchmark
    from bench.data import load_dataset as load_dataset
    from bench.evaluation import Scores as Scores
    from bench.evaluation import evaluate as evaluate
    from bench.method import Batch as Batch
    from bench.method import Method as Method
    from bench.method import Window as Window
    from bench.registry import build as build
    from bench.registry import methods as methods
    from bench.registry import register as register
    from bench.weights import load_weights as load_weights

_HOME = {
    "Batch": "bench.method",
    "Method": "bench.method",
    "Scores": "bench.evaluation",
    "Window": "bench.method",
    "build": "bench.registry",
    "evaluate": "bench.evaluation",
    "import_upstream": "bench.checkpoint",
    "load_benchmark": "bench.config",
    "load_dataset": "bench.data",
    "load_weights": "bench.weights",
    "methods": "bench.registry",
    "register": "bench.registry",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
